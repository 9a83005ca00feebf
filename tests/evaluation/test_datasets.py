"""A model scored on a dataset in nnU-Net's layout: labels, regions, ignored voxels, folds."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.evaluation.conftest import table_model
from tests.evaluation.phantoms import box, save_zyx
from tests.model_factory import make_model
from textseg3d.cli.main import main
from textseg3d.dataset import Dataset, five_folds
from textseg3d.errors import InputError
from textseg3d.evaluation.datasets import dataset_cases
from textseg3d.evaluation.pictures import WINDOW_HU
from textseg3d.evaluation.scoring import score_case
from textseg3d.text.knowledge import load_tree

SHAPE, SPACING = (8, 24, 24), (3.0, 2.0, 2.0)
OUTER, INNER = box(SHAPE, (1, 4, 4), (5, 12, 12)), box(SHAPE, (2, 6, 6), (2, 4, 4))
UNKNOWN = box(SHAPE, (1, 18, 18), (3, 4, 4))


def write_dataset(folder, cases=("a",), channels=1, **description):
    truth = 1 * OUTER + 1 * INNER + (3 * UNKNOWN if "ignore" in description["labels"] else 0)
    for number, case in enumerate(cases):
        rng = np.random.default_rng(number)
        for channel in range(channels):
            image = 100 + 50 * OUTER + rng.integers(0, 9, SHAPE)
            save_zyx(folder / f"imagesTr/{case}_{channel:04d}.nii.gz", image, SPACING, np.int16)
        save_zyx(folder / f"labelsTr/{case}.nii.gz", truth, SPACING)
    data = {
        "channel_names": {str(n): "MRI" for n in range(channels)},
        "numTraining": len(cases), "file_ending": ".nii.gz", **description,
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(data))
    return Dataset.load(folder)


def scored(dataset, table, prompts=None):
    (case,), mapping = dataset_cases(dataset, prompts or {})
    result = score_case(case, table_model(table), mapping, load_tree())
    return {row.task.name: row for row in result.rows}, result


def test_labels_and_ignored_voxels(tmp_path):
    labels = {"background": 0, "liver": 1, "odd_part": 2, "ignore": 3}
    dataset = write_dataset(tmp_path / "Dataset001_X", labels=labels, channels=2)
    shell = OUTER & ~INNER
    table = {"liver": shell | UNKNOWN, "odd part": INNER & (np.arange(SHAPE[2]) < 8)}
    rows, result = scored(dataset, table, {"liver": "liver", "odd_part": "odd part"})
    assert rows["liver"].scores.dice == 1.0  # what is not annotated does not count
    assert rows["liver"].ignored_voxels == int(UNKNOWN.sum())
    assert rows["odd part"].scores.dice == pytest.approx(2 * 16 / (16 + 32))
    assert {n.label for n in result.not_scored} == {"ignore"}
    low, high = rows["liver"].planes.window  # MR is no HU
    assert (low, high) != WINDOW_HU
    assert 95 < low < high < 170


def test_regions_overlap(tmp_path):
    labels = {"background": 0, "whole tumour": [1, 2], "core": 2}
    dataset = write_dataset(tmp_path / "D", labels=labels, regions_class_order=[1, 2])
    rows, _ = scored(dataset, {"whole tumour": OUTER, "core": INNER})
    assert set(rows) == {"whole tumour", "core"}
    assert all(row.scores.dice == 1.0 for row in rows.values())


def test_an_unknown_case_is_named(tmp_path):
    dataset = write_dataset(tmp_path / "D", labels={"background": 0, "liver": 1, "spleen": 2})
    with pytest.raises(InputError, match="has no case b"):
        dataset_cases(dataset, {}, ["b"])


def test_the_command_takes_a_fold(tmp_path, monkeypatch, capsys):
    for kind in ("raw", "preprocessed", "results"):
        monkeypatch.delenv(f"TEXTSEG3D_{kind}", raising=False)
        monkeypatch.delenv(f"nnUNet_{kind}", raising=False)
    cases = tuple("abcde")
    folder = tmp_path / "Dataset001_X"
    write_dataset(folder, cases, labels={"background": 0, "liver": 1, "spleen": 2})
    model = make_model(tmp_path / "m", patch=(32, 32, 64), spacing=(6.0, 6.0, 6.0))
    command = ["evaluate", "--model", str(model), "--cases", str(folder), "--device", "cpu"]
    out = tmp_path / "out"
    assert main([*command, "--fold", "0", "-o", str(out), "--worst", "1"]) == 0
    summary = json.loads((out / "evaluation.json").read_text())
    assert [c["case"] for c in summary["cases"]] == five_folds(cases)[0]["val"]
    assert summary["cases"][0]["split"] == "held aside by fold 0"
    assert set(summary["groups"]) == {"liver", "spleen"}
    assert (out / "evaluation.html").is_file()
    capsys.readouterr()
    assert main([*command, "--fold", "7", "-o", str(out)]) == 2
    assert "there are 5" in capsys.readouterr().err
    (folder / "splits_final.json").write_text(json.dumps([{"train": ["a"], "val": ["e"]}]))
    assert main([*command, "--fold", "1", "-o", str(out)]) == 2
    assert "there are 1" in capsys.readouterr().err
