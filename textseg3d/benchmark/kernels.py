"""Task that lists the Triton kernels and, on a GPU, measures them."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

from textseg3d.errors import MissingDependencyError, TextSegError


def kernels(request: dict[str, Any]) -> dict[str, Any]:
    """Names of all kernels; rows of `kernels/benchmarks/run.py` where there is a GPU.

    Args:
        request: ``csv``, a file for that command to write.

    Raises:
        MissingDependencyError: without textseg3d_kernels.
        TextSegError: if the command fails.
    """
    import torch

    try:
        import textseg3d_kernels
    except ImportError as error:
        raise MissingDependencyError(f"textseg3d_kernels is missing ({error}); reinstall") from None
    package = Path(str(textseg3d_kernels.__file__)).parent
    names = sorted(p.stem for p in (package / "triton").glob("[!_]*.py"))
    runner = package.parent / "benchmarks" / "run.py"
    if not torch.cuda.is_available() or not runner.is_file():
        return {"names": names, "rows": []}
    done = subprocess.run(
        [sys.executable, str(runner), "--csv", request["csv"]],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise TextSegError(f"{runner.name} failed: {done.stderr.strip()[-200:]}")
    with open(request["csv"], encoding="utf-8", newline="") as stream:
        return {"names": names, "rows": list(csv.DictReader(stream))}
