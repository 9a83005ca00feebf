"""Several processes, and processes that die: the same run as one that nobody disturbed."""

from __future__ import annotations

import csv
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training import toy_run
from tests.training.toy import write_training_set
from textseg3d.training.loop import TrainSettings, sample_indices
from textseg3d.training.ranks import Ranks

ROOT = Path(__file__).resolve().parents[2]


def launch(mode: str, folder: Path, steps: int, processes: int = 0) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m"]
    if processes:
        command += ["torch.distributed.run", "--nproc-per-node", str(processes)]
        command += [
            "--master-port",
            "0",
            "--rdzv-backend",
            "c10d",
            "--rdzv-endpoint",
            "localhost:0",
        ]
        command += ["-m"]
    command += ["tests.training.toy_run", mode, str(folder), str(steps)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def losses(folder: Path) -> list[float]:
    with (folder / "run" / "log.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found = load_file(folder / "run" / "checkpoint.safetensors")
    return {k: v for k, v in found.items() if k.startswith("average.")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One process with the double batch, undisturbed."""
    folder = tmp_path_factory.mktemp("whole")
    write_training_set(folder / "data")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        toy_run.run(folder, 5, batch=2)
    finally:
        torch.set_num_threads(threads)
    return folder


def test_processes_share_the_samples_of_a_step():
    settings = TrainSettings(steps=4, batch=2, accumulate=3)
    double = TrainSettings(steps=4, batch=4, accumulate=3)
    first, second = (list(sample_indices(settings, Ranks(r, 2), 1)) for r in (0, 1))
    together = list(sample_indices(double, Ranks(), 1))
    assert sorted(first + second) == together == list(range(12, 48))
    assert first[:6] == [12, 13, 14, 15, 16, 17]
    assert second[:6] == [18, 19, 20, 21, 22, 23]


def test_two_processes_equal_one_with_the_double_batch(whole, tmp_path):
    """Also when a process was killed on the way: the run ends, and goes on at the next step."""
    write_training_set(tmp_path / "data")
    done = launch("die", tmp_path, 5, processes=2)
    assert done.returncode != 0
    assert "Signal 9" in done.stderr or "SIGKILL" in done.stderr
    done = launch("run", tmp_path, 5, processes=2)
    assert done.returncode == 0, done.stderr[-2000:]
    assert losses(tmp_path) == pytest.approx(losses(whole), rel=1e-4)
    assert len(losses(tmp_path)) == 5


def test_ten_kills_of_training_change_nothing(tmp_path):
    """SIGKILL at ten random moments: all steps once, finite losses, the same weights in the end."""
    for name in ("killed", "whole"):
        write_training_set(tmp_path / name / "data")
    done = launch("kills", tmp_path / "killed", 20)
    assert done.returncode == 0, done.stderr[-2000:]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        toy_run.run(tmp_path / "whole", 20)
    finally:
        torch.set_num_threads(threads)
    with (tmp_path / "killed" / "run" / "log.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps == list(range(1, 21))
    assert all(math.isfinite(value) for value in losses(tmp_path / "killed"))
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-6, msg=name)
