"""Resampling against torch, and properties that need no reference."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from textseg3d.preprocessing import resample, resample_labels, resize_operator, target_shape
from textseg3d.preprocessing.banded import along_axis


@given(st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_rows_are_weights(n_in, n_out):
    operator = resize_operator(n_in, n_out)
    assert operator.shape == (n_out, n_in)
    assert (operator >= 0).all()
    np.testing.assert_allclose(operator.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_banded_product_is_the_whole_product(axis):
    rng = np.random.default_rng(axis)
    block = rng.normal(size=(70, 70, 70)).astype(np.float32)
    diagonal = np.arange(100)[:, None] * 0.7 - np.arange(70)
    operator = np.where(np.abs(diagonal) < 9, rng.normal(size=(100, 70)), 0)
    operator[40:80] = 0  # rows without any weight
    expected = np.moveaxis(np.tensordot(operator, block, axes=(1, axis)), 0, axis)
    found = along_axis(torch.from_numpy(block), operator, axis)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(33, 47, 60), (20, 30, 30), (21, 31, 61)])
def test_enlarging_equals_trilinear_interpolation(shape):
    x = torch.randn(2, 20, 30, 30)
    expected = torch.nn.functional.interpolate(x[None], size=shape, mode="trilinear")[0]
    torch.testing.assert_close(resample(x, shape), expected, atol=1e-5, rtol=1e-5)


def test_shrinking_equals_antialiased_interpolation():
    x = torch.randn(6, 1, 40, 50)
    expected = torch.nn.functional.interpolate(x, size=(17, 23), mode="bilinear", antialias=True)
    result = resample(x.transpose(0, 1), (6, 17, 23))
    torch.testing.assert_close(result[0], expected[:, 0], atol=1e-5, rtol=1e-5)


def test_int16_is_not_changed_by_slabs(monkeypatch):
    volume = np.random.default_rng(0).integers(-1000, 1000, (1, 37, 20, 24)).astype(np.int16)
    whole = resample(volume, (19, 10, 12))
    exact = np.einsum(
        "az,by,cx,zyx->abc",
        *(resize_operator(n, m).astype(np.float64) for n, m in ((37, 19), (20, 10), (24, 12))),
        volume[0].astype(np.float64),
    )
    np.testing.assert_allclose(whole[0].numpy(), exact, atol=1e-2)


def test_a_linear_ramp_stays_linear_inside():
    """World positions are kept: a ramp in mm has the same value at the same place."""
    ramp = torch.arange(60.0)[None, None, None].expand(1, 4, 4, 60)
    half = resample(ramp, (4, 4, 30))[0, 0, 0]
    torch.testing.assert_close(half[3:-3], (2 * torch.arange(30.0) + 0.5)[3:-3])


def test_target_shape_keeps_the_extent():
    assert target_shape((300, 512, 512), (1.5, 0.75, 0.75), (3.0, 3.0, 3.0)) == (150, 128, 128)
    assert target_shape((1, 5, 5), (1.0, 1.0, 1.0), (3.0, 3.0, 3.0)) == (1, 2, 2)


def test_labels_keep_their_values_and_places():
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[:4], labels[4:, :, :4] = 7, 3
    small = resample_labels(labels, (4, 4, 4))
    assert (small[:2] == 7).all()
    assert (small[2:, :, :2] == 3).all()
    assert (small[2:, :, 2:] == 0).all()
