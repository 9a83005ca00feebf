"""Measurements against arithmetic and brute force."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from textseg3d.inference import measure
from textseg3d.inference.masks import PackedMask
from textseg3d.inference.measure import axial_diameter_mm, measure_instances, side_warning
from textseg3d.inference.result import PromptResult
from textseg3d.io import volume_from_array


def packed(array):
    return PackedMask.pack(array.shape, tuple(slice(0, n) for n in array.shape), array)


@pytest.mark.parametrize("seed", range(6))
def test_diameter_equals_brute_force(seed):
    rng = np.random.default_rng(seed)
    component = rng.random((4, 25, 31)) > (0.2 if seed % 2 else 0.97)
    dy, dx = 0.7, 1.3
    best = 0.0
    for plane in component:
        points = np.argwhere(plane) * (dy, dx)
        best = max(best, pdist(points).max() if len(points) > 1 else 0.0)
    assert axial_diameter_mm(component, (9.0, dy, dx)) == pytest.approx(best + 1.0)


def test_diameter_of_a_line_of_many_voxels():
    line = np.zeros((1, 200, 3), bool)
    line[0, :, 1] = True
    assert axial_diameter_mm(line, (1, 0.5, 0.5)) == pytest.approx(199 * 0.5 + 0.5)


def test_diameter_of_a_digital_disc():
    y, x = np.mgrid[-60:61, -60:61]
    disc = (np.hypot(y, x) <= 50)[None]
    assert axial_diameter_mm(disc, (1, 0.8, 0.8)) == pytest.approx(80, rel=0.02)


def test_components_touching_at_a_corner_are_one():
    array = np.zeros((4, 4, 4), bool)
    array[0, 0, 0] = array[1, 1, 1] = array[3, 3, 3] = True
    volume = volume_from_array(np.arange(64.0).reshape(4, 4, 4).T, np.diag([2.0, 3, 4, 1]))
    instances, count = measure_instances(packed(array), volume)
    assert count == 2
    assert [i.volume_ml for i in instances] == pytest.approx([0.048, 0.024])
    assert instances[0].centroid_mm_lps == pytest.approx((1.0, 1.5, 2.0))
    assert instances[0].mean_hu == pytest.approx((0 + 21) / 2)
    assert instances[1].mean_hu == pytest.approx(63)


def test_wrong_side_is_said():
    midline = np.full(10, 20.0)  # on a grid of 10 × ? × 40
    mask = np.zeros((20, 30, 80), bool)
    mask[5:9, 10:12, 60:70] = True  # patient's left: beyond the middle of 80 columns
    assert side_warning("left lung", "left", packed(mask), midline, 40) is None
    warning = side_warning("right lung", "right", packed(mask), midline, 40)
    assert "lies left" in warning
    assert side_warning("right lung", "right", packed(mask), None, 40) is None
    assert side_warning("right lung", "right", packed(mask), np.full(10, np.nan), 40) is None
    assert side_warning("left lung", "left", packed(mask[:, :, ::-1]), midline, 40)


def test_instances_are_measured_when_somebody_looks(monkeypatch):
    full = np.zeros((5, 6, 7), bool)
    full[1, 1:3, 1:3] = full[3, 4, 5] = True
    scan = np.arange(full.size, dtype=np.int16).reshape(full.shape)
    volume = volume_from_array(scan[None].transpose(0, 3, 2, 1), np.eye(4))
    box = tuple(slice(0, n) for n in full.shape)
    mask = PackedMask.pack(full.shape, box, full)
    calls, real = [], measure.measure_instances
    monkeypatch.setattr(measure, "measure_instances", lambda *a: calls.append(1) or real(*a))
    found = measure.Instances(mask, volume)
    assert not calls
    expected = tuple(real(mask, volume)[0])
    assert tuple(found) == expected
    assert (len(found), found.total, bool(found)) == (2, 2, True)
    assert found[0] == expected[0]
    assert found[:1] == expected[:1]
    assert found == expected
    assert found == measure.Instances(mask, volume)
    assert found != measure.Instances(PackedMask.empty(full.shape), volume)
    assert len(calls) == 3
    result = PromptResult("x", "ok", 1.0, mask, found, (), ("a",), volume)
    assert result.remarks == ("a",)
    monkeypatch.setattr(measure, "MAX_INSTANCES", 1)
    few = PromptResult("x", "ok", 1.0, mask, measure.Instances(mask, volume), (), (), volume)
    assert "2 components" in few.remarks[0]


@pytest.mark.parametrize("x", [(8, 32), (8, 40), (3, 30)])
def test_centre_by_bytes_is_that_of_the_voxels(x):
    """Whole bytes of rows, and boxes that do not begin or end with one."""
    rng = np.random.default_rng(0)
    full = np.zeros((9, 12, 40), bool)
    full[2:7, 3:10, slice(*x)] = rng.random((5, 7, x[1] - x[0])) > 0.6
    box = slice(2, 7), slice(3, 10), slice(*x)
    mask = PackedMask.pack((9, 12, 40), box, full[box])
    per_z, middle = measure._centre(mask)
    where = np.nonzero(full)
    assert per_z.tolist() == full[2:7].sum(axis=(1, 2)).tolist()
    assert middle == pytest.approx(where[2].mean(), abs=1e-12)
