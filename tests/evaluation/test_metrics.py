"""Overlap, volume, presence and bootstrap numbers, by hand and against peers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.evaluation.phantoms import box
from textseg3d.errors import GeometryError, UsageError
from textseg3d.evaluation.metrics import (
    bootstrap_mean,
    dice,
    iou,
    presence_auc,
    score_mask,
    volume_ml,
)

SHAPE = (6, 6, 6)


def test_two_overlapping_boxes_by_hand():
    truth = box(SHAPE, (0, 0, 0), (2, 2, 4))  # 16 voxels
    prediction = box(SHAPE, (0, 0, 2), (2, 2, 3))  # 12 voxels, 8 shared
    assert dice(truth, prediction) == pytest.approx(16 / 28, abs=1e-12)
    assert iou(truth, prediction) == pytest.approx(8 / 20, abs=1e-12)
    scores = score_mask(truth, prediction, (5.0, 2.0, 1.0), tolerance_mm=1.0)
    assert scores.truth_ml == pytest.approx(0.16)
    assert scores.prediction_ml == pytest.approx(0.12)
    assert scores.volume_error_ml == pytest.approx(-0.04)
    assert scores.relative_volume_error == pytest.approx(-0.25)


def test_ignored_voxels_count_for_nobody():
    truth = box(SHAPE, (0, 0, 0), (1, 1, 4))
    prediction = box(SHAPE, (0, 0, 2), (1, 1, 4))
    ignore = box(SHAPE, (0, 0, 4), (1, 1, 2))  # the false positive part
    scores = score_mask(truth, prediction, (1, 1, 1), tolerance_mm=1.0, ignore=ignore)
    assert scores.dice == pytest.approx(2 * 2 / (4 + 2))
    assert scores.prediction_ml == pytest.approx(0.002)


def test_empty_masks_have_no_dice_and_no_json_infinities():
    none, some = np.zeros(SHAPE, bool), box(SHAPE, (1, 1, 1), (2, 2, 2))
    assert np.isnan(dice(none, none))
    assert np.isnan(iou(none, none))
    assert dice(none, some) == 0.0
    record = score_mask(none, some, (1, 1, 1), tolerance_mm=1.0).to_json()
    assert record["hd95_mm"] is None
    assert record["relative_volume_error"] is None
    assert record["nsd"] == 0.0


def test_shapes_must_agree():
    with pytest.raises(GeometryError, match=r"shape \(2, 2, 2\), the truth \(2, 2, 3\)"):
        dice(np.zeros((2, 2, 3), bool), np.zeros((2, 2, 2), bool))


def test_volume_of_one_litre():
    assert volume_ml(np.ones((10, 10, 10), bool), (10, 10, 10)) == pytest.approx(1000.0)


def test_presence_auc_by_hand_and_against_scikit_learn():
    present = [True, True, False, False, False]
    score = [0.9, 0.4, 0.4, 0.1, 0.6]
    # 6 pairs: 0.9 beats three; 0.4 beats 0.1, ties with 0.4, loses to 0.6.
    assert presence_auc(present, score) == pytest.approx((3 + 1 + 0.5) / 6)
    assert np.isnan(presence_auc([True, True], [0.1, 0.2]))
    with pytest.raises(UsageError, match="one length"):
        presence_auc([True], [0.1, 0.2])
    peer = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(3)
    labels, values = rng.random(200) < 0.3, np.round(rng.random(200), 1)
    assert presence_auc(labels, values) == pytest.approx(peer.roc_auc_score(labels, values))


def test_bootstrap_is_seeded_and_draws_whole_patients():
    values = [0.9, 0.8, 0.7, 0.2, float("nan")]
    patients = ["a", "a", "b", "c", "c"]
    first = bootstrap_mean(values, patients, seed=5)
    assert first == bootstrap_mean(values, patients, seed=5)
    assert first.mean == pytest.approx(0.65)
    assert (first.values, first.clusters) == (4, 3)
    assert 0.2 <= first.low < first.mean < first.high <= 0.9
    single = bootstrap_mean([0.5, 0.7], ["a", "a"])
    assert single.mean == pytest.approx(0.6)
    assert np.isnan(single.low)
    assert bootstrap_mean([float("nan")]).to_json()["mean"] is None
    with pytest.raises(UsageError, match="2 values but 1 clusters"):
        bootstrap_mean([0.1, 0.2], ["a"])


def test_bootstrap_interval_covers_like_scipys():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    values = rng.normal(0.7, 0.1, size=60)
    ours = bootstrap_mean(list(values), resamples=5000)
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=5000, rng=rng
    ).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.004)
    assert ours.high == pytest.approx(theirs.high, abs=0.004)


masks = arrays(bool, (3, 4, 2))


@settings(max_examples=60, deadline=None)
@given(masks, masks)
def test_dice_and_iou_properties(first, second):
    np.testing.assert_equal(dice(first, second), dice(second, first))
    if first.any() or second.any():
        d, j = dice(first, second), iou(first, second)
        assert 0 <= j <= d <= 1
        assert d == pytest.approx(2 * j / (1 + j))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=2, max_size=12))
def test_auc_of_negated_scores_is_the_complement(pairs):
    present, score = [p for p, _ in pairs], [s for _, s in pairs]
    auc = presence_auc(present, score)
    if not np.isnan(auc):
        assert presence_auc(present, [-s for s in score]) == pytest.approx(1 - auc)
