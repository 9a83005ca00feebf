"""K6 in the interpreter: copies are exact."""

import pytest
import torch
from textseg3d_kernels import use_backend, window_gather

SHAPES = [  # channels, volume, window, starts, channels out
    (1, (1, 1, 1), (1, 1, 1), [[0, 0, 0]], 1),
    (1, (4, 5, 6), (2, 3, 5), [[0, 0, 0], [2, 2, 1], [-1, -2, 3]], 1),
    (2, (3, 4, 5), (4, 5, 7), [[0, 0, 0], [-4, 0, 0], [1, 3, 4]], 8),
    (3, (2, 17, 3), (1, 19, 16), [[1, -1, -5]], 3),
    (1, (2, 2, 2), (2, 2, 2), [[9, 9, 9], [-9, 0, 0]], 2),
    (1, (3, 3, 3), (0, 3, 3), [[0, 0, 0]], 1),
    (1, (3, 3, 3), (2, 2, 2), [], 1),
]


def expected(volume, starts, size, fill, channels_out):
    result = torch.zeros(len(starts), *size, channels_out, dtype=torch.float64)
    for b, start in enumerate(starts):
        for index in torch.cartesian_prod(*(torch.arange(n) for n in size)).tolist():
            at = [s + i for s, i in zip(start, index)]
            inside = all(0 <= i < n for i, n in zip(at, volume.shape[1:]))
            value = volume[(slice(None), *at)].double() if inside else fill
            result[(b, *index)][: volume.shape[0]] = value
    return result


@pytest.mark.parametrize(("channels", "volume", "size", "starts", "channels_out"), SHAPES)
def test_odd_shapes(channels, volume, size, starts, channels_out, generator):
    data = torch.randn(channels, *volume, generator=generator)
    table = torch.tensor(starts, dtype=torch.int64).view(-1, 3)
    result = window_gather(data, table, size, fill=-3.0, channels_out=channels_out)
    assert torch.equal(result.double(), expected(data, starts, size, -3.0, channels_out))
    with use_backend("reference"):
        again = window_gather(data, table, size, fill=-3.0, channels_out=channels_out)
    assert torch.equal(result, again)


@pytest.mark.parametrize("source", [torch.int16, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_dtypes_and_strided_volume(source, dtype, generator):
    data = torch.randint(-90, 90, (1, 4, 3, 5), generator=generator).to(source).transpose(1, 3)
    starts = torch.tensor([[0, 1, 2], [3, -1, 0]], dtype=torch.int32)
    first = window_gather(data, starts, (3, 2, 3), dtype=dtype)
    assert torch.equal(first.double(), expected(data, starts.tolist(), (3, 2, 3), 0, 1))
    assert torch.equal(first, window_gather(data, starts, (3, 2, 3), dtype=dtype))


def test_addresses_beyond_two_to_the_31(generator):
    import mmap

    far = 2**31 + 64
    memory = mmap.mmap(-1, 2 * (far + 64), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    store = torch.frombuffer(memory, dtype=torch.int16)
    volume = store.as_strided((1, 2, 2, 3), (1, far, 3, 1))
    volume.copy_(torch.randint(-90, 90, (1, 2, 2, 3), generator=generator))
    result = window_gather(volume, torch.tensor([[1, 0, 1]]), (1, 2, 2))
    assert torch.equal(result[0, ..., 0], volume[0, 1:, :, 1:].float())
