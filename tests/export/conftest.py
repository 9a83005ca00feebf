"""Predictions made by hand: known masks on a known scan, no model needed."""

import nibabel as nib
import numpy as np
import pytest

from textseg3d.inference.masks import PackedMask
from textseg3d.inference.measure import measure_instances
from textseg3d.inference.result import Prediction, PromptResult
from textseg3d.io import read_volume

SPACING = (4.0, 1.5, 1.5)  # z, y, x


@pytest.fixture
def scan(tmp_path):
    """A NIfTI in RAS order (its x runs against ours), 30 × 40 × 50 voxels (x, y, z)."""
    rng = np.random.default_rng(0)
    array = rng.integers(-1000, 200, (30, 40, 50), dtype=np.int16)
    affine = np.diag([1.5, 1.5, 4.0, 1.0])
    affine[:3, 3] = -20, 10, 500
    path = tmp_path / "in" / "ct.nii.gz"
    path.parent.mkdir()
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


@pytest.fixture
def predict_by_hand(scan):
    """A function (masks: text → bool [D, H, W] or status) that makes a Prediction."""
    volume = read_volume(scan)

    def make(masks, volume=volume):
        results = {}
        for text, mask in masks.items():
            if isinstance(mask, str):
                results[text] = PromptResult(text, mask, None, None, (), (), ("why",), volume)
                continue
            packed = PackedMask.pack(mask.shape, tuple(slice(0, n) for n in mask.shape), mask)
            instances, _ = measure_instances(packed, volume)
            status = "ok" if instances else "empty"
            low = np.where(mask, 3, -3).astype(np.float32)
            results[text] = PromptResult(
                text, status, 0.75, packed, tuple(instances), (), (), volume, (low,)
            )
        return Prediction(results, volume, "hand", "0" * 64, 1, 2, False, {"read": 0.5})

    make.volume = volume
    return make


@pytest.fixture
def masks():
    """Canonical [50, 40, 30]: a box on the patient's left, one on the right, and their overlap."""
    left, right = np.zeros((50, 40, 30), bool), np.zeros((50, 40, 30), bool)
    left[10:20, 5:15, 18:28] = True
    right[15:40, 20:30, 2:8] = True
    wide = np.zeros_like(left)
    wide[12:14, 5:15, 10:28] = True
    return {"left box": left, "right box": right, "wide": wide}
