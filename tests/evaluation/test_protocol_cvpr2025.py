"""CVPR-2025's rules on hand-computed cases, to 1e-6."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.evaluation.phantoms import box, sphere
from textseg3d.errors import GeometryError, InputError
from textseg3d.evaluation.protocols import FolderRequest
from textseg3d.evaluation.protocols.cvpr2025 import score_classes, score_folder, score_instances

SHAPE = (12, 12, 12)
ONE = (1.0, 1.0, 1.0)


def test_classes_present_in_the_truth_by_hand():
    truth = 1 * box(SHAPE, (0, 0, 0), (4, 4, 4)) + 3 * box(SHAPE, (8, 8, 8), (2, 2, 2))
    prediction = 1 * box(SHAPE, (0, 0, 1), (4, 4, 4)) + 2 * box(SHAPE, (8, 0, 0), (2, 2, 2))
    result = score_classes(truth, prediction, ONE)
    assert set(result["classes"]) == {"1", "3"}  # class 2 is not in the truth
    assert result["classes"]["1"]["dice"] == pytest.approx(96 / 128, abs=1e-6)
    assert result["classes"]["1"]["nsd"] == pytest.approx(1.0, abs=1e-6)  # 1 mm off, 2 allowed
    assert result["classes"]["3"] == {"dice": 0.0, "nsd": 0.0}
    assert result["dice"] == pytest.approx(0.375, abs=1e-6)
    assert result["nsd"] == pytest.approx(0.5, abs=1e-6)
    asked = score_classes(truth, prediction, ONE, classes=(1, 2))
    assert asked["dice"] == pytest.approx(0.75, abs=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_nsd_equals_the_scorers_tool():
    peer = pytest.importorskip("surface_distance")
    spacing = (2.5, 0.8, 1.1)
    truth = sphere((16, 30, 30), (8, 14, 15), 9.0, spacing)
    prediction = sphere((16, 30, 30), (8, 17, 15), 8.0, spacing)
    distances = peer.compute_surface_distances(truth, prediction, spacing)
    expected = peer.compute_surface_dice_at_tolerance(distances, 2.0)
    result = score_classes(truth.astype(int), prediction.astype(int), spacing)
    assert 0.1 < expected < 0.99
    assert result["nsd"] == pytest.approx(expected, abs=1e-6)


def test_empty_truth_has_no_score_and_empty_prediction_zero():
    none, some = np.zeros(SHAPE, int), 1 * box(SHAPE, (0, 0, 0), (3, 3, 3))
    assert np.isnan(score_classes(none, some, ONE)["dice"])
    assert score_classes(some, none, ONE)["dice"] == 0.0
    assert score_classes(some, none, ONE)["nsd"] == 0.0
    assert score_instances(some, none)["f1"] == 0.0
    assert score_instances(none, some)["false_positives"] == 1
    assert score_instances(none, none)["f1"] == 0.0


def test_touching_instances_by_hand():
    """Three true instances in a row; a binary prediction over the first two is one component."""
    truth = np.zeros((4, 4, 16), int)
    truth[..., 0:4], truth[..., 4:7], truth[..., 10:14] = 5, 6, 9
    binary = np.zeros_like(truth)
    binary[..., 0:7] = 1  # IoU with 5: 64/112
    binary[..., 11:15] = 1  # IoU with 9: 48/80
    result = score_instances(truth, binary)
    assert (result["true_positives"], result["false_positives"], result["false_negatives"]) == (
        *(2, 0, 1),
    )
    assert result["f1"] == pytest.approx(0.8, abs=1e-6)
    assert result["matched_dice"] == pytest.approx((128 / 176 + 96 / 128) / 2, abs=1e-6)
    apart = binary.copy()
    apart[..., 4:7] *= 2
    apart[..., 11:15] *= 3
    assert score_instances(truth, apart)["f1"] == pytest.approx(1.0, abs=1e-6)


def test_components_of_a_binary_prediction_use_faces_only():
    truth = 1 * box(SHAPE, (0, 0, 0), (3, 3, 3)) + 2 * box(SHAPE, (3, 3, 3), (3, 3, 3))
    assert score_instances(truth, (truth > 0).astype(int))["f1"] == pytest.approx(1.0)


def _official_true_positives(iou, threshold):
    """The published matching rule, written as plain search over all assignments."""
    from itertools import permutations

    rows, columns = iou.shape
    if rows > columns:
        iou, rows, columns = iou.T, columns, rows
    best = max(
        permutations(range(columns), rows),
        key=lambda p: (
            sum(iou[r, c] >= threshold for r, c in enumerate(p)),
            sum(iou[r, c] for r, c in enumerate(p)),
        ),
    )
    return sum(iou[r, c] >= threshold for r, c in enumerate(best))


def test_matching_equals_an_exhaustive_search():
    rng = np.random.default_rng(4)
    for _ in range(10):
        truth = rng.integers(0, 5, size=(1, 1, 40))
        prediction = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, 4, truth.shape))
        ids_t, ids_p = np.unique(truth[truth > 0]), np.unique(prediction[prediction > 0])
        iou = np.array(
            [
                [np.sum((truth == t) & (prediction == p)) / np.sum((truth == t) | (prediction == p))
                 for p in ids_p]
                for t in ids_t
            ]
        )  # fmt: skip
        if ids_p.size < 2:
            continue
        expected = _official_true_positives(iou, 0.5)
        assert score_instances(truth, prediction)["true_positives"] == expected


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "truth").mkdir()
    (tmp_path / "pred").mkdir()
    organ = 1 * box(SHAPE, (0, 0, 0), (4, 4, 4))
    np.savez(tmp_path / "truth" / "a.npz", gts=organ, spacing=np.ones(3))
    np.savez(tmp_path / "pred" / "a.npz", segs=1 * box(SHAPE, (0, 0, 1), (4, 4, 4)))
    lesions = organ + 2 * box(SHAPE, (8, 8, 8), (3, 3, 3))
    stored = json.dumps({"1": "lesions", "instance_label": 1})
    np.savez(tmp_path / "truth" / "b.npz", gts=lesions, spacing=np.ones(3), text_prompts=stored)
    np.savez(tmp_path / "pred" / "b.npz", segs=organ)
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps({"a.npz": {"1": "liver", "instance_label": 0}}))
    return FolderRequest(tmp_path / "truth", tmp_path / "pred", dataset=prompts)


def test_folder(folders):
    result = score_folder(folders)
    assert result["summary"]["dice"]["mean"] == pytest.approx(0.75, abs=1e-6)
    assert result["summary"]["nsd"]["mean"] == pytest.approx(1.0, abs=1e-6)
    assert result["summary"]["f1"]["mean"] == pytest.approx(2 / 3, abs=1e-6)
    assert result["summary"]["matched_dice"]["mean"] == pytest.approx(1.0, abs=1e-6)
    assert [case["kind"] for case in result["cases"]] == ["classes", "instances"]
    json.dumps(result, allow_nan=False)


def test_missing_file(folders):
    (folders.prediction / "a.npz").unlink()
    with pytest.raises(InputError, match=r"first a\.npz; add them or pass --chill"):
        score_folder(folders)
    from dataclasses import replace

    result = score_folder(replace(folders, chill=True))
    assert result["summary"]["dice"]["mean"] == 0.0
    assert result["cases"][0]["missing"]


def test_wrong_grid(folders):
    np.savez(folders.prediction / "a.npz", segs=np.zeros((12, 12, 11), int))
    with pytest.raises(GeometryError, match=r"segs has shape \(12, 12, 11\), gts \(12, 12, 12\)"):
        score_folder(folders)


def test_pickled_prompts_are_never_loaded(folders, tmp_path):
    class Explosive:
        def __reduce__(self):
            return (open, (str(tmp_path / "loaded"), "w"))

    truth = 1 * box(SHAPE, (0, 0, 0), (4, 4, 4))
    prompts = np.array({"1": Explosive()}, dtype=object)
    np.savez(folders.truth / "a.npz", gts=truth, spacing=np.ones(3), text_prompts=prompts)
    assert score_folder(folders)["cases"][0]["dice"] == pytest.approx(0.75)
    folders.dataset.write_text("{}")
    with pytest.raises(InputError, match="never loaded"):
        score_folder(folders)
    assert not (tmp_path / "loaded").exists()


@pytest.mark.parametrize(
    ("where", "arrays", "message"),
    [
        ("truth", {"spacing": np.ones(3)}, "no array `gts`"),
        ("truth", {"gts": np.zeros(SHAPE, int)}, "no `spacing`"),
        ("prediction", {"gts": np.zeros(SHAPE, int)}, "no array `segs`"),
        ("prediction", {"segs": np.full(SHAPE, 0.4)}, "not whole numbers"),
    ],
)
def test_broken_files(folders, where, arrays, message):
    np.savez(getattr(folders, where) / "a.npz", **arrays)
    with pytest.raises(InputError, match=message):
        score_folder(folders)


def test_a_file_that_is_no_npz(folders):
    (folders.prediction / "a.npz").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read as npz"):
        score_folder(folders)
