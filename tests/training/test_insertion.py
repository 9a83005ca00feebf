"""Labels of inserted findings: a nodule stays part of its lobe and is found by its own target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from textseg3d.errors import InputError
from textseg3d.plans.schema import Configuration
from textseg3d.training.cases import TargetEntry, TrainingCase, TrainingSet, save_case_arrays
from textseg3d.training.insertion import insert_findings
from textseg3d.training.sampling import WindowDataset

SPACING = (3.0, 3.0, 3.0)
UPPER, LOWER = 1, 2


def case(**changes: object) -> TrainingCase:
    fields: dict[str, object] = {
        "name": "scan",
        "kind": "scan",
        "weight": 1.0,
        "targets": {
            "lungs": (UPPER, LOWER),
            "upper lobe": (UPPER,),
            "lower lobe": (LOWER,),
            "pulmonary nodule": (),
        },
        "insert": {"pulmonary nodule": (UPPER, LOWER)},
    }
    return TrainingCase(**{**fields, **changes})  # type: ignore[arg-type]


def volume() -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.zeros((40, 40, 40), dtype=torch.uint8)
    labels[5:20, 5:35, 5:35] = LOWER
    labels[20:35, 5:35, 5:35] = UPPER
    hu = torch.where(labels > 0, -850.0, 40.0)
    return hu, labels


def members(labels: torch.Tensor, ids: tuple[int, ...]) -> torch.Tensor:
    return torch.isin(labels, torch.tensor(ids, dtype=torch.uint8))


def test_a_nodule_stays_in_its_lobe() -> None:
    seen = 0
    for seed in range(20):
        hu, labels = volume()
        before, old = hu.clone(), labels.clone()
        known = insert_findings(torch.Generator().manual_seed(seed), case(), hu, labels, SPACING)
        nodule = members(labels, known["pulmonary nodule"])
        for name, ids in case().targets.items():
            if name != "pulmonary nodule":
                assert torch.equal(members(labels, known[name]), members(old, ids)), name
        assert not (nodule & (old == 0)).any()
        assert nodule.any() == (hu != before).any()
        seen += bool(nodule.any())
    assert 3 <= seen <= 14  # of 20, at a probability of 0.4


def test_drawn_nodules_keep_their_ids() -> None:
    hu, labels = volume()
    labels[10:13, 10:13, 10:13] = 200
    targets = {"lungs": (UPPER, LOWER, 200), "pulmonary nodule": (200,)}
    one = case(targets=targets)
    for seed in range(10):
        known = insert_findings(
            torch.Generator().manual_seed(seed), one, hu.clone(), labels.clone(), SPACING
        )
        assert 200 in known["pulmonary nodule"]
        assert 200 in known["lungs"]


def test_samples_ask_for_it(tmp_path: Path) -> None:
    hu, labels = volume()
    save_case_arrays(tmp_path, "scan", labels.numpy(), hu.numpy().astype(np.int16))
    names = list(case().targets)
    training_set = TrainingSet(
        SPACING, tuple(TargetEntry(n, weight=50.0 if "nod" in n else 1.0) for n in names), (case(),)
    )
    training_set.save(tmp_path)
    source = WindowDataset(
        tmp_path,
        TrainingSet.load(tmp_path),
        Configuration(spacing=SPACING, patch_size=(64, 64, 64)),
        seed=0,
        fine_crop=32,
    )
    nodule = names.index("pulmonary nodule")
    present = []
    for i in range(12):
        sample = source[i]
        row = sample.prompts.tolist().index(nodule)
        present.append(float(sample.presence[row]))
        if present[-1] > 0:
            assert float(sample.masks[0][row].float().sum()) * 8 >= 20
    assert {0.0, 1.0} <= set(present)


def test_a_case_that_does_not_know_the_finding_is_refused(tmp_path: Path) -> None:
    targets = {"lungs": (UPPER, LOWER)}
    TrainingSet(SPACING, (TargetEntry("lungs"),), (case(targets=targets),)).save(tmp_path)
    with pytest.raises(InputError, match="pulmonary nodule"):
        TrainingSet.load(tmp_path)
