"""K4 in the interpreter: against mean, variance and LeakyReLU in float64."""

import mmap

import pytest
import torch
from textseg3d_kernels import instance_norm, use_backend
from textseg3d_kernels.triton.instance_norm import chunking

SHAPES = [(1, 1, 1, 1, 1), (2, 3, 1, 1, 1), (1, 32, 4, 5, 6), (2, 7, 3, 5, 11), (1, 65, 2, 3, 3)]
SHAPES += [(1, 5, 17, 13, 11), (3, 16, 1, 7, 1), (0, 4, 2, 2, 2), (2, 4, 0, 2, 2)]
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def expected(x, weight, bias, residual=None, slope=0.01, epsilon=1e-5):
    x = x.double()
    mean = x.mean(dim=(2, 3, 4), keepdim=True)
    variance = ((x - mean) ** 2).mean(dim=(2, 3, 4), keepdim=True)
    result = (x - mean) / torch.sqrt(variance + epsilon)
    if weight is not None:
        result = result * weight.double()[:, None, None, None]
    if bias is not None:
        result = result + bias.double()[:, None, None, None]
    if residual is not None:
        result = result + residual.double()
    return torch.where(result >= 0, result, result * slope)


def make(shape, generator, dtype=torch.float32):
    x = 3 * torch.randn(shape, generator=generator) + 5
    x = x.to(dtype).contiguous(memory_format=torch.channels_last_3d)
    weight = torch.randn(shape[1], generator=generator)
    return x, weight, torch.randn(shape[1], generator=generator)


@pytest.mark.parametrize("shape", SHAPES)
def test_odd_shapes(shape, generator):
    x, weight, bias = make(shape, generator)
    result = instance_norm(x, weight, bias)
    assert result.shape == x.shape
    if x.numel():
        assert result.is_contiguous(memory_format=torch.channels_last_3d)
        torch.testing.assert_close(result.double(), expected(x, weight, bias), rtol=0, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("with_residual", [False, True])
def test_dtypes_and_residual(dtype, with_residual, generator):
    x, weight, bias = make((2, 6, 3, 4, 5), generator, dtype)
    residual = torch.randn_like(x) if with_residual else None
    wanted = expected(x, weight, bias, residual, slope=0.2)
    result = instance_norm(x, weight, bias, residual=residual, negative_slope=0.2)
    assert result.dtype == dtype
    bound = TOLERANCE[dtype] * float(wanted.abs().max())
    torch.testing.assert_close(result.double(), wanted, rtol=0, atol=bound)


def test_no_affine_no_activation(generator):
    x, _, _ = make((1, 4, 3, 3, 3), generator)
    result = instance_norm(x, negative_slope=1.0, epsilon=1e-3)
    wanted = expected(x, None, None, slope=1.0, epsilon=1e-3)
    torch.testing.assert_close(result.double(), wanted, rtol=0, atol=1e-5)


def test_several_chunks_and_a_large_mean(monkeypatch, generator):
    """Statistics of 1000 ± 0.1: a sum of squares in float32 would lose the variance."""
    from textseg3d_kernels.triton import instance_norm as kernels

    monkeypatch.setattr(kernels, "TILE", 64)
    x = 1000 + 0.1 * torch.randn(2, 4, 6, 7, 8, generator=generator)
    x = x.contiguous(memory_format=torch.channels_last_3d)
    assert chunking(6 * 7 * 8, 4)[2] == 21
    result = instance_norm(x, negative_slope=1.0)
    wanted = expected(x, None, None, slope=1.0)
    torch.testing.assert_close(result.double(), wanted, rtol=0, atol=3e-3)
    assert torch.equal(result, instance_norm(x, negative_slope=1.0))
    alone = instance_norm(x[1:], negative_slope=1.0)
    assert torch.equal(result[1:], alone)


def test_strided_inputs_concatenation_buffer_and_in_place(generator):
    x, weight, bias = make((2, 5, 3, 4, 6), generator)
    wanted = expected(x, weight, bias)
    contiguous = x.contiguous()
    torch.testing.assert_close(
        instance_norm(contiguous, weight, bias).double(), wanted, rtol=0, atol=2e-5
    )
    buffer = torch.zeros(2, 12, 3, 4, 6).contiguous(memory_format=torch.channels_last_3d)
    returned = instance_norm(x, weight, bias, out=buffer[:, 4:9])
    torch.testing.assert_close(returned.double(), wanted, rtol=0, atol=2e-5)
    assert not buffer[:, :4].any()
    assert not buffer[:, 9:].any()
    torch.testing.assert_close(buffer[:, 4:9].double(), wanted, rtol=0, atol=2e-5)
    wide = torch.randn(2, 9, 3, 4, 6, generator=generator)
    wide = wide.contiguous(memory_format=torch.channels_last_3d)
    part = wide[:, 2:7]
    torch.testing.assert_close(
        instance_norm(part).double(), expected(part, None, None), rtol=0, atol=2e-5
    )
    instance_norm(x, weight, bias, out=x)
    torch.testing.assert_close(x.double(), wanted, rtol=0, atol=2e-5)
    with pytest.raises(ValueError, match="channels-last"):
        instance_norm(x, out=torch.zeros(2, 5, 3, 4, 6))


def test_reference_agrees(generator):
    x, weight, bias = make((2, 33, 3, 5, 4), generator)
    kernel = instance_norm(x, weight, bias, residual=x)
    with use_backend("reference"):
        reference = instance_norm(x, weight, bias, residual=x)
    torch.testing.assert_close(kernel, reference, rtol=0, atol=2e-5)


def test_addresses_beyond_two_to_the_31(generator):
    """The second sample lies more than 2**31 elements after the first."""
    far = 2**31 + 64
    memory = mmap.mmap(-1, 2 * (far + 64), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    store = torch.frombuffer(memory, dtype=torch.float16)
    x = store.as_strided((2, 3, 2, 2, 2), (far, 1, 12, 6, 3))
    values = torch.randn(2, 3, 2, 2, 2, generator=generator).half()
    x.copy_(values)
    result = instance_norm(x)
    wanted = expected(values, None, None)
    torch.testing.assert_close(result.double(), wanted, rtol=0, atol=4e-3)
