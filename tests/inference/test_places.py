"""Which findings lie in a place whose mask leaves them out."""

from __future__ import annotations

import numpy as np
import pytest

from textseg3d.inference.masks import PackedMask
from textseg3d.inference.places import REACH_MM, half_of, in_place, near, reached, solid

SHAPE = (40, 48, 44)
WHOLE = tuple(slice(0, n) for n in SHAPE)
MM = (1.0, 1.0, 1.0)
Z, Y, X = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]


def ball(z, y, x, radius):
    return (Z - z) ** 2 + (Y - y) ** 2 + (X - x) ** 2 <= radius**2


def pack(mask):
    return PackedMask.pack(mask.shape, tuple(slice(0, n) for n in mask.shape), mask)


def kept(finding, place):
    return in_place(finding, WHOLE, pack(place), MM)


LOBE = (X >= 4) & (X < 22) & (Y > 3) & (Y < 44) & (Z > 3) & (Z < 36)
NEXT = (X >= 22) & (X < 40) & (Y > 3) & (Y < 44) & (Z > 3) & (Z < 36)


@pytest.mark.parametrize(
    ("nodule", "leaves_out"),
    [
        (ball(20, 24, 12, 4), False),
        (ball(20, 24, 12, 4), True),
        (ball(20, 24, 12, 7), True),  # its middle is further in than the reach
        (ball(20, 24, 4, 4), True),  # at the pleura
    ],
    ids=["covered", "hole", "large hole", "edge"],
)
def test_a_nodule_of_the_lobe_is_there_alone(nodule, leaves_out):
    lobe = LOBE & ~nodule if leaves_out else LOBE
    assert np.array_equal(kept(nodule, lobe), nodule)
    assert not kept(nodule, NEXT & ~nodule).any()


@pytest.mark.parametrize("radius", [3, 4, 7])
def test_a_nodule_at_the_fissure_is_not_in_the_next_lobe(radius):
    nodule = ball(20, 24, 22 + radius, radius)
    assert not kept(nodule, LOBE).any()
    assert np.array_equal(kept(nodule, NEXT & ~nodule), nodule)


def test_each_instance_has_its_own_place():
    here, there = ball(12, 14, 12, 4), ball(28, 34, 31, 4)
    assert np.array_equal(kept(here | there, LOBE & ~here), here)
    assert np.array_equal(kept(here | there, NEXT & ~there), there)


def test_what_spreads_is_cut():
    """An instance that is half in the place keeps no more than the reach beyond it."""
    wide = (abs(Y - 24) < 4) & (abs(Z - 20) < 4) & (X > 6) & (X < 36)
    found = kept(wide, LOBE)
    assert np.array_equal(found, wide & (X <= 21 + REACH_MM))


def test_the_middle_of_a_large_nodule_is_reached():
    """It is further from the lung than the reach, and open to the outside at one end."""
    nodule = ball(20, 24, 30, 10)
    lung = (LOBE | NEXT) & ~nodule
    found = reached(pack(nodule), pack(lung), MM).array()
    assert np.array_equal(found, nodule)
    assert not near(pack(nodule), pack(lung), MM).array()[20, 24, 30]
    far = ball(20, 24, 8, 16)  # mostly beyond the pleura
    found = reached(pack(far), pack(NEXT), MM).array()
    assert np.array_equal(found, far & (X >= 22 - REACH_MM))


def test_the_box_may_be_a_part_of_the_scan():
    nodule = ball(20, 24, 4, 4)
    box = (slice(16, 25), slice(20, 29), slice(0, 9))
    found = in_place(nodule[box], box, pack(LOBE & ~nodule), MM)
    assert np.array_equal(found, nodule[box])


def test_what_a_stage_looks_into_has_no_specks_and_no_holes():
    from scipy.ndimage import binary_fill_holes

    z, y, x = np.ogrid[:30, :32, :34]
    organ = (z - 13) ** 2 + (y - 15) ** 2 + (x - 16) ** 2 < 121
    organ[10:14, 12:18, 12:20] = False  # enclosed
    organ[12:16, :, 24:26] = False  # open to the outside
    mask = organ.copy()
    mask[27:29, 29:31, 31:33] = True
    whole = tuple(slice(0, n) for n in mask.shape)
    got = solid(PackedMask.pack(mask.shape, whole, mask))
    assert np.array_equal(got.array(), binary_fill_holes(organ, np.ones((3, 3, 3))))
    assert got.array().sum() == organ.sum() + 4 * 6 * 8
    assert not solid(PackedMask.empty(mask.shape)).bits.size
    full = PackedMask.pack(mask.shape, whole, np.ones(mask.shape, bool))
    assert solid(full).array().all()


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.7, 1.1), (7.0, 2.0, 2.0)])
def test_near_is_the_distance_in_millimetres(spacing):
    from scipy.ndimage import distance_transform_edt

    rng = np.random.default_rng(1)
    shape = (21, 34, 28)
    within, mask = np.zeros((2, *shape), bool)
    within[6:9, 12:20, 4:10] = True
    within[tuple(rng.integers(3, n - 3, 4) for n in shape)] = True
    mask[2:18, 1:31, 3:27] = rng.random((16, 30, 24)) < 0.5
    whole = tuple(slice(0, n) for n in shape)
    got = near(
        PackedMask.pack(shape, whole, mask).tight(),
        PackedMask.pack(shape, whole, within).tight(),
        spacing,
    )
    expected = mask & (distance_transform_edt(~within, sampling=spacing) <= REACH_MM)
    assert np.array_equal(got.array(), expected)
    assert not near(got, PackedMask.empty(shape), spacing).bits.size


@pytest.mark.parametrize("x", [(8, 32), (3, 37)])
@pytest.mark.parametrize("side", ["left", "right"])
def test_half_of_a_packed_mask_is_that_of_its_voxels(x, side):
    full = np.zeros((4, 6, 40), bool)
    full[1:, 2:5, slice(*x)] = np.random.default_rng(0).random((3, 3, x[1] - x[0])) > 0.4
    middle = np.array([20.0, 19.5, 12.0, 26.25])  # x = 12 belongs to neither side
    box = (slice(1, 4), slice(2, 5), slice(*x))
    half = half_of(PackedMask.pack(full.shape, box, full[box]), middle, side)
    along = np.arange(40)
    kept = (along > middle[:, None]) if side == "left" else (along < middle[:, None])
    assert half.box == box
    assert np.array_equal(half.array(), full & kept[:, None])
