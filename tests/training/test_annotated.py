"""Labels that a case was not searched for are unknown there: never asked, never scored."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
import torch

from tests.training.phantoms import LABELS, phantom
from tests.training.test_stored import NAME, prepare, source
from textseg3d.dataset.case_notes import CaseNotes, Finding, load_case_notes
from textseg3d.errors import InputError
from textseg3d.evaluation.fold import score_cases
from textseg3d.evaluation.protocols.nnunet import mean_dice
from textseg3d.evaluation.selection.best import validation_pairs
from textseg3d.evaluation.selection.decide import decide_postprocessing
from textseg3d.training.configure import prompted_configuration
from textseg3d.training.losses import prompt_loss
from textseg3d.training.stored import StoreDataset
from textseg3d.training.targets import dataset_targets

NOTES = {
    "p00": CaseNotes(("liver", "kidney_left")),
    "p01": CaseNotes(("spleen",)),  # which is not there
    "p03": CaseNotes(()),
}
ALL = {"left kidney", "right kidney", "liver", "spleen"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("annotated"))


def noted(prepared, notes, cases=None, **options):
    dataset, plans, store = prepared
    targets = dataset_targets(dataset.description, notes=notes)
    return StoreDataset(
        store, cases or store.names(), plans, NAME, prompted_configuration(plans, NAME), targets,
        prompts=4, **options,
    )  # fmt: skip


def test_only_what_was_looked_for_is_asked(prepared):
    """Without the notes every case is asked for everything; with them, for its own labels."""
    data, everything = noted(prepared, NOTES), source(*prepared, prompts=4)
    asked: dict[str, set[str]] = {}
    for index in range(50):
        s = data[index]
        names = [data.targets[int(p)].name for p in s.prompts]
        asked.setdefault(s.case, set()).update(names)
        if s.case == "p01":  # a verified negative
            assert names == ["spleen"]
            assert s.presence.tolist() == [0.0]
            assert not s.fine_mask.any()
    assert asked == {"p00": {"liver", "left kidney"}, "p01": {"spleen"}, "p02": ALL}
    assert data.having["right kidney"] == ["p02"]
    assert {everything[i].case for i in range(20)} == {"p00", "p01", "p02", "p03"}


def test_a_dataset_that_was_searched_for_nothing_is_refused(prepared):
    with pytest.raises(InputError, match="none of the 1 cases was searched for any label"):
        noted(prepared, NOTES, ["p03"])


def test_around_an_incomplete_drawing_counts_and_the_rest_does_not(prepared):
    """More of the liver may be there than was drawn: no window says that it is not there."""
    finding = Finding("the liver", "unused.nii.gz", "liver", 1, exhaustive=False)
    notes = {"p00": CaseNotes(("liver", "spleen"), (finding,)), "p02": CaseNotes(("spleen",))}
    data = noted(prepared, notes, ["p00", "p02"], augment=False)
    _, labels = phantom(0, spleen=True)
    liver, seen = data.index["liver"], 0
    for index in range(12):
        s = data[index]
        if s.case == "p02":
            assert s.known is None
            continue
        row = s.prompts.tolist().index(liver)
        other = 1 - row
        assert s.presence[row] != 0
        assert s.known is not None
        half, truth = s.known[1], s.masks[0]
        assert bool((half[other] == 1).all())
        assert bool((half[row][truth[row] > 0] == 1).all())
        # 12 mm are three voxels to each side of the drawn box, 1.5 cells here
        where = torch.nonzero(half[row] > 0)
        drawn = torch.nonzero(truth[row] > 0)
        assert int((drawn.amin(0) - where.amin(0)).max()) in (1, 2)
        logits = torch.zeros_like(truth, dtype=torch.float32, requires_grad=True)
        prompt_loss(logits, truth, half).backward()
        assert bool((logits.grad[row][half[row] == 0] == 0).all())
        assert bool((logits.grad[other] != 0).any())
        seen += 1
    assert seen > 3
    assert (labels == LABELS["liver"]).any()


def test_scores_of_a_fold_leave_out_what_is_unknown(prepared, tmp_path):
    """p00's spleen is predicted where nobody looked: no false positive; without notes it is one."""
    dataset = prepared[0]
    cases, out = ["p00", "p01"], tmp_path / "trainer" / "fold_0" / "validation"
    out.mkdir(parents=True)
    for case in dataset.cases[:2]:  # p01's prediction has the liver of the other: wrong
        shutil.copyfile(dataset.cases[0].label, out / case.label.name)
    path = dataset.folder / "cases.json"
    keys = {name: str(value) for name, value in LABELS.items()}
    try:
        plain = score_cases(dataset, cases, out)
        path.write_text(json.dumps({"p01": {"annotated": ["kidney_left"]}}))
        summary = score_cases(dataset, cases, out)
        (pair, other) = validation_pairs(dataset, tmp_path / "trainer", ["0"])
        rules = decide_postprocessing([pair, other], _labels(dataset))
    finally:
        path.unlink(missing_ok=True)
    first, second = (entry["metrics"] for entry in summary["metric_per_case"])
    assert [first[k]["Dice"] for k in "1234"] == [1.0] * 4
    assert [math.isnan(second[k]["Dice"]) for k in "1234"] == [False, True, True, True]
    assert math.isnan(second["4"]["FP"])
    assert plain["metric_per_case"][1]["metrics"][keys["spleen"]]["FP"] > 0
    assert plain["mean"]["4"]["Dice"] == 0.5
    assert summary["mean"]["4"]["Dice"] == 1.0
    assert mean_dice(summary) == pytest.approx((3 + summary["mean"]["1"]["Dice"]) / 4)
    assert (pair.unknown, len(other.unknown)) == (frozenset(), 3)
    assert rules.rules == ()
    assert np.isfinite(mean_dice(plain))


def _labels(dataset):
    from textseg3d.evaluation.protocols.folders import FolderRequest, label_set

    return label_set(FolderRequest(dataset.folder, dataset.folder, dataset.folder / "dataset.json"))


def test_a_note_of_no_label_is_named(tmp_path):
    (tmp_path / "cases.json").write_text(json.dumps({"a": {"annotated": ["livre"]}}))
    with pytest.raises(InputError, match="case a names 'livre', no label; did you mean 'liver'"):
        load_case_notes(tmp_path, ["liver", "spleen"])
    assert load_case_notes(tmp_path)["a"].unknown(["liver", "livre"]) == {"liver"}
