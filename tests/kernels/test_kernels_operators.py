"""One-dimensional operators against torch's interpolation and scipy's splines."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from textseg3d_kernels import dense_operator, identity_operator, linear_operator


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 60))
def test_linear_equals_interpolate_with_half_voxel_centres(size_in, size_out):
    samples = torch.linspace(-1, 2, size_in).sin()
    wanted = torch.nn.functional.interpolate(
        samples.double()[None, None], size=size_out, mode="linear", align_corners=False
    )[0, 0]
    operator = linear_operator(size_in, size_out)
    assert operator.size_out == size_out
    assert (operator.weights >= 0).all()
    assert torch.allclose(operator.matrix() @ samples, wanted.float(), atol=2e-6)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_windows_are_rows_and_columns_of_the_whole(data):
    size_in, size_out = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 30))
    begin = data.draw(st.integers(0, size_out))
    end = data.draw(st.integers(begin, size_out))
    whole = linear_operator(size_in, size_out).matrix()
    used = torch.nonzero(whole[begin:end].any(dim=0)).flatten()
    first, last = (int(used[0]), int(used[-1]) + 1) if used.numel() else (0, size_in)
    part = linear_operator(
        size_in, size_out, input_window=(first, last), output_window=(begin, end)
    )
    assert torch.equal(part.matrix(), whole[begin:end, first:last])
    if last - first > 1 and used.numel():
        with pytest.raises(ValueError, match="needs input outside"):
            linear_operator(
                size_in, size_out, input_window=(first, last - 1), output_window=(begin, end)
            )


def test_scale_places_samples_by_spacing():
    operator = linear_operator(10, 4, scale=1.5)
    positions = operator.matrix() @ torch.arange(10.0)
    assert torch.allclose(positions, (torch.arange(4) + 0.5) * 1.5 - 0.5)


def test_cubic_spline_operator_equals_scipy_zoom():
    samples = np.random.default_rng(0).normal(size=23)
    options = {"zoom": 37 / 23, "order": 3, "mode": "nearest", "grid_mode": True}
    matrix = np.stack([scipy.ndimage.zoom(row, **options) for row in np.eye(23)], axis=1)
    exact = dense_operator(torch.from_numpy(matrix))
    banded = dense_operator(torch.from_numpy(matrix), tolerance=1e-4)
    assert banded.taps < exact.taps <= 23
    wanted = scipy.ndimage.zoom(samples, **options)
    result = exact.matrix().double().numpy() @ samples
    np.testing.assert_allclose(result, wanted, atol=1e-6)
    np.testing.assert_allclose(banded.matrix().double().numpy() @ samples, wanted, atol=3e-3)


def test_identity_and_zero_rows():
    assert identity_operator(3).is_identity
    assert torch.equal(identity_operator(3).matrix(), torch.eye(3))
    assert not linear_operator(3, 4).is_identity
    assert torch.equal(dense_operator(torch.zeros(2, 3)).matrix(), torch.zeros(2, 3))
    assert dense_operator(torch.eye(4)).is_identity


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size_in": 0, "size_out": 3}, "size_in >= 1"),
        ({"size_in": 3, "size_out": 3, "scale": 0.0}, "not positive"),
        ({"size_in": 3, "size_out": 3, "input_window": (2, 2)}, "do not lie"),
    ],
)
def test_impossible_axes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        linear_operator(**arguments)
