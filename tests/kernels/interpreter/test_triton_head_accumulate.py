"""K1 in the interpreter: against a float64 sum written out here."""

import mmap

import pytest
import torch
from textseg3d_kernels import head_accumulate, use_backend

SHAPES = [  # window, slab, offset, channels, prompts
    ((1, 1, 1), (1, 1, 1), (0, 0, 0), 1, 1),
    ((2, 3, 5), (2, 3, 5), (0, 0, 0), 7, 3),
    ((3, 7, 11), (5, 9, 13), (1, 2, 1), 32, 17),
    ((2, 4, 9), (3, 3, 5), (-1, -1, 2), 20, 2),
    ((1, 13, 11), (1, 13, 11), (0, 0, 0), 33, 33),
    ((2, 2, 2), (4, 4, 4), (9, 0, 0), 4, 2),
    ((0, 3, 3), (4, 4, 4), (0, 0, 0), 4, 2),
    ((2, 3, 3), (2, 3, 3), (0, 0, 0), 4, 0),
]
TOLERANCE = {torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}


def make(window, slab, channels, prompts, generator, dtype=torch.float32, slab_dtype=None):
    features = torch.randn(*window, channels, generator=generator).to(dtype)
    queries = torch.randn(prompts, channels, generator=generator).to(dtype)
    bias = torch.randn(prompts, generator=generator)
    weights = tuple(torch.rand(length, generator=generator) for length in window)
    before = torch.randn(prompts, *slab, generator=generator).to(slab_dtype or torch.float32)
    return features, queries, bias, weights, before


def expected(features, queries, bias, weights, before, offset, flip=(False, False, False)):
    """Voxel by voxel in float64."""
    logits = torch.einsum("zyxc,pc->pzyx", features.double(), queries.double())
    logits = logits.flip([axis + 1 for axis in range(3) if flip[axis]])
    logits = logits + bias.double()[:, None, None, None]
    weight = torch.einsum("z,y,x->zyx", *(table.double() for table in weights))
    result = before.double().clone()
    depth, height, width = features.shape[:3]
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                at = (z + offset[0], y + offset[1], x + offset[2])
                if all(0 <= i < n for i, n in zip(at, before.shape[1:])):
                    result[(slice(None), *at)] += logits[:, z, y, x] * weight[z, y, x]
    return result


@pytest.mark.parametrize(("window", "slab", "offset", "channels", "prompts"), SHAPES)
def test_odd_shapes(window, slab, offset, channels, prompts, generator):
    *arguments, before = make(window, slab, channels, prompts, generator)
    target = before.clone()
    head_accumulate(*arguments, target, offset)
    wanted = expected(*arguments, before, offset)
    torch.testing.assert_close(target.double(), wanted, rtol=0, atol=2e-6 * max(channels, 8))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("slab_dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_dtypes_and_sign_flips(dtype, slab_dtype, generator):
    *arguments, before = make((2, 5, 6), (3, 6, 7), 32, 5, generator, dtype, slab_dtype)
    target = before.clone()
    head_accumulate(*arguments, target, (1, 1, 0))
    wanted = expected(*arguments, before, (1, 1, 0))
    bound = TOLERANCE[slab_dtype] * wanted.abs().max() + 2e-5
    error = (target.double() - wanted).abs()
    assert error.max() <= bound
    flipped = (target > 0) != (wanted > 0)
    assert (wanted[flipped].abs() <= bound).all()


@pytest.mark.parametrize("flip", [(True, False, False), (False, True, False), (True, True, True)])
def test_mirrored_window(flip, generator):
    *arguments, before = make((2, 3, 4), (2, 3, 4), 8, 2, generator)
    target = before.clone()
    head_accumulate(*arguments, target, (0, 0, 0), flip=flip)
    wanted = expected(*arguments, before, (0, 0, 0), flip)
    torch.testing.assert_close(target.double(), wanted, rtol=0, atol=2e-5)


def test_strided_inputs_ring_and_untouched_rest(generator):
    """Channel-first features, a slab inside a wider buffer, a ring of three planes."""
    *arguments, _ = make((2, 3, 5), (3, 4, 6), 6, 3, generator)
    features = arguments[0].permute(3, 0, 1, 2).contiguous().permute(1, 2, 3, 0)
    buffer = torch.randn(3, 5, 7, 9, generator=generator)
    before = buffer.clone()
    slab = buffer[:, 1:4, 2:6, 1:7]
    for ring_offset in (2, 2 - 3):
        head_accumulate(features, *arguments[1:], slab, (ring_offset, 1, 0))
    wanted = before.clone().double()
    inner = wanted[:, 1:4, 2:6, 1:7]
    inner[:] = expected(*arguments, inner, (2, 1, 0))
    inner[:] = expected(*arguments, inner, (-1, 1, 0))
    torch.testing.assert_close(buffer.double(), wanted, rtol=0, atol=2e-5)


def test_two_runs_and_the_reference_agree(generator):
    *arguments, before = make((2, 5, 7), (2, 5, 7), 32, 20, generator, torch.bfloat16)
    first, second, third = before.clone(), before.clone(), before.clone()
    head_accumulate(*arguments, first, (0, 0, 0))
    head_accumulate(*arguments, second, (0, 0, 0))
    assert torch.equal(first, second)
    with use_backend("reference"):
        head_accumulate(*arguments, third, (0, 0, 0))
    torch.testing.assert_close(first, third, rtol=0, atol=1e-5)


def test_addresses_beyond_two_to_the_31(generator):
    """Prompt 1 of the slab and plane 1 of the features lie more than 2**31 elements away."""
    far = 2**31 + 8
    memory = mmap.mmap(-1, 2 * (far + 64), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    store = torch.frombuffer(memory, dtype=torch.float16)
    slab = store.as_strided((2, 1, 2, 3), (far, 6, 3, 1))
    features = store.as_strided((2, 2, 3, 4), (far, 12, 4, 1), 16)
    values = torch.randn(2, 2, 3, 4, generator=generator).half()
    features.copy_(values)
    queries, bias = torch.randn(2, 4, generator=generator), torch.zeros(2)
    weights = (torch.ones(2), torch.ones(2), torch.ones(3))
    head_accumulate(features, queries, bias, weights, slab, (-1, 0, 0))
    wanted = torch.einsum("yxc,pc->pyx", values[1].double(), queries.half().double())
    torch.testing.assert_close(slab[:, 0].double(), wanted, rtol=0, atol=5e-3)
