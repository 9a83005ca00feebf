"""Voxels near surfaces of packed masks, against a distance transform."""

import edt
import numpy as np
import pytest
from scipy import ndimage

from textseg3d.inference import rims
from textseg3d.inference.masks import PackedMask

SPACING = (1.5, 0.8, 0.3)
WITHIN = 3.0  # up to ten voxels along x: more than a byte


def blobs(shape: tuple[int, int, int]) -> np.ndarray:
    rng = np.random.default_rng(1)
    return ndimage.gaussian_filter(rng.normal(size=shape), 2.5) > 0.03


@pytest.mark.parametrize("width", [64, 61])
@pytest.mark.parametrize("first", [16, 13])
@pytest.mark.parametrize("kind", [np.int16, np.float32])
@pytest.mark.parametrize("reverse", [False, True])
def test_rims_of_any_alignment_are_those_of_a_distance_transform(width, first, kind, reverse):
    shape = (40, 24, width)
    mask, image = blobs(shape), np.random.default_rng(2).integers(-200, 200, shape).astype(kind)
    mask[..., :first] = mask[..., 48:] = False
    assert mask[0].any()  # the scan's edge is no surface
    image = image[::-1] if reverse else image  # as files in another order come
    box = (slice(0, 40), slice(0, 24), slice(first, 48))
    packed = PackedMask.pack(shape, box, mask[box])
    depth = edt.edt(mask, anisotropy=SPACING, black_border=False)
    away = edt.edt(~mask, anisotropy=SPACING, black_border=False)
    left = rims.shaved(packed, SPACING, WITHIN, image, rims.below(image, 50.5))
    np.testing.assert_array_equal(left.array(), mask & ~((depth <= WITHIN + 1e-5) & (image < 50.5)))
    assert left.box == box
    more = rims.grown(packed, SPACING, WITHIN, image, rims.between(image, -0.5, 120))
    near = (away <= WITHIN + 1e-5) & (image > -0.5) & (image < 120)
    np.testing.assert_array_equal(more.array(), mask | near)
    assert left.voxels < packed.voxels < more.voxels


@pytest.mark.parametrize(("value", "expected"), [(4, False), (5, True), (5.5, True)])
def test_half_of_an_even_number_of_voxels(value, expected):
    image = np.array([[[1, 2, 4, 9, 9, 9, 0, 0]]], np.int16)
    mask = PackedMask.pack((1, 1, 8), (slice(0, 1), slice(0, 1), slice(0, 8)), image > 0)
    assert rims.half_is_below(mask, image, value) == expected


@pytest.mark.parametrize("width", [64, 61])
@pytest.mark.parametrize("first", [16, 13])
def test_values_of_a_mask_in_raster_order(width, first):
    shape = (9, 10, width)
    mask, image = blobs(shape), np.random.default_rng(2).normal(size=shape)
    mask[..., :first] = mask[..., 48:] = False
    box = (slice(0, 9), slice(0, 10), slice(first, 48))
    packed = PackedMask.pack(shape, box, mask[box])
    np.testing.assert_array_equal(rims.values_in(packed, image), image[mask])
