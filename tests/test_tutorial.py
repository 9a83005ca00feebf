"""The README's way from nothing to a mask, typed word for word into a shell."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from textseg3d.resources import data_folder
from textseg3d.zoo import default_model

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block_after(heading: str) -> list[str]:
    """The lines of the first shell block below a heading."""
    section = README.split(f"## {heading}\n", 1)[1]
    found = re.search(r"^```bash\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found.group(1).splitlines()


def test_setting_up_is_one_line_and_installs_this() -> None:
    install, *_ = block_after("Set up")
    assert install == "pip install ."
    assert (ROOT / "setup.py").is_file()  # `.ci/run` types that line in a fresh environment


@pytest.mark.slow
def test_the_first_mask(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("textseg3d")
    if not (data_folder("model_zoo") / default_model() / "card.json").is_file():
        pytest.skip("needs the bundled model")
    commands = tmp_path / "bin"
    commands.mkdir()
    if not program.exists():  # the checkout without `pip install .`: the same command, by name
        script = commands / "textseg3d"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m textseg3d "$@"\n')
        script.chmod(0o755)
    search = os.pathsep.join((str(ROOT), str(ROOT / "kernels"), os.environ.get("PYTHONPATH", "")))
    path = os.pathsep.join((str(commands), str(program.parent), os.environ.get("PATH", "")))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    _, *lines = block_after("Set up")
    done = subprocess.run(
        ["bash", "-e", "-c", "\n".join(lines)],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "PYTHONPATH": search},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "chest_ct.json").read_text(encoding="utf-8"))
    scan = nib.load(ROOT / "examples" / "chest_ct.nii.gz")
    for entry in record["prompts"]:  # what the paragraph below the block promises
        assert {"presence", "volume_ml", "instances", "warnings"} <= set(entry)
        mask = nib.load(tmp_path / "out" / entry["mask"])
        assert np.array_equal(mask.affine, scan.affine)
        assert mask.shape == scan.shape
    assert [entry["text"] for entry in record["prompts"]] == ["left lung", "liver"]
    assert record["prompts"][0]["presence"] > 0.5
