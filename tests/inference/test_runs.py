"""Runs of voxels against the voxels themselves."""

import numpy as np
import pytest

from textseg3d.inference.runs import Runs


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 5), (2, 1, 9), (4, 30, 31)])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_runs_are_the_mask(shape, share):
    rng = np.random.default_rng(0)
    mask = rng.random(shape) < share
    values = rng.integers(-1000, 1000, shape).astype(np.int16)
    runs = Runs.of(mask)
    back = np.zeros(shape, bool)
    sums = runs.sums(mask, values)
    assert len(sums) == len(runs)
    for z, y, first, last, total in zip(runs.z, runs.y, runs.first, runs.last, sums):
        assert not back[z, y, max(0, first - 1) : last + 1].any()
        back[z, y, first : last + 1] = True
        assert total == values[z, y, first : last + 1].sum()
    assert np.array_equal(back, mask)
    assert runs.length.sum() == mask.sum()
    if mask.any():
        assert runs.sums(mask, values / 3).sum() == pytest.approx(values[mask].sum() / 3)
