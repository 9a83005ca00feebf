"""The separable spline operators against nnU-Net's own resampling."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from textseg3d.errors import PlansError, UsageError
from textseg3d.preprocessing.cubic import (
    new_shape,
    resample_image,
    resample_label_map,
    resample_to_shape,
    separate_axis,
    spline_operator,
)

ISO = (1.0, 1.0, 1.0)
# shape, new shape, spacing, new spacing
GRIDS = {
    "finer": ((9, 12, 10), (17, 20, 19), ISO, (0.5, 0.6, 0.5)),
    "coarser": ((20, 24, 18), (7, 10, 9), ISO, (2.8, 2.4, 2.0)),
    "mixed": ((11, 16, 8), (22, 9, 8), (2.0, 1.0, 1.5), (1.0, 1.8, 1.5)),
    "separate by the scan": ((6, 20, 22), (15, 13, 31), (5.0, 1.0, 1.0), (2.0, 1.5, 0.7)),
    "separate by the target": ((20, 15, 15), (6, 21, 12), ISO, (3.4, 0.7, 1.2)),
    "separate last axis": ((14, 12, 5), (9, 12, 11), (1.0, 1.0, 4.0), (1.5, 1.0, 1.8)),
    "separate middle axis": ((14, 5, 12), (9, 5, 11), (1.0, 4.0, 1.0), (1.5, 4.0, 1.1)),
    "separate, plane kept": ((5, 12, 12), (9, 12, 12), (4.0, 1.0, 1.0), (2.2, 1.0, 1.0)),
    "two coarse axes": ((9, 6, 6), (14, 9, 9), (0.2, 1.0, 1.0), (0.13, 0.7, 0.7)),
    "one voxel": ((1, 8, 8), (3, 5, 11), ISO, (0.3, 1.6, 0.7)),
}


def nnunet():
    module = pytest.importorskip("nnunetv2.preprocessing.resampling.default_resampling")
    return module.resample_data_or_seg_to_shape


def scan(shape, channels=2):
    rng = np.random.default_rng(3)
    return rng.normal(0, 900, (channels, *shape)).astype(np.float32)


def label_map(shape, seed=4):
    noise = np.random.default_rng(seed).normal(size=(5, *shape))
    smooth = np.stack([gaussian_filter(n, 1.2) for n in noise])
    return (smooth.argmax(axis=0) - 1).astype(np.int16)  # −1 to 3


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("order", [0, 1, 3])
def test_scans_equal_nnunet(name, order):
    shape, new, spacing, new_spacing = GRIDS[name]
    data = scan(shape)
    truth = nnunet()(data, new, spacing, new_spacing, order=order, order_z=0, force_separate_z=None)
    ours = resample_to_shape(data, new, spacing, new_spacing, order=order).numpy()
    assert ours.shape == truth.shape
    assert np.abs(ours - truth).max() <= 1e-5 * np.ptp(data)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("order", [0, 1])
def test_labels_equal_nnunet(name, order):
    shape, new, spacing, new_spacing = GRIDS[name]
    labels = label_map(shape)
    truth = nnunet()(
        labels[None], new, spacing, new_spacing,
        is_seg=True, order=order, order_z=0, force_separate_z=None,
    )  # fmt: skip
    ours = resample_to_shape(labels[None], new, spacing, new_spacing, is_seg=True, order=order)
    assert ours.dtype == labels.dtype
    # Where sums that carry rounding errors tie, nnU-Net's choice is a matter of the last bit.
    for label, other in {*zip(ours[ours != truth], truth[ours != truth], strict=True)}:
        at = (ours == label) & (truth == other)
        pair = [
            nnunet()(
                (labels == value).astype(np.float32)[None], new, spacing, new_spacing,
                order=order, order_z=0, force_separate_z=None,
            )[at]
            for value in (label, other)
        ]  # fmt: skip
        assert np.abs(pair[0] - pair[1]).max() < 1e-6
    assert (ours != truth).mean() <= 0.02


def test_linear_order_along_a_separate_axis():
    data = scan((5, 9, 9))
    spacing, finer = (6.0, 1.0, 1.0), (2.5, 1.2, 1.2)
    truth = nnunet()(data, (12, 8, 8), spacing, finer, order=3, order_z=1, force_separate_z=None)
    ours = resample_to_shape(data, (12, 8, 8), spacing, finer, order=3, order_z=1).numpy()
    assert np.abs(ours - truth).max() <= 1e-5 * np.ptp(data)


@pytest.mark.parametrize(
    ("spacing", "new", "force", "axis"),
    [
        (ISO, ISO, None, None),
        ((3.0, 1.0, 1.0), ISO, None, None),  # the threshold itself is still isotropic
        ((3.1, 1.0, 1.0), ISO, None, 0),
        (ISO, (1.0, 1.0, 3.5), None, 2),
        ((5.0, 5.0, 1.0), ISO, None, None),
        ((5.0, 1.0, 1.0), ISO, False, None),
        ((1.0, 2.0, 1.0), ISO, True, 1),
        (ISO, ISO, True, None),
    ],
)
def test_which_axis_is_separate(spacing, new, force, axis):
    assert separate_axis(spacing, new, force) == axis
    module = pytest.importorskip("nnunetv2.preprocessing.resampling.default_resampling")
    separate, theirs = module.determine_do_sep_z_and_axis(force, spacing, new)
    assert (theirs if separate else None) == axis


def test_a_parabola_is_kept_inside():
    """A cubic spline reproduces polynomials away from the edges."""
    x = np.arange(60.0)
    at = (np.arange(90) + 0.5) * 60 / 90 - 0.5
    inside = (at > 15) & (at < 44)
    result = spline_operator(60, 90) @ (0.1 * x**2 - 3 * x)
    assert np.abs(result - (0.1 * at**2 - 3 * at))[inside].max() < 1e-6


@pytest.mark.parametrize(("n", "m"), [(7, 7), (7, 20), (20, 7), (1, 5), (5, 1)])
@pytest.mark.parametrize("order", [0, 1, 3])
def test_constants_stay(n, m, order):
    operator = spline_operator(n, m, order)
    assert operator.shape == (m, n)
    assert np.allclose(operator.sum(axis=1), 1.0)


def test_result_stays_in_range_and_dtypes():
    mask = np.zeros((1, 10, 10, 10), np.int16)
    mask[:, 3:7, 3:7, 3:7] = 1000
    result = resample_image(mask, (23, 23, 23))
    assert 0.0 <= float(result.min()) <= float(result.max()) <= 1000.0
    same = resample_image(mask, (10, 10, 10)).numpy()
    assert np.array_equal(same, mask)


def test_tie_goes_to_the_nearest_neighbour():
    labels = np.array([5, 5, 2, 2], np.uint8).reshape(1, 1, 4)
    # Output centres 0.5 and 2.5 … of 4 → 2: both lie between two voxels of one label.
    assert resample_label_map(labels, (1, 1, 2)).ravel().tolist() == [5, 2]
    # 4 → 1: centre 1.5 lies between a 5 and a 2, both score 0.5.
    assert int(resample_label_map(labels, (1, 1, 1))[0, 0, 0]) in (5, 2)


def test_new_shape_rounds_as_nnunet():
    module = pytest.importorskip("nnunetv2.preprocessing.resampling.default_resampling")
    rng = np.random.default_rng(0)
    for _ in range(50):
        shape, old, new = rng.integers(1, 300, 3), rng.uniform(0.3, 5, 3), rng.uniform(0.3, 5, 3)
        assert new_shape(shape, old, new) == tuple(module.compute_new_shape(shape, old, new))


def test_what_cannot_be_meant():
    with pytest.raises(UsageError, match="order 7"):
        spline_operator(4, 5, 7)
    with pytest.raises(PlansError, match="order_z of labels is 1"):
        resample_label_map(np.zeros((2, 4, 4), int), (4, 4, 4), axis=0, order_z=1)
