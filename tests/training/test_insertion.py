"""Labels of inserted findings: a nodule stays part of its lobe and is found by its own target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from textseg3d.errors import InputError
from textseg3d.plans.schema import Configuration
from textseg3d.synthesis.findings import FINDINGS, draw_centre, insert
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


def test_findings_near_the_edge_of_their_organ() -> None:
    """The lungs are a box from 5 to 35; two steps of 3 mm are within 7 mm, three are not."""
    depths = []
    for seed in range(30):
        hu, labels = volume()
        rng = torch.Generator().manual_seed(seed)
        drawn = insert_findings(
            rng, case(), hu, labels, SPACING, probability=1.0, edge_probability=1.0
        ).findings
        for one in drawn:
            c = one.finding.centre
            depths.append(min(min(i - 5, 34 - i) for i in c))
    assert len(depths) > 30
    assert set(depths) == {0, 1}  # the outermost voxel and the one below


def test_a_nodule_stays_in_its_lobe() -> None:
    seen = 0
    for seed in range(20):
        hu, labels = volume()
        before, old = hu.clone(), labels.clone()
        rng = torch.Generator().manual_seed(seed)
        known = insert_findings(rng, case(), hu, labels, SPACING).targets
        nodule = members(labels, known["pulmonary nodule"])
        for name, ids in case().targets.items():
            if name != "pulmonary nodule":
                assert torch.equal(members(labels, known[name]), members(old, ids)), name
        assert not (nodule & (old == 0)).any()
        assert nodule.any() == (hu != before).any()
        seen += bool(nodule.any())
    assert 3 <= seen <= 14  # of 20, at a probability of 0.4


def drawn_by_the_book(
    rng: torch.Generator, one: TrainingCase, hu: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Random numbers in the order that recorded runs drew them in; bool mask of all findings.

    For a case with one finding and without drawn ones.
    """
    found = torch.zeros(labels.shape, dtype=torch.bool)
    (name, hosts), rule = next(iter(one.insert.items())), FINDINGS["pulmonary nodule"]
    organ = members(labels, hosts)
    if float(torch.rand((), generator=rng)) < 0.4:
        for _ in range(int(torch.randint(1, 4, (), generator=rng))):
            centre = draw_centre(rng, organ, hu)
            if centre is not None:
                kind, diameter = rule.kind(rng), rule.diameter(rng)
                finding = insert(rng, hu, organ, SPACING, kind, diameter, centre)
                if finding is not None:
                    found[finding.box] |= finding.mask
    assert name == "pulmonary nodule"
    return found


def test_samples_stay_what_they_were() -> None:
    """The sequence of random numbers is part of what makes a run repeatable."""
    for seed in range(12):
        hu, labels = volume()
        expected_hu, ours, theirs = hu.clone(), *(torch.Generator() for _ in range(2))
        expected = drawn_by_the_book(theirs.manual_seed(seed), case(), expected_hu, labels.clone())
        known = insert_findings(ours.manual_seed(seed), case(), hu, labels, SPACING).targets
        assert torch.equal(hu, expected_hu)
        assert torch.equal(members(labels, known["pulmonary nodule"]), expected)
        assert torch.equal(torch.rand(3, generator=ours), torch.rand(3, generator=theirs))


def test_what_was_inserted_is_told() -> None:
    told = 0
    for seed in range(12):
        hu, labels = volume()
        rng = torch.Generator().manual_seed(seed)
        made = insert_findings(rng, case(), hu, labels, SPACING, 1.0)
        union = torch.zeros(labels.shape, dtype=torch.uint8)
        for one in made.findings:
            assert one.target == "pulmonary nodule"
            assert one.finding.kind in FINDINGS["pulmonary nodule"].odds
            assert bool(one.mask.any())
            assert not (one.mask & ~one.finding.mask).any()
            union[one.finding.box] += one.mask
        told += len(made.findings)
        assert int(union.max()) <= 1  # no voxel belongs to two
        assert torch.equal(union > 0, members(labels, made.targets["pulmonary nodule"]))
        rng = torch.Generator().manual_seed(seed)
        hu, labels = volume()
        assert insert_findings(rng, case(), hu, labels, SPACING, 0.0).findings == ()
        assert torch.equal(hu, volume()[0])
    assert told >= 15


def test_drawn_nodules_keep_their_ids() -> None:
    hu, labels = volume()
    labels[10:13, 10:13, 10:13] = 200
    targets = {"lungs": (UPPER, LOWER, 200), "pulmonary nodule": (200,)}
    one = case(targets=targets)
    for seed in range(10):
        known = insert_findings(
            torch.Generator().manual_seed(seed), one, hu.clone(), labels.clone(), SPACING
        ).targets
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
