"""ReXGroundingCT's rules on hand-computed cases, to 1e-6."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest

from tests.evaluation.phantoms import box
from textseg3d.errors import GeometryError, InputError
from textseg3d.evaluation.protocols import FolderRequest
from textseg3d.evaluation.protocols.rexgroundingct import score_case, score_finding, score_folder

SHAPE = (10, 10, 10)


def _counts(score):
    m = score.match
    return m.true_positives, m.false_positives, m.false_negatives


def test_two_instances_one_found_and_one_invented():
    truth = 1 * box(SHAPE, (0, 0, 0), (3, 3, 3)) + 2 * box(SHAPE, (6, 6, 6), (3, 3, 3))
    prediction = box(SHAPE, (0, 0, 1), (3, 3, 3)) | box(SHAPE, (0, 7, 0), (2, 2, 3))
    score = score_finding(truth, prediction.astype(np.uint8))
    # 18 shared voxels; 54 true, 27 + 12 predicted.
    assert score.dice == pytest.approx(36 / 93, abs=1e-6)
    assert score.hit
    assert _counts(score) == (1, 1, 1)
    assert score.match.pairs[0][3] == pytest.approx(36 / 54, abs=1e-6)


def test_touching_true_instances_under_one_predicted_component():
    """The values of the truth keep touching instances apart; one component matches one of them."""
    truth = np.zeros(SHAPE, np.uint8)
    truth[0:4, 0:4, 0:2], truth[0:4, 0:4, 2:6] = 1, 2
    prediction = np.zeros(SHAPE, np.uint8)
    prediction[0:4, 0:4, 0:6] = 1
    score = score_finding(truth, prediction)
    assert score.dice == pytest.approx(1.0, abs=1e-6)
    assert _counts(score) == (1, 0, 1)
    assert score.match.pairs[0][:2] == (2, 1)  # Dice 128/160 against 64/128
    assert score.match.pairs[0][3] == pytest.approx(0.8, abs=1e-6)
    separate = score_finding(truth, truth)  # a prediction that keeps them apart finds both
    assert _counts(separate) == (2, 0, 0)


def test_empty_truth_and_empty_prediction():
    none, some = np.zeros(SHAPE, np.uint8), box(SHAPE, (0, 0, 0), (3, 3, 3)).astype(np.uint8)
    both = score_finding(none, none)
    assert (both.dice, both.hit, _counts(both)) == (1.0, True, (0, 0, 0))
    invented = score_finding(none, some)
    assert (invented.dice, invented.hit, _counts(invented)) == (0.0, False, (0, 1, 0))
    missed = score_finding(some, none)
    assert (missed.dice, missed.hit, _counts(missed)) == (0.0, False, (0, 0, 1))


def test_small_components_are_no_instances_but_count_in_the_dice():
    truth = box(SHAPE, (0, 0, 0), (2, 2, 3)).astype(np.uint8)  # 12 voxels
    nine = box(SHAPE, (5, 5, 5), (3, 3, 1))
    score = score_finding(truth, (truth.astype(bool) | nine).astype(np.uint8))
    assert score.dice == pytest.approx(24 / 33, abs=1e-6)
    assert _counts(score) == (1, 0, 0)


def test_corner_contact_is_one_predicted_instance():
    truth = 1 * box(SHAPE, (0, 0, 0), (3, 3, 3)) + 2 * box(SHAPE, (3, 3, 3), (3, 3, 3))
    score = score_finding(truth, (truth > 0).astype(np.uint8))
    assert _counts(score) == (1, 0, 1)


@pytest.mark.parametrize(("extra", "hit", "true_positive"), [(36, True, 1), (37, False, 0)])
def test_thresholds_are_inclusive(extra, hit, true_positive):
    """Instance Dice 2*4/(4+36)=0.2 exactly counts; finding Dice 0.1 exactly is a hit."""
    truth = np.zeros((1, 1, 400), np.uint8)
    truth[..., :4] = 1
    prediction = np.zeros((1, 1, 400), np.uint8)
    prediction[..., :extra] = 1
    score = score_finding(truth, prediction)
    assert score.match.true_positives == true_positive
    assert score.dice == pytest.approx(8 / (4 + extra), abs=1e-6)
    wide = np.zeros((1, 1, 400), np.uint8)
    wide[..., : 4 * 19 + (0 if hit else 1)] = 1
    assert score_finding(truth, wide).hit is hit


def _save(path, findings):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.stack(findings).astype(np.uint8), np.eye(4)), path)


@pytest.fixture
def folders(tmp_path):
    a = box(SHAPE, (0, 0, 0), (3, 3, 3))
    far = box(SHAPE, (6, 6, 6), (3, 3, 3))
    none = np.zeros(SHAPE, bool)
    _save(tmp_path / "truth" / "one.nii.gz", [a, 1 * a + 2 * far])
    _save(tmp_path / "pred" / "one.nii.gz", [box(SHAPE, (0, 0, 1), (3, 3, 3)), a])
    _save(tmp_path / "truth" / "two.nii.gz", [far])
    _save(tmp_path / "pred" / "two.nii.gz", [none])
    return tmp_path / "truth", tmp_path / "pred"


def test_folder_means_over_findings(folders, tmp_path):
    listing = tmp_path / "dataset.json"
    listing.write_text(
        json.dumps(
            {
                "val": [
                    {
                        "name": "one.nii.gz",
                        "findings": {"0": "nodule", "1": "two nodules"},
                        "categories": {"0": "2d", "1": "2d"},
                    },
                    {
                        "name": "two.nii.gz",
                        "findings": {"0": "effusion"},
                        "categories": {"0": "2e"},
                    },
                ]
            }
        )
    )
    result = score_folder(FolderRequest(*folders, dataset=listing))
    dices = [36 / 54, 54 / 81, 0.0]
    assert result["summary"]["dice"] == pytest.approx(np.mean(dices), abs=1e-6)
    assert result["summary"]["hit_rate"] == pytest.approx(2 / 3, abs=1e-6)
    # Finding 0: 1 TP; finding 1: 1 TP, 1 FN; case two: 1 FN.
    instances = result["summary"]["instances"]
    assert instances["precision"] == pytest.approx(1.0, abs=1e-6)
    assert instances["recall"] == pytest.approx(0.5, abs=1e-6)
    assert instances["f1"] == pytest.approx(2 / 3, abs=1e-6)
    assert result["per_category"]["2e"]["dice"] == 0.0
    assert result["per_category"]["2d"]["findings"] == 2
    assert result["cases"][0]["findings"][1]["text"] == "two nodules"
    json.dumps(result, allow_nan=False)


def test_missing_file(folders):
    truth, prediction = folders
    (prediction / "one.nii.gz").unlink()
    with pytest.raises(InputError, match="missing"):
        score_folder(FolderRequest(truth, prediction))
    result = score_folder(FolderRequest(truth, prediction, chill=True))
    assert result["summary"]["dice"] == 0.0
    assert result["summary"]["instances"]["false_negatives"] == 4
    assert result["cases"][0]["missing"]


def test_wrong_grid(folders):
    truth, prediction = folders
    _save(prediction / "two.nii.gz", [np.zeros((10, 10, 9), bool)])
    with pytest.raises(GeometryError, match=r"two\.nii\.gz.*one shape \(F, H, W, D\)"):
        score_folder(FolderRequest(truth, prediction))
    with pytest.raises(GeometryError, match="one shape"):
        score_case(np.zeros((1, 2, 2, 2), int), np.zeros((2, 2, 2, 2), int))


def test_listing_must_fit(folders, tmp_path):
    listing = tmp_path / "list.json"
    listing.write_text(json.dumps([{"name": "two.nii.gz", "findings": {"0": "x", "1": "y"}}]))
    with pytest.raises(InputError, match=r"1 findings, its entry in the list 2"):
        score_folder(FolderRequest(*folders, dataset=listing))
    listing.write_text(json.dumps([{"findings": {}}]))
    with pytest.raises(InputError, match="without `name`"):
        score_folder(FolderRequest(*folders, dataset=listing))
    listing.write_text("{}")
    with pytest.raises(InputError, match="lists no case"):
        score_folder(FolderRequest(*folders, dataset=listing))
