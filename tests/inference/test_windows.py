"""Windows and weights against the rule itself, and against a slow float64 sum."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from textseg3d.inference.accumulate import OUTSIDE_LOGIT, SharesAccumulator
from textseg3d.inference.windows import (
    BLOCK,
    aligned_starts,
    even_starts,
    gaussian,
    shares,
    tile,
    tile_body,
)

CPU = torch.device("cpu")


@given(
    n=st.integers(1, 400),
    size=st.sampled_from([32, 64, 128]),
    step=st.sampled_from([0.3, 0.5, 0.75, 1.0]),
    data=st.data(),
)
def test_starts_cover_the_range_evenly_with_as_few_windows_as_the_step_allows(n, size, step, data):
    first = data.draw(st.integers(0, n - 1))
    last = data.draw(st.integers(first, n - 1))
    starts = even_starts(first, last, size, step, n)
    covered = np.zeros(n + 2 * size, bool)
    for start in starts:
        covered[start + size : start + 2 * size] = True
    assert covered[size + first : size + last + 1].all()
    gaps = np.diff(starts)
    assert all(gap <= np.floor(size * step) for gap in gaps)
    assert gaps.size == 0 or gaps.max() - gaps.min() <= 1
    if n >= size:
        assert starts[0] >= 0
        assert starts[-1] + size <= n
    extent = last - first + 1
    if n > size and extent > size:  # one window fewer would break the step
        assert (extent - size) > (len(starts) - 2) * np.floor(size * step)
    else:
        assert len(starts) == 1


@given(
    n=st.integers(1, 400),
    size=st.sampled_from([32, 64, 128]),
    step=st.sampled_from([0.5, 0.75, 1.0]),
    data=st.data(),
)
def test_aligned_starts_are_whole_blocks_apart(n, size, step, data):
    first = data.draw(st.integers(0, n - 1))
    last = data.draw(st.integers(first, n - 1))
    starts = aligned_starts(first, last, size, step, n)
    assert len(starts) == len(even_starts(first, last, size, step, n))
    gaps = np.diff(starts)
    assert not np.any(gaps % BLOCK)
    assert all(0 < gap < size * step + BLOCK for gap in gaps)
    assert starts[0] <= first
    assert starts[-1] + size > last
    reach = starts[-1] + size - starts[0]
    if len(starts) > 1:
        assert reach - (last - first + 1) < BLOCK
        if reach <= n:
            assert starts[0] >= 0
            assert starts[-1] + size <= n
        else:
            assert abs(-starts[0] - (starts[-1] + size - n)) <= 1


@given(
    shape=st.tuples(*[st.integers(20, 300)] * 3), step=st.sampled_from([0.5, 0.75]), data=st.data()
)
def test_windows_are_longer_only_where_that_is_less_work(shape, step, data):
    first = np.array([data.draw(st.integers(0, n // 3)) for n in shape])
    last = np.array([data.draw(st.integers(n // 2, n - 1)) for n in shape])
    box = np.stack([first, last], axis=1)
    size = (64, 128, 128)
    grid, plain = (f(shape, size, step, box, False) for f in (tile_body, tile))
    assert len(grid) in (1, len(plain))
    if grid.size != size:
        assert len(grid) == 1
        assert np.prod(grid.size) < len(plain) * np.prod(size)
    assert grid.total == plain.total
    assert grid.aligned
    assert np.prod(grid.size) <= 1.6 * np.prod(size)
    assert grid.size[0] == 64  # a quarter more is no multiple of 32
    for part, (low, high) in zip(grid.region, box):
        assert part.start <= low
        assert part.stop > high


def test_a_torso_takes_one_window():
    box = np.array([[-4.0, 153.0], [16.0, 119.0], [-4.0, 140.0]])
    grid = tile_body((150, 137, 137), (128, 128, 128), 0.75, box, False)
    assert (len(grid), grid.size) == (1, (160, 128, 160))
    assert len(tile((150, 137, 137), (128, 128, 128), 0.75, box, False)) == 4
    exact = tile_body((150, 137, 137), (128, 128, 128), 0.75, box, True)
    assert exact.size == (128, 128, 128)


def test_a_small_volume_is_padded_on_both_sides():
    grid = tile_body((20, 1, 33), (32, 32, 32), 0.5, np.array([[0, 19], [0, 0], [0, 32]]), False)
    assert grid.starts[0] == (-6,)
    assert grid.starts[1] == (-16,)
    assert grid.starts[2] == (-4, 4)
    assert grid.region == (slice(0, 20), slice(0, 1), slice(0, 33))
    volume, window = grid.clip((-6, -16, 4))
    assert volume == (slice(0, 20), slice(0, 1), slice(4, 33))
    assert window == (slice(6, 26), slice(16, 17), slice(0, 29))


def test_window_counts_of_a_known_case():
    # 250×250×330 with 128³ windows: 45 at step 0.5 (nnU-Net's count), 27 at 0.8.
    everything = np.array([[0, 249], [0, 249], [0, 329]])
    exact = tile_body((250, 250, 330), (128, 128, 128), 0.8, everything, True)
    assert len(exact) == exact.total == 45
    coarse = tile_body((250, 250, 330), (128, 128, 128), 0.8, everything, False)
    assert (len(coarse), coarse.total) == (27, 45)


def test_only_the_body_is_tiled():
    box = np.array([[10.0, 60.0], [-3.0, 70.0], [5.0, 30.0]])
    grid = tile_body((100, 64, 90), (32, 32, 32), 0.75, box, False)
    assert grid.region == (slice(8, 64), slice(0, 64), slice(2, 34))
    assert grid.starts == ((8, 32), (0, 16, 32), (2,))
    assert grid.aligned
    assert not tile_body((100, 64, 90), (32, 32, 32), 0.75, box, True).aligned
    assert grid.total == 6 * 3 * 5


@pytest.mark.parametrize("starts", [(0,), (0, 16), (3, 21, 40), (0, 24, 48, 72)])
def test_shares_sum_to_one(starts):
    weights = shares(starts, 32)
    total = np.zeros(starts[-1] + 32)
    for start, row in zip(starts, weights):
        total[start : start + 32] += row
    assert np.allclose(total[starts[0] :], 1, atol=1e-6)


def slow_reference(grid, logits):
    """nnU-Net's way, in float64: weighted sum and weight map with the 3-D Gaussian, divided."""
    z, y, x = (gaussian(n) for n in grid.size)
    weight = z[:, None, None] * y[:, None] * x
    total, count = np.zeros(grid.shape), np.zeros(grid.shape)
    for start in grid:
        volume, window = grid.clip(start)
        total[volume] += (logits[start].astype(np.float64) * weight)[window]
        count[volume] += weight[window]
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, total / count, OUTSIDE_LOGIT)


@pytest.mark.parametrize("shape", [(50, 40, 77), (20, 64, 1), (32, 32, 32)])
def test_accumulator_equals_a_slow_reference(shape):
    rng = np.random.default_rng(1)
    box = np.array([[0, n - 1] for n in shape], float)
    box[0] = 5, min(shape[0] - 1, 44)
    grid = tile_body(shape, (32, 32, 32), 0.6, box, False)
    logits = {s: rng.normal(0, 20, grid.size).astype(np.float32) for s in grid}
    accumulator = SharesAccumulator(grid, CPU, 2)
    for start, values in logits.items():
        accumulator.add(0, start, torch.from_numpy(values))
        accumulator.add(1, start, torch.from_numpy(-values))
    expected = slow_reference(grid, logits)
    result = accumulator.take(0).numpy()
    assert result.dtype == np.float32
    assert np.abs(result - expected).max() < 1e-4
    inside = expected != OUTSIDE_LOGIT
    assert np.array_equal(accumulator.take(1).numpy()[inside], -result[inside])


def test_a_constant_network_gives_that_constant():
    grid = tile_body((90, 45, 60), (32, 32, 32), 0.5, np.zeros((3, 2)), True)
    accumulator = SharesAccumulator(grid, CPU, 1)
    for start in grid:
        accumulator.add(0, start, torch.full(grid.size, 7.25, dtype=torch.bfloat16))
    assert np.allclose(accumulator.take(0).numpy(), 7.25, rtol=1e-6)
