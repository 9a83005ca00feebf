"""Components and matching, by hand and against the scorers' published rule."""

from __future__ import annotations

import numpy as np
import pytest

from tests.evaluation.phantoms import box
from textseg3d.errors import GeometryError
from textseg3d.evaluation.instances import InstanceMatch, components, match_instances

SHAPE = (4, 4, 12)


def test_corner_contact_connects_at_26_only():
    mask = box((4, 4, 4), (0, 0, 0), (2, 2, 2)) | box((4, 4, 4), (2, 2, 2), (2, 2, 2))
    assert components(mask, connectivity=26).max() == 1
    assert components(mask, connectivity=18).max() == 2
    assert components(mask, connectivity=6).max() == 2


def test_edge_contact_connects_at_18():
    mask = box((4, 4, 4), (0, 0, 0), (4, 2, 2)) | box((4, 4, 4), (0, 2, 2), (4, 2, 2))
    assert components(mask, connectivity=18).max() == 1
    assert components(mask, connectivity=6).max() == 2


def test_components_agree_with_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    mask = np.random.default_rng(0).random((20, 21, 22)) < 0.2
    ours = components(mask, connectivity=26, min_voxels=10)
    theirs, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(theirs.ravel(), minlength=count + 1)[1:]
    assert ours.max() == int((sizes >= 10).sum())
    np.testing.assert_array_equal(ours > 0, np.isin(theirs, 1 + np.flatnonzero(sizes >= 10)))


def test_ten_voxels_stay_and_nine_go():
    nine, ten = box(SHAPE, (0, 0, 0), (3, 3, 1)), box(SHAPE, (0, 0, 4), (2, 1, 5))
    labels = components(nine | ten, min_voxels=10)
    assert labels.max() == 1
    np.testing.assert_array_equal(labels == 1, ten)


def test_touching_true_instances_are_matched_one_to_one():
    """Two true boxes side by side, one prediction over both: one TP at most, one FN."""
    truth = np.zeros(SHAPE, int)
    truth[:, :, 0:4], truth[:, :, 4:8] = 1, 2  # 64 voxels each, touching
    prediction = np.zeros(SHAPE, int)
    prediction[:, :, 0:7] = 9  # 112 voxels: 64 of the first, 48 of the second
    match = match_instances(truth, prediction, threshold=0.5, measure="iou", rule="hungarian")
    assert (match.true_positives, match.false_positives, match.false_negatives) == (1, 0, 1)
    assert match.pairs[0][:2] == (1, 9)
    assert match.pairs[0][2] == pytest.approx(64 / 112, abs=1e-12)
    assert match.matched_dice == pytest.approx(128 / 176, abs=1e-12)
    assert match.f1 == pytest.approx(2 / 3, abs=1e-12)


def test_greedy_takes_the_best_pair_and_hungarian_the_most_pairs():
    # Scores (IoU) of truths A, B with predictions p, q: A-p 0.6, A-q 0.55, B-p 0.52, B-q 0.
    truth, prediction = np.zeros(400, int), np.zeros(400, int)
    truth[:100] = 1
    # p shares 75 voxels with A; q shares the rest; built as counts, geometry does not matter.
    truth[100:200] = 2
    prediction[0:60] = 1
    prediction[100:140] = 1
    prediction[60:100] = 2
    shape = (1, 1, 400)
    kwargs = {"threshold": 0.2, "measure": "iou"}
    truth, prediction = truth.reshape(shape), prediction.reshape(shape)
    # A-p: 60/(100+100-60)=0.4286, A-q: 40/100=0.4, B-p: 40/160=0.25.
    greedy = match_instances(truth, prediction, rule="greedy", **kwargs)
    hungarian = match_instances(truth, prediction, rule="hungarian", **kwargs)
    assert [p[:2] for p in greedy.pairs] == [(1, 1)]
    assert [p[:2] for p in hungarian.pairs] == [(1, 2), (2, 1)]
    assert hungarian.pairs[0][2] == pytest.approx(0.4)
    assert hungarian.pairs[1][2] == pytest.approx(0.25)


def test_threshold_is_inclusive():
    truth, prediction = np.zeros((1, 1, 8), int), np.zeros((1, 1, 8), int)
    truth[..., :4], prediction[..., 2:4] = 1, 1  # IoU 0.5 exactly
    for rule in ("greedy", "hungarian"):
        match = match_instances(truth, prediction, threshold=0.5, measure="iou", rule=rule)
        assert match.true_positives == 1


@pytest.mark.parametrize("rule", ["greedy", "hungarian"])
def test_empty_sides(rule):
    none, two = np.zeros(SHAPE, int), np.zeros(SHAPE, int)
    two[0, 0, 0], two[3, 3, 3] = 4, 7
    kwargs = {"threshold": 0.5, "measure": "dice", "rule": rule}
    assert match_instances(none, none, **kwargs) == InstanceMatch(0, 0, 0)
    assert match_instances(none, two, **kwargs) == InstanceMatch(0, 2, 0)
    missed = match_instances(two, none, **kwargs)
    assert missed == InstanceMatch(0, 0, 2)
    assert (missed.precision, missed.recall, missed.f1) == (0.0, 0.0, 0.0)


def test_counts_add_up():
    total = InstanceMatch(1, 1, 0) + InstanceMatch(2, 0, 3)
    assert (total.true_positives, total.false_positives, total.false_negatives) == (3, 1, 3)
    assert total.precision == pytest.approx(0.75)
    assert total.recall == pytest.approx(0.5)
    assert total.f1 == pytest.approx(0.6)


def test_swapping_the_sides_swaps_false_positives_and_negatives():
    rng = np.random.default_rng(1)
    first = components(rng.random((12, 12, 12)) < 0.25, connectivity=6)
    second = components(rng.random((12, 12, 12)) < 0.25, connectivity=6)
    for rule in ("greedy", "hungarian"):
        kwargs = {"threshold": 0.3, "measure": "dice", "rule": rule}
        forward = match_instances(first, second, **kwargs)
        backward = match_instances(second, first, **kwargs)
        assert forward.true_positives == backward.true_positives
        assert forward.false_positives == backward.false_negatives


def test_shapes_must_agree():
    with pytest.raises(GeometryError, match="bring the prediction"):
        match_instances(
            np.zeros((1, 1, 2), int),
            np.zeros((1, 1, 3), int),
            threshold=0.5,
            measure="iou",
            rule="greedy",
        )
