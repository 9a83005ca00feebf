"""K2 in the interpreter: bits equal to the reference and to an interpolation written out here."""

import mmap

import numpy as np
import pytest
import torch
from textseg3d_kernels import export_pack, identity_operator, linear_operator, use_backend

SHAPES = [  # prompts, input, output
    (1, (1, 1, 1), (1, 1, 1)),
    (2, (2, 3, 4), (3, 5, 17)),
    (1, (4, 5, 6), (2, 3, 4)),
    (3, (3, 4, 5), (3, 4, 5)),
    (1, (2, 7, 9), (1, 13, 65)),
    (1, (5, 1, 3), (7, 2, 8)),
    (0, (2, 2, 2), (3, 3, 3)),
    (2, (2, 2, 2), (0, 3, 3)),
]


def axes_for(size_in, size_out):
    return tuple(linear_operator(i, o) for i, o in zip(size_in, size_out))


def interpolated(logits, axes):
    """Dense matrices in float64: [P, D, H, W]."""
    matrices = [operator.matrix().double() for operator in axes]
    return torch.einsum("zd,yh,xw,pdhw->pzyx", *matrices, logits.double())


def unpacked(packed, width):
    return np.unpackbits(packed.numpy(), axis=-1, count=width).astype(bool)


@pytest.mark.parametrize(("prompts", "size_in", "size_out"), SHAPES)
def test_odd_shapes(prompts, size_in, size_out, generator):
    logits = torch.randn(prompts, *size_in, generator=generator)
    axes = axes_for(size_in, size_out)
    packed = export_pack(logits, axes)
    assert packed.shape == (prompts, *size_out[:2], -(-size_out[2] // 8))
    values = interpolated(logits, axes)
    wrong = unpacked(packed, size_out[2]) != (values > 0).numpy()
    assert np.abs(values.numpy()[wrong]).max(initial=0) < 1e-6
    with use_backend("reference"):
        assert torch.equal(export_pack(logits, axes), packed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("threshold", [0.0, 0.3])
def test_dtypes_and_thresholds_give_the_bits_of_the_reference(dtype, threshold, generator):
    logits = torch.randn(2, 3, 4, 5, generator=generator).to(dtype)
    axes = axes_for((3, 4, 5), (4, 7, 19))
    packed = export_pack(logits, axes, threshold=threshold)
    with use_backend("reference"):
        assert torch.equal(export_pack(logits, axes, threshold=threshold), packed)


def test_ties_infinities_and_nan_are_background():
    row = [0.0, -0.0, float("-inf"), float("nan"), 1.0, float("inf"), 2.0, -1.0, 1e-30]
    logits = torch.tensor(row).view(1, 1, 1, 9)
    packed = export_pack(logits, tuple(identity_operator(n) for n in (1, 1, 9)))
    assert packed.flatten().tolist() == [0b00001110, 0b10000000]
    doubled = export_pack(logits, axes_for((1, 1, 9), (1, 1, 18)))
    with use_backend("reference"):
        assert torch.equal(export_pack(logits, axes_for((1, 1, 9), (1, 1, 18))), doubled)
    tie = torch.tensor([[[[-1.0, 1.0]]]])
    middle = export_pack(tie, axes_for((1, 1, 2), (1, 1, 3)))
    assert middle.item() == 0b00100000


def test_slab_equals_part_of_the_whole_and_strided_input(generator):
    wide = torch.randn(2, 7, 5, 12, generator=generator)
    logits = wide.transpose(2, 3)[:, :6, 1:8]
    assert not logits.is_contiguous()
    whole = export_pack(logits, axes_for((6, 7, 5), (9, 8, 10)))
    part = linear_operator(6, 9, input_window=(2, 6), output_window=(4, 9))
    rest = axes_for((6, 7, 5), (9, 8, 10))[1:]
    assert torch.equal(export_pack(logits[:, 2:6], (part, *rest)), whole[:, 4:9])
    assert torch.equal(export_pack(logits, axes_for((6, 7, 5), (9, 8, 10))), whole)


def test_addresses_beyond_two_to_the_31(generator):
    far = 2**31 + 64
    memory = mmap.mmap(-1, 2 * (far + 64), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    store = torch.frombuffer(memory, dtype=torch.float16)
    logits = store.as_strided((2, 2, 2, 3), (16, far, 3, 1))
    values = torch.randn(2, 2, 2, 3, generator=generator).half()
    logits.copy_(values)
    axes = axes_for((2, 2, 3), (3, 2, 9))
    with use_backend("reference"):
        wanted = export_pack(values, axes)
    assert torch.equal(export_pack(logits, axes), wanted)
