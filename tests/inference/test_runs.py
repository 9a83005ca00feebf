"""Runs of voxels against the voxels themselves."""

import cc3d
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from textseg3d.inference.runs import Runs


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 5), (2, 1, 9), (4, 30, 31)])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_runs_are_the_mask(shape, share):
    rng = np.random.default_rng(0)
    mask = rng.random(shape) < share
    values = rng.integers(-1000, 1000, shape).astype(np.int16)
    runs = Runs.of(mask)
    back = np.zeros(shape, bool)
    for z, y, first, last in zip(runs.z, runs.y, runs.first, runs.last):
        assert not back[z, y, max(0, first - 1) : last + 1].any()
        back[z, y, first : last + 1] = True
    assert np.array_equal(back, mask)
    assert runs.length.sum() == mask.sum()
    # Independent: cc3d's components, in its order.
    labels, count = cc3d.connected_components(mask, connectivity=26, return_N=True)
    component, number = runs.components()
    assert number == count
    assert np.array_equal(component + 1, labels[runs.z, runs.y, runs.first])
    expected = [values[labels == label + 1].sum() for label in range(count)]
    assert runs.sums(component, count, values[mask]).tolist() == expected
    thirds = runs.sums(component, count, values[mask] / 3)
    assert thirds == pytest.approx(np.array(expected) / 3, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_components_of_winding_shapes(seed):
    """Smooth noise at its percolation: components that wind, meet late and end at every border."""
    rng = np.random.default_rng(seed)
    noise = gaussian_filter(rng.standard_normal((17, 33, 40)), 1 + seed / 2)
    mask = noise > np.quantile(noise, 0.8)
    labels, count = cc3d.connected_components(mask, connectivity=26, return_N=True)
    component, number = Runs.of(mask).components()
    runs = Runs.of(mask)
    assert number == count > 3
    assert np.array_equal(component + 1, labels[runs.z, runs.y, runs.first])


def test_where_the_voxels_are():
    rng = np.random.default_rng(5)
    for share in (0.0, 0.02, 0.5, 1.0):
        mask = rng.random((4, 5, 6)) < share
        assert np.array_equal(Runs.of(mask).voxels(), np.flatnonzero(mask))
