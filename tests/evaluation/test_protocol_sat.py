"""SAT's rules on hand-computed cases, to 1e-6."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.evaluation.phantoms import box, save_zyx
from textseg3d.errors import InputError
from textseg3d.evaluation.protocols import FolderRequest
from textseg3d.evaluation.protocols.sat import score_folder, score_mask

SHAPE = (8, 8, 8)


def test_one_millimetre_is_the_tolerance():
    truth, prediction = box(SHAPE, (1, 1, 1), (4, 4, 4)), box(SHAPE, (1, 1, 2), (4, 4, 4))
    near = score_mask(truth, prediction, (1.0, 1.0, 1.0))
    assert near == (pytest.approx(0.75, abs=1e-6), pytest.approx(1.0, abs=1e-6))
    far = score_mask(truth, prediction, (1.0, 1.0, 1.5))
    assert 0.2 < far[1] < 0.9


def test_empty_masks():
    none, some = np.zeros(SHAPE, bool), box(SHAPE, (1, 1, 1), (2, 2, 2))
    assert score_mask(none, none, (1, 1, 1)) == (1.0, 1.0)
    assert score_mask(none, some, (1, 1, 1)) == (0.0, 0.0)
    assert score_mask(some, none, (1, 1, 1)) == (0.0, 0.0)


def test_folder_means_over_labels_not_voxels(tmp_path):
    organ, small = box(SHAPE, (0, 0, 0), (4, 4, 4)), box(SHAPE, (6, 6, 6), (1, 1, 1))
    save_zyx(tmp_path / "truth" / "a.nii.gz", 1 * organ + 2 * small)
    save_zyx(tmp_path / "truth" / "b.nii.gz", 1 * organ)
    save_zyx(tmp_path / "pred" / "a.nii.gz", 1 * organ)
    dataset = tmp_path / "dataset.json"
    dataset.write_text(json.dumps({"labels": {"background": 0, "liver": 1, "cyst": 2}}))
    request = FolderRequest(tmp_path / "truth", tmp_path / "pred", dataset)
    with pytest.raises(InputError, match=r"b\.nii\.gz"):
        score_folder(request)
    result = score_folder(FolderRequest(tmp_path / "truth", tmp_path / "pred", dataset, chill=True))
    # liver: 1 and 0 (missing); cyst: 0 (missed) and 1 (absent, and not predicted).
    assert result["per_label"]["liver"]["dice"]["mean"] == pytest.approx(0.5, abs=1e-6)
    assert result["per_label"]["cyst"]["dice"]["mean"] == pytest.approx(0.5, abs=1e-6)
    assert result["summary"] == {"dice": pytest.approx(0.5), "nsd": pytest.approx(0.5)}
    json.dumps(result, allow_nan=True)
