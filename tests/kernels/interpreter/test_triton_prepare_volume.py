"""K3 in the interpreter: against dense matrices in float64."""

import mmap

import pytest
import torch
from textseg3d_kernels import (
    dense_operator,
    identity_operator,
    linear_operator,
    prepare_volume,
    use_backend,
)

SHAPES = [  # channels, input, output, pad before, pad after, channels out
    (1, (1, 1, 1), (1, 1, 1), (0, 0, 0), (0, 0, 0), 1),
    (1, (2, 3, 4), (3, 5, 7), (0, 0, 0), (0, 0, 0), 1),
    (1, (5, 4, 9), (3, 2, 5), (1, 2, 3), (0, 1, 2), 8),
    (2, (3, 3, 3), (3, 3, 3), (0, 1, 0), (2, 0, 0), 3),
    (1, (1, 17, 13), (2, 11, 19), (0, 0, 0), (0, 0, 0), 1),
    (3, (2, 2, 5), (1, 4, 3), (0, 0, 1), (0, 0, 0), 5),
    (1, (2, 2, 2), (0, 3, 3), (0, 0, 0), (0, 0, 0), 1),
    (1, (2, 2, 2), (0, 3, 3), (1, 0, 0), (1, 0, 0), 2),
]


def statistics(channels):
    return {
        "low": torch.linspace(-900, -500, channels),
        "high": torch.linspace(800, 400, channels),
        "mean": torch.linspace(-100, 50, channels),
        "std": torch.linspace(300, 200, channels),
    }


def expected(volume, axes, stats, before, after, fill, channels_out):
    values = volume.double()
    low, high, mean, std = (stats[name].double()[:, None, None, None] for name in stats)
    values = (torch.minimum(torch.maximum(values, low), high) - mean) / std
    values = torch.einsum(
        "zd,yh,xw,cdhw->zyxc", *(operator.matrix().double() for operator in axes), values
    )
    sizes = [b + n + a for b, n, a in zip(before, values.shape, after)]
    result = torch.zeros(*sizes, channels_out, dtype=torch.float64)
    result[..., : volume.shape[0]] = fill
    box = tuple(slice(b, b + n) for b, n in zip(before, values.shape))
    result[box][..., : volume.shape[0]] = values
    return result


def hounsfield(shape, generator):
    return torch.randint(-1024, 1500, shape, generator=generator, dtype=torch.int16)


@pytest.mark.parametrize(
    ("channels", "size_in", "size_out", "before", "after", "channels_out"), SHAPES
)
def test_odd_shapes(channels, size_in, size_out, before, after, channels_out, generator):
    volume = hounsfield((channels, *size_in), generator)
    axes = tuple(linear_operator(i, o) for i, o in zip(size_in, size_out))
    stats = statistics(channels)
    padding = {"pad_before": before, "pad_after": after, "fill": -2.5}
    result = prepare_volume(volume, axes, **stats, **padding, channels_out=channels_out)
    wanted = expected(volume, axes, stats, before, after, -2.5, channels_out)
    torch.testing.assert_close(result.double(), wanted, rtol=0, atol=5e-6)


@pytest.mark.parametrize("source", [torch.int16, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_dtypes(source, dtype, generator):
    volume = hounsfield((1, 3, 4, 5), generator).to(source)
    axes = tuple(linear_operator(i, o) for i, o in zip((3, 4, 5), (4, 4, 7)))
    result = prepare_volume(volume, axes, **statistics(1), dtype=dtype)
    wanted = expected(volume, axes, statistics(1), (0, 0, 0), (0, 0, 0), 0, 1)
    assert result.dtype == dtype
    bound = {torch.float32: 5e-6, torch.float16: 3e-3, torch.bfloat16: 2e-2}[dtype]
    torch.testing.assert_close(result.double(), wanted, rtol=0, atol=bound)


def test_long_taps_take_three_passes(generator):
    """Random band matrices, strided input, padding; the reference agrees."""
    volume = hounsfield((2, 7, 4, 6), generator).transpose(2, 3)
    matrices = [torch.randn(o, i, generator=generator) for i, o in ((7, 5), (6, 8), (4, 3))]
    matrices[0][:, 5:] = 0
    axes = tuple(dense_operator(matrix) for matrix in matrices)
    assert axes[0].taps == 5
    options = {**statistics(2), "pad_before": (1, 0, 2), "pad_after": (0, 1, 0), "fill": 0.5}
    result = prepare_volume(volume, axes, **options, channels_out=4)
    wanted = expected(volume, axes, statistics(2), (1, 0, 2), (0, 1, 0), 0.5, 4)
    torch.testing.assert_close(result.double(), wanted, rtol=0, atol=1e-4)
    with use_backend("reference"):
        reference = prepare_volume(volume, axes, **options, channels_out=4)
    torch.testing.assert_close(result, reference, rtol=0, atol=1e-4)
    assert torch.equal(result, prepare_volume(volume, axes, **options, channels_out=4))


def test_infinite_bounds_leave_intensities(generator):
    volume = torch.randn(1, 2, 2, 2, generator=generator) * 1e4
    limits = {"low": torch.tensor([-torch.inf]), "high": torch.tensor([torch.inf])}
    axes = tuple(identity_operator(2) for _ in range(3))
    result = prepare_volume(volume, axes, **limits, mean=torch.zeros(1), std=torch.ones(1))
    assert torch.equal(result[..., 0], volume[0])


def test_addresses_beyond_two_to_the_31(generator):
    far = 2**31 + 64
    memory = mmap.mmap(-1, 2 * (far + 64), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    store = torch.frombuffer(memory, dtype=torch.int16)
    volume = store.as_strided((1, 2, 2, 3), (1, far, 3, 1))
    values = hounsfield((1, 2, 2, 3), generator)
    volume.copy_(values)
    axes = tuple(linear_operator(i, o) for i, o in zip((2, 2, 3), (3, 2, 4)))
    with use_backend("reference"):
        wanted = prepare_volume(values, axes, **statistics(1))
    result = prepare_volume(volume, axes, **statistics(1))
    torch.testing.assert_close(result, wanted, rtol=0, atol=5e-6)
