"""`textseg3d predict` within a limit of memory, its record of windows, and Ctrl-C at work."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.model_factory import make_model
from textseg3d.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def scan(tmp_path):
    rng = np.random.default_rng(0)
    array = (rng.normal(size=(40, 24, 22)).cumsum(0) * 60).clip(-1000, 1000).astype(np.int16)
    path = tmp_path / "in" / "ct.nii.gz"
    path.parent.mkdir()
    nib.save(nib.Nifti1Image(array, np.diag([3.0, 3, 4, 1])), path)
    return path


def predict(*arguments):
    return main(["predict", *map(str, arguments)])


def test_plan_and_windows_are_told(model, scan, tmp_path, capsys):
    base = ["-i", scan, "-p", "liver", "heart", "--model", model]
    assert predict(*base, "-o", tmp_path / "a", "--max-memory", "64G") == 0
    assert "memory: needs " in capsys.readouterr().err
    record = json.loads((tmp_path / "a" / "ct.json").read_text())
    assert record["memory"]["needed_mb"] < record["memory"]["available_mb"]
    windows = record["windows"]
    assert windows["run"] == sum(w["run"] for w in windows["list"]) == len(windows["list"])
    assert all(len(w["start"]) == 3 for w in windows["list"])


def test_too_little_is_refused_in_one_line(model, scan, tmp_path, capsys):
    base = ["-i", scan, "-p", "liver", "--model", model, "-o", tmp_path / "out", "--quiet"]
    assert predict(*base, "--max-memory", "50M") == 4
    error = capsys.readouterr().err
    assert "at the least" in error
    assert "--max-memory" in error
    assert len(error.splitlines()) == 1
    assert not list((tmp_path / "out").glob("*.nii.gz"))
    assert predict(*base, "--max-memory", "plenty") == 2
    assert "amount of memory" in capsys.readouterr().err


def cpu_seconds(pid):
    """Processor time of a process so far, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads processor time in /proc")
def test_ctrl_c_ends_within_two_seconds(tmp_path):
    """Two seconds of processor time, so that a busy machine changes nothing; large windows."""
    model = make_model(tmp_path / "large", patch=(128, 128, 128), widths=(16, 16, 16, 16, 16))
    path = tmp_path / "ct.nii.gz"
    array = np.random.default_rng(0).integers(-100, 100, (150, 150, 90), dtype=np.int16)
    nib.save(nib.Nifti1Image(array, np.diag([3.0, 3, 4, 1])), path)
    process = subprocess.Popen(
        [sys.executable, "-m", "textseg3d", "predict", "-i", path, "--all", "--exact",
         "-o", tmp_path / "out", "--model", model, "--json-log"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1",
             "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "kernels")))},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        for line in process.stderr:
            event = json.loads(line)
            if event.get("stage") == "network":
                break
        before = cpu_seconds(process.pid)
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 130, rest
    assert usage.ru_utime + usage.ru_stime - before < 2.0
    assert not list(tmp_path.glob("out/*.nii.gz"))
