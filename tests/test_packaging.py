"""What setup.py puts into a wheel, and that it is found there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLACES = {
    "textseg3d": "textseg3d",
    "kernels/textseg3d_kernels": "textseg3d_kernels",
    "plans": "textseg3d_plans",
    "model_zoo": "textseg3d_model_zoo",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a wheel would unpack to, built without touching the checkout."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("built")
    command = ["build", "--build-base", str(folder / "base"), "--build-lib", str(folder / "lib")]
    done = subprocess.run(
        [sys.executable, "-B", "setup.py", "-q", *command],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "lib"


def test_every_file_travels(built: Path) -> None:
    wanted, carried = {}, {}
    for source, target in PLACES.items():
        for path in (ROOT / source).rglob("*"):
            inside = path.relative_to(ROOT / source)
            skipped = any(part == "__pycache__" or part[0] == "." for part in inside.parts)
            if path.is_file() and not skipped:
                wanted[f"{target}/{inside.as_posix()}"] = path
    for path in built.rglob("*"):
        if path.is_file():
            carried[path.relative_to(built).as_posix()] = path
    assert set(carried) == set(wanted)
    assert all(carried[name].read_bytes() == path.read_bytes() for name, path in wanted.items())


def test_the_copy_finds_its_own_data(built: Path, tmp_path: Path) -> None:
    code = (
        "import textseg3d, textseg3d_kernels, json\n"
        "from textseg3d.resources import data_folder\n"
        "from textseg3d.zoo import default_model\n"
        "print(textseg3d.__file__, data_folder('plans'), data_folder('model_zoo'), sep='\\n')\n"
        "print(default_model())\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(built)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    *places, default = done.stdout.splitlines()
    assert all(Path(place).is_relative_to(built) for place in places)
    assert default == "ct-nano"
