"""What a run that was killed while writing leaves behind goes with the next checkpoint."""

from __future__ import annotations

import torch
from safetensors.torch import load_file

from textseg3d.training.checkpoint import save_average


def test_leftovers_of_killed_runs_go(tmp_path):
    path = tmp_path / "best.safetensors"
    (tmp_path / f".{path.name}.12345").write_bytes(b"half")
    (tmp_path / ".other.12345").write_bytes(b"not ours")
    save_average(path, {"weight": torch.ones(3)}, 7)
    assert {p.name for p in tmp_path.iterdir()} == {path.name, ".other.12345"}
    assert load_file(path)["average.weight"].tolist() == [1.0, 1.0, 1.0]
