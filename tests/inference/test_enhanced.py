"""Bright rims of enhanced structures, against a distance transform and values by hand."""

import edt
import numpy as np
import pytest
from scipy import ndimage

from textseg3d.inference.enhanced import EnhancedRim, with_enhanced_rim
from textseg3d.inference.masks import PackedMask
from textseg3d.inference.postprocess import FILE_NAME, Postprocessing

RIM = EnhancedRim(("aorta",), within_mm=2.0, beside_hu=50.0, enhanced_hu=100.0, above_hu=100.0)


def packed(mask: np.ndarray) -> PackedMask:
    box = tuple(slice(0, n) for n in mask.shape)
    return PackedMask.pack(mask.shape, (box[0], box[1], box[2]), mask).tight()


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.5, 0.7, 0.9), (3.0, 1.0, 2.0)])
def test_what_is_added_is_what_a_distance_transform_finds(spacing):
    rng = np.random.default_rng(0)
    blobs = ndimage.gaussian_filter(rng.normal(size=(14, 30, 32)), 2.5) > 0.05
    assert blobs[0].any()  # cut by the scan's edge
    image = rng.integers(-100, 500, blobs.shape).astype(np.int16)
    image[blobs] = 200
    found = with_enhanced_rim(packed(blobs), spacing, image, RIM).array()
    near = edt.edt(~blobs, anisotropy=spacing) <= 2.0 + 1e-5
    expected = blobs | (near & (image > 125) & (image < 300))  # half-way from 200 to 50; 200 + 100
    np.testing.assert_array_equal(found, expected)
    assert blobs.sum() < found.sum() < near.sum()


def test_a_blurred_border_is_put_half_way_up_the_edge():
    along = np.interp(np.arange(24), [10, 14], [250, 50]).astype(np.int16)  # half-way: voxel 12
    image = np.broadcast_to(along, (8, 8, 24)).copy()
    mask = np.zeros(image.shape, bool)
    mask[..., :10] = True
    row = with_enhanced_rim(packed(mask), (1.0, 1.0, 1.0), image, RIM).array()[4, 4]
    assert row.tolist() == [True] * 12 + [False] * 12  # 250 and 200 join; 150 is the border itself


def test_structures_without_contrast_medium_and_bone_beside_them_stay_as_they_are():
    mask = np.zeros((8, 8, 16), bool)
    mask[..., :8] = True
    plain = np.full(mask.shape, 80, np.int16)
    assert with_enhanced_rim(packed(mask), (1.0, 1.0, 1.0), plain, RIM).voxels == mask.sum()
    beside_bone = np.where(mask, 200, 700).astype(np.int16)
    assert with_enhanced_rim(packed(mask), (1.0, 1.0, 1.0), beside_bone, RIM).voxels == mask.sum()
    coarse = with_enhanced_rim(packed(mask), (3.0, 3.0, 3.0), np.full(mask.shape, 200), RIM)
    assert coarse.voxels == mask.sum()


def test_the_rule_is_for_its_concepts_and_is_read_back(tmp_path):
    rules = Postprocessing(decided_on="by hand", enhanced_rims=(RIM,))
    rules.save(tmp_path / FILE_NAME)
    read = Postprocessing.load(tmp_path / FILE_NAME)
    assert read == rules
    assert [read.changes(name) for name in ("aorta", "liver")] == [True, False]
    mask = np.zeros((8, 8, 16), bool)
    mask[..., :8] = True
    image = np.full(mask.shape, 200, np.int16)
    voxels = {
        n: read.clean_packed(n, packed(mask), (1.0, 1.0, 1.0), image).voxels
        for n in ("aorta", "liver")
    }
    assert voxels == {"aorta": 8 * 8 * 10, "liver": 8 * 8 * 8}
