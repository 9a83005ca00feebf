"""A tiny model, a cohort of 40 small scans of which 3 are bad, and commands that start at once."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.model_factory import make_model

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = ("liver", "left lung")
BAD = {"case07": "N5", "case19": "N1", "case33": "N14"}
CASES = 40


class Commands:
    """Starts `textseg3d` commands as forks of a process in which everything is imported."""

    def __init__(self, model: Path) -> None:
        search = os.pathsep.join((str(ROOT), str(ROOT / "kernels")))
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py")), str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": search},
        )
        assert self.process.stdout.readline() == "ready\n"

    def _ask(self, **request: object) -> int:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, log: Path, *argv: object, **options: object) -> int:
        """Start `textseg3d predict …`; its process id."""
        return self._ask(argv=["predict", *map(str, argv)], log=str(log), **options)

    def wait(self, pid: int) -> int:
        """Its exit code (negative: the signal that ended it)."""
        return self._ask(wait=pid)

    def run(self, log: Path, *argv: object, **options: object) -> int:
        """Both."""
        return self.wait(self.start(log, *argv, **options))


@pytest.fixture(scope="package")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="package")
def commands(model):
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    started = Commands(model)
    yield started
    started.process.stdin.close()
    started.process.wait(60)


def write_scan(path: Path, seed: int) -> Path:
    """A small NIfTI of smooth random HU."""
    rng = np.random.default_rng(seed)
    array = (rng.normal(size=(16, 24, 22)).cumsum(0) * 60).clip(-1000, 1000).astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([3.0, 3, 4, 1])), path)
    return path


def make_cohort(folder: Path, count: int = CASES) -> Path:
    """So many scans, the bad ones among them."""
    for number in range(count):
        path = write_scan(folder / f"case{number:02d}.nii.gz", number)
        rule = BAD.get(f"case{number:02d}")
        if rule == "N5":
            path.write_text("<html>404</html>")
        elif rule == "N1":
            path.write_bytes(path.read_bytes()[:-2000])
        elif rule == "N14":
            content = bytearray(gzip.decompress(path.read_bytes()))
            content[280:284] = struct.pack("<f", np.nan)  # srow_x
            path.write_bytes(gzip.compress(bytes(content)))
    return folder


@pytest.fixture(scope="package")
def cohort(tmp_path_factory):
    return make_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="package")
def finished(commands, cohort, model, tmp_path_factory):
    """The output folder of a run that nobody disturbed, to compare with."""
    folder = tmp_path_factory.mktemp("finished")
    log = folder.parent / "finished.log"
    code = commands.run(log, *arguments(cohort, folder / "out", model), "--summary")
    assert code == 5, log.read_text()
    return folder / "out"


def arguments(cohort: Path, out: Path, model: Path) -> list[object]:
    """Of a `predict` command on the cohort."""
    return ["-i", cohort, "-p", *PROMPTS, "-o", out, "--model", model, "--json-log"]


def records(folder: Path) -> dict[str, tuple[int, int]]:
    """Committed cases: name → inode and time of change of the record."""
    if not folder.is_dir():
        return {}
    stats = {p.stem: p.stat() for p in folder.glob("case*.json")}
    return {name: (s.st_ino, s.st_mtime_ns) for name, s in stats.items()}


def check_finished(folder: Path, finished: Path) -> None:
    """All 40 cases are committed, as in a run that nobody disturbed, and nothing else is there."""
    names = sorted(p.name for p in folder.iterdir())
    assert names == sorted(p.name for p in finished.iterdir() if is_plain(p.name))
    for path in sorted(folder.iterdir()):
        if path.suffix == ".gz":
            same = [gzip.decompress(p.read_bytes()) for p in (path, finished / path.name)]
            assert same[0] == same[1], path.name  # igzip may pack the same bytes in two ways
    found = {p.stem: json.loads(p.read_text()) for p in folder.glob("case*.json")}
    assert len(found) == CASES
    for name, record in found.items():
        if name in BAD:
            assert record["status"] == "bad_input"
            assert record["error"]["rule"] == BAD[name]
            assert name in record["error"]["message"]
        else:
            assert record["status"] == "ok"
            assert [p["text"] for p in record["prompts"]] == list(PROMPTS)


def is_plain(name: str) -> bool:
    """Whether a file belongs to a run without --summary."""
    return "thumbnail" not in name and "summary" not in name
