"""The PyTorch implementations (the CPU path) against torch, numpy and scipy functions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from textseg3d_kernels import (
    export_pack,
    head_accumulate,
    image_to_text_attention,
    instance_norm,
    linear_operator,
    prepare_volume,
    text_to_image_attention,
    window_gather,
)
from textseg3d_kernels.reference.export_pack import pack_first_axis

functional = torch.nn.functional


def blob(shape, centre, radius):
    """Smooth field, positive inside a ball."""
    axes = [torch.arange(n, dtype=torch.float32) - c for n, c in zip(shape, centre)]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return radius - torch.sqrt(z**2 + y**2 + x**2)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=2), st.integers(0, 70), st.integers(0, 2**31))
def test_packed_bits_equal_numpy(trailing, width, seed):
    mask = np.random.default_rng(seed).random((width, *trailing)) < 0.5
    packed = pack_first_axis(torch.from_numpy(mask))
    np.testing.assert_array_equal(packed.numpy(), np.packbits(mask, axis=0))


@pytest.mark.parametrize("size_out", [(9, 8, 10), (31, 25, 37), (18, 16, 20), (5, 5, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_export_equals_interpolation_up_to_rounding(size_out, dtype, generator):
    size_in = (9, 8, 10)
    logits = torch.stack(
        [
            blob(size_in, (4, 4, 5), 3.3),
            blob(size_in, (0, 0, 9), 2.2),
            torch.randn(size_in, generator=generator),
            -torch.ones(size_in),
            blob(size_in, (7.5, 1.2, 3.3), 1.1),
        ]
    ).to(dtype)
    packed = export_pack(logits, tuple(map(linear_operator, size_in, size_out)))
    values = functional.interpolate(
        logits.double()[None], size=size_out, mode="trilinear", align_corners=False
    )[0]
    mask = np.unpackbits(packed.numpy(), axis=-1, count=size_out[2]).astype(bool)
    wrong = mask != (values > 0).numpy()
    assert np.abs(values.numpy()[wrong]).max(initial=0) < 2e-6
    assert mask[:3].any()
    assert not mask[3].any()


def test_export_of_slabs_equals_export_of_the_whole(generator):
    logits = torch.randn(2, 12, 6, 7, generator=generator)
    others = (linear_operator(6, 13), linear_operator(7, 9))
    whole = export_pack(logits, (linear_operator(12, 29), *others))
    for begin, end, first, last in ((0, 10, 0, 5), (10, 20, 3, 9), (20, 29, 7, 12)):
        axis = linear_operator(12, 29, input_window=(first, last), output_window=(begin, end))
        part = export_pack(logits[:, first:last], (axis, *others))
        assert torch.equal(part, whole[:, begin:end])


def test_accumulated_shares_equal_the_shared_features(generator):
    """Weights that sum to one: adding windows' logits is the head of the blended features."""
    features = torch.randn(2, 4, 5, 6, 8, generator=generator)
    queries, bias = torch.randn(3, 8, generator=generator), torch.randn(3, generator=generator)
    left = torch.tensor([1.0, 1.0, 1.0, 0.7, 0.5, 0.2])
    shares = [(torch.ones(4), torch.ones(5), left), (torch.ones(4), torch.ones(5), 1 - left)]
    slab = torch.zeros(3, 4, 5, 6)
    for window, weights in zip(features, shares):
        head_accumulate(window, queries, bias, weights, slab, (0, 0, 0))
    blended = features[0] * left[:, None] + features[1] * (1 - left)[:, None]
    wanted = torch.einsum("zyxc,pc->pzyx", blended, queries) + bias[:, None, None, None]
    assert torch.allclose(slab, wanted, atol=1e-5)


def test_accumulation_clips_windows_and_mirrors(generator):
    features = torch.randn(4, 5, 6, 8, generator=generator)
    queries, bias = torch.randn(3, 8, generator=generator), torch.randn(3, generator=generator)
    weights = tuple(torch.rand(n, generator=generator) for n in (4, 5, 6))
    scale = torch.einsum("z,y,x->zyx", *weights)
    logits = torch.einsum("zyxc,pc->pzyx", features.flip(1), queries) + bias[:, None, None, None]
    slab = torch.zeros(3, 3, 9, 4, dtype=torch.float16)
    head_accumulate(features, queries, bias, weights, slab, (-1, 2, -2), flip=(False, True, False))
    wanted = torch.zeros(3, 3, 9, 4)
    wanted[:, :, 2:7, :] = (logits * scale)[:, 1:4, :, 2:6]
    assert torch.allclose(slab.float(), wanted, atol=5e-3)


def test_preparation_equals_clip_scale_interpolate_pad(generator):
    volume = torch.randint(-1024, 2000, (1, 7, 8, 9), generator=generator, dtype=torch.int16)
    kept = volume.clone()
    result = prepare_volume(
        volume,
        tuple(map(linear_operator, (7, 8, 9), (11, 6, 9))),
        low=torch.tensor([-900.0]),
        high=torch.tensor([1000.0]),
        mean=torch.tensor([20.0]),
        std=torch.tensor([300.0]),
        pad_before=(1, 0, 2),
        pad_after=(0, 3, 0),
        fill=-3.0,
        channels_out=8,
    )
    scaled = (volume.float().clamp(-900, 1000) - 20) / 300
    wanted = functional.interpolate(
        scaled[None], size=(11, 6, 9), mode="trilinear", align_corners=False
    )
    wanted = functional.pad(wanted, (2, 0, 0, 3, 1, 0), value=-3.0)[0]
    assert torch.allclose(result[..., :1].permute(3, 0, 1, 2), wanted, atol=1e-5)
    assert not result[..., 1:].any()
    assert torch.equal(volume, kept)
    image = result.permute(3, 0, 1, 2)[None]
    assert image.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norm_equals_instance_norm_and_keeps_the_layout(dtype, generator):
    x = torch.randn(2, 12, 4, 5, 6, generator=generator).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last_3d)
    weight, bias = torch.randn(12, generator=generator), torch.randn(12, generator=generator)
    added = torch.randn(2, 12, 4, 5, 6, generator=generator).to(dtype)
    result = instance_norm(x, weight, bias, residual=added)
    wanted = functional.instance_norm(x.float(), weight=weight, bias=bias) + added.float()
    wanted = functional.leaky_relu(wanted, 0.01)
    atol = 1e-5 if dtype == torch.float32 else 6e-2
    assert torch.allclose(result.float(), wanted, atol=atol)
    assert result.is_contiguous(memory_format=torch.channels_last_3d)
    assert result.dtype == dtype


def test_norm_has_gradients_and_writes_into_a_buffer(generator):
    x = torch.randn(1, 3, 2, 3, 4, generator=generator, dtype=torch.float32, requires_grad=True)
    weight = torch.randn(3, generator=generator, requires_grad=True)
    instance_norm(x, weight, negative_slope=0.2).square().sum().backward()
    again = x.detach().clone().requires_grad_()
    plain = functional.instance_norm(again, weight=weight.detach())
    functional.leaky_relu(plain, 0.2).square().sum().backward()
    assert torch.allclose(x.grad, again.grad, atol=1e-5)
    assert weight.grad is not None
    buffer = torch.zeros(1, 7, 2, 3, 4)
    with torch.no_grad():
        instance_norm(x, weight, out=buffer[:, 2:5])
        assert torch.equal(buffer[:, 2:5], instance_norm(x, weight))
    assert not buffer[:, 5:].any()


def test_attention_both_ways(generator):
    image = torch.randn(2, 50, 3, 16, generator=generator)
    text = torch.randn(2, 7, 3, 16, generator=generator)
    mask = torch.tensor([[True] * 4 + [False] * 3, [False] * 7])
    result = image_to_text_attention(image, text, text, mask)
    score = torch.einsum("bqhd,bkhd->bhqk", image, text[:, :4]) / 4
    wanted = torch.einsum("bhqk,bkhd->bqhd", score.softmax(-1), text[:, :4])
    assert torch.allclose(result[0], wanted[0], atol=1e-5)
    assert not result[1].any()
    result = text_to_image_attention(text, image, image)
    score = torch.einsum("bqhd,bkhd->bhqk", text, image) / 4
    wanted = torch.einsum("bhqk,bkhd->bqhd", score.softmax(-1), image)
    assert torch.allclose(result, wanted, atol=1e-5)


def test_windows_equal_padded_slices(generator):
    volume = torch.randint(-99, 99, (2, 5, 6, 7), generator=generator, dtype=torch.int16)
    starts = torch.tensor([[0, 0, 0], [-2, 3, 5], [1, 1, 1], [7, 0, 0]])
    windows = window_gather(volume, starts, (4, 4, 4), fill=5.0, dtype=torch.bfloat16)
    padded = functional.pad(volume.float(), (4, 8, 4, 8, 4, 8), value=5.0)
    for window, (z, y, x) in zip(windows, starts.tolist()):
        wanted = padded[:, z + 4 : z + 8, y + 4 : y + 8, x + 4 : x + 8]
        assert torch.equal(window.permute(3, 0, 1, 2).float(), wanted)
