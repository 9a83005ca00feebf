"""Runs the tests of ``interpreter/`` in a process with TRITON_INTERPRET=1."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent / "interpreter"


@pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton has no wheel for this platform"
)
@pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="interpreter tests are collected directly"
)
def test_kernels_in_the_interpreter(kernel_environment):
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(FOLDER)],
        env={**kernel_environment, "TRITON_INTERPRET": "1"},
        cwd=FOLDER.parents[2],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    assert " passed" in result.stdout
    assert "failed" not in result.stdout
