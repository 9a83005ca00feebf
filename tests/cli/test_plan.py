"""`plan`, `preprocess` and `plan_and_preprocess` on a small dataset, as a user runs them."""

from __future__ import annotations

import json
import re

import pytest

from tests.dataset.small import make_dataset, save
from textseg3d.cli.main import main
from textseg3d.preprocessing.store import CaseStore

NAME = "Dataset007_X"
SHAPES = ((12, 24, 28),) * 5
SPACINGS = ((2.0, 1.0, 1.0),) * 5


@pytest.fixture
def raw(tmp_path, monkeypatch):
    monkeypatch.setattr("textseg3d.preprocessing.fingerprinting.FOREGROUND_SAMPLES", 30_000)
    for kind in ("raw", "preprocessed"):
        monkeypatch.delenv(f"TEXTSEG3D_{kind}", raising=False)
        monkeypatch.setenv(f"nnUNet_{kind}", str(tmp_path / kind))
    return make_dataset(tmp_path / "raw" / NAME, shapes=SHAPES, spacings=SPACINGS)


def test_plan_and_preprocess(raw, tmp_path, capsys):
    assert main(["plan_and_preprocess", "-d", "7", "--verify_dataset_integrity", "--explain"]) == 0
    out = tmp_path / "preprocessed" / NAME
    captured = capsys.readouterr()
    assert "target spacing 2 × 1 × 1 mm (z, y, x): median of every axis" in captured.out
    assert captured.out.splitlines()[-1] == str(out / "nnUNetPlans.json")
    assert "no fault found" in captured.err
    assert re.search(r"at most 0\.0\d GB of disk, .* at least \d+ s on an idle", captured.err)
    assert len(json.loads((out / "splits_final.json").read_text())) == 5
    store = CaseStore(out / "textseg3d_nnUNetPlans_3d_fullres")
    assert store.names() == ["a", "b", "c", "d", "e"]
    plans = json.loads((out / "nnUNetPlans.json").read_text())
    assert plans["configurations"]["2d"]["data_identifier"] == "nnUNetPlans_2d"


def test_plans_of_a_user_are_kept_and_used(raw, tmp_path, capsys):
    assert main(["plan", "-d", NAME]) == 0
    path = tmp_path / "preprocessed" / NAME / "nnUNetPlans.json"
    plans = json.loads(path.read_text())
    own = {"inherits_from": "3d_fullres", "spacing": [3, 2, 2], "data_identifier": "coarse"}
    plans["configurations"]["coarse"] = own
    path.write_text(json.dumps(plans))
    assert main(["plan", "-d", NAME, "--gpu-memory-gb", "4"]) == 0
    assert json.loads(path.read_text())["configurations"]["coarse"] == own
    assert main(["preprocess", "-d", "7", "-c", "coarse", "-np", "1", "--ram-gb", "2"]) == 0
    record = CaseStore(path.parent / "textseg3d_coarse").record("a")
    assert record.spacing_mm == (3.0, 2.0, 2.0)
    capsys.readouterr()
    assert main(["preprocess", "-d", "7", "-c", "2d"]) == 3
    assert "segments slices" in capsys.readouterr().err
    assert main(["preprocess", "-d", "7", "-c", "3d_fulres"]) == 3
    assert "did you mean '3d_fullres'" in capsys.readouterr().err
    assert main(["preprocess", "-d", "7", "--ram-gb", "0.1"]) == 4
    assert "--ram-gb allows 0.1" in capsys.readouterr().err


def test_faults_stop_planning(raw, capsys):
    import numpy as np

    save(raw / "labelsTr" / "b.nii.gz", np.full(SHAPES[0], 9, np.uint8))
    assert main(["plan", "-d", "7", "--verify_dataset_integrity"]) == 3
    error = capsys.readouterr().err
    assert "b.nii.gz has label values [9]" in error
    assert "has 1 faults (above)" in error


def test_preprocess_needs_plans(raw, capsys):
    assert main(["preprocess", "-d", "7"]) == 3
    assert "run `textseg3d plan -d 7` first" in capsys.readouterr().err


def test_presets_are_planned_explained_and_preprocessed(raw, tmp_path, capsys):
    flags = ["--preset", "mr", "cpu-3mm", "--explain", "--ram-gb", "8"]
    assert main(["plan", "-d", "7", *flags]) == 0
    text = capsys.readouterr().out
    assert "mr: spacing 1 × 1 × 1 mm and network of the preset" in text
    assert "GFLOP" in text
    plans = json.loads((tmp_path / "preprocessed" / NAME / "nnUNetPlans.json").read_text())
    assert set(plans["configurations"]) == {"2d", "3d_fullres", "mr", "cpu-3mm"}
    assert plans["configurations"]["mr"]["cost"]["training_gb"] > 0
    assert main(["preprocess", "-d", "7", "-c", "mr"]) == 0
    record = CaseStore(tmp_path / "preprocessed" / NAME / "textseg3d_nnUNetPlans_mr").record("a")
    assert record.spacing_mm == (1.0, 1.0, 1.0)
    assert main(["plan", "-d", "7", "--preset", "cpu"]) == 3
    assert "there is no preset 'cpu'" in capsys.readouterr().err
