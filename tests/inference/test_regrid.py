"""The way back to the scan's grid against interpolating everything."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from textseg3d.inference.regrid import AxisMap, _planes, logits_to_mask, logits_to_probability

SIDES = st.integers(1, 12)


def interpolate(logits, shape):
    """torch's own trilinear interpolation of everything, in float64."""
    x = torch.from_numpy(logits.astype(np.float64))[None, None]
    return torch.nn.functional.interpolate(x, shape, mode="trilinear", align_corners=False)[
        0, 0
    ].numpy()


@settings(deadline=None, max_examples=150)
@given(
    small=st.tuples(SIDES, SIDES, SIDES),
    large=st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40)),
    share=st.sampled_from([0.01, 0.2, 0.5, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_mask_equals_interpolating_everything(small, large, share, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 5, small).astype(np.float32)
    logits[rng.random(small) > share] = -30
    everything = interpolate(logits, large)
    mask = logits_to_mask(logits, large).array()
    differs = mask != (everything > 0)
    assert mask.shape == large
    assert not differs.any() or np.abs(everything[differs]).max() < 1e-4


@settings(deadline=None, max_examples=50)
@given(
    small=st.tuples(SIDES, SIDES, SIDES),
    large=st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 2**31),
)
def test_evaluating_only_surfaces_gives_the_same_bits(small, large, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(-6, 5, small).astype(np.float32)
    maps = [AxisMap.between(n, m) for n, m in zip(small, large)]
    full = np.zeros(large, dtype=np.float32)
    for index, plane in _planes(logits, maps):
        full[index] = plane
    assert np.array_equal(logits_to_mask(logits, large).array(), full > 0)


def test_one_to_one_is_the_threshold_and_a_tie_is_background():
    logits = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    logits[2, 3, 4] = 0
    assert np.array_equal(logits_to_mask(logits, (5, 6, 7)).array(), logits > 0)


def test_nothing_positive_is_an_empty_mask():
    mask = logits_to_mask(np.full((4, 4, 4), -1, np.float32), (9, 8, 7))
    assert mask.voxels == 0
    assert mask.array().shape == (9, 8, 7)


@pytest.mark.parametrize("large", [(8, 9, 10), (3, 20, 4)])
def test_probability_is_the_sigmoid_of_the_interpolation(large):
    logits = np.random.default_rng(0).normal(0, 9, (5, 6, 7)).astype(np.float32)
    expected = 1 / (1 + np.exp(-interpolate(logits, large)))
    assert np.abs(logits_to_probability(logits, large) - expected).max() < 1e-5
