"""K5 in the interpreter: against a softmax in float64."""

import mmap

import pytest
import torch
from textseg3d_kernels import image_to_text_attention, text_to_image_attention, use_backend

SHAPES = [  # batch, image tokens, text tokens, heads, width
    (1, 1, 1, 1, 1),
    (2, 65, 3, 2, 16),
    (1, 127, 32, 1, 20),
    (3, 7, 24, 2, 33),
    (1, 1030, 5, 1, 8),
    (1, 64, 17, 3, 64),
    (1, 0, 4, 1, 8),
    (1, 5, 0, 1, 8),
    (0, 5, 4, 1, 8),
]
TOLERANCE = {torch.float32: 5e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def expected(query, key, value, mask=None):
    score = torch.einsum("bqhd,bkhd->bhqk", query.double(), key.double()) / query.shape[3] ** 0.5
    if mask is not None:
        score = score.masked_fill(~mask[:, None, None, :], -torch.inf)
    weight = torch.softmax(score, dim=-1).nan_to_num(0.0)
    return torch.einsum("bhqk,bkhd->bqhd", weight, value.double())


def make(batch, tokens, words, heads, width, generator, dtype=torch.float32):
    shapes = [(batch, tokens, heads, width)] * 2 + [(batch, words, heads, width)] * 2
    image, image_value, text, text_value = (
        torch.randn(shape, generator=generator).to(dtype) for shape in shapes
    )
    return image, image_value, text, text_value


@pytest.mark.parametrize("shape", SHAPES)
def test_odd_shapes(shape, generator):
    image, image_value, text, text_value = make(*shape, generator)
    mask = torch.rand(shape[0], shape[2], generator=generator) < 0.7
    result = image_to_text_attention(image, text, text_value, mask)
    wanted = expected(image, text, text_value, mask)
    torch.testing.assert_close(result.double(), wanted, rtol=0, atol=5e-6)
    mask = torch.rand(shape[0], shape[1], generator=generator) < 0.7
    result = text_to_image_attention(text, image, image_value, mask)
    wanted = expected(text, image, image_value, mask)
    torch.testing.assert_close(result.double(), wanted, rtol=0, atol=5e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_dtypes_and_absent_masks(dtype, generator):
    image, image_value, text, text_value = make(2, 70, 9, 2, 24, generator, dtype)
    forward = image_to_text_attention(image, text, text_value)
    assert forward.dtype == dtype
    wanted = expected(image, text, text_value)
    atol = TOLERANCE[dtype] * float(text_value.abs().max())
    torch.testing.assert_close(forward.double(), wanted, rtol=0, atol=atol)
    backward = text_to_image_attention(text, image, image_value)
    wanted = expected(text, image, image_value)
    torch.testing.assert_close(backward.double(), wanted, rtol=0, atol=atol)
    assert torch.equal(forward, image_to_text_attention(image, text, text_value))
    assert torch.equal(backward, text_to_image_attention(text, image, image_value))


def test_rows_without_any_key_are_zero(generator):
    image, image_value, text, text_value = make(2, 5, 4, 1, 8, generator)
    none = torch.zeros(2, 4, dtype=torch.bool)
    assert not image_to_text_attention(image, text, text_value, none).any()
    assert not text_to_image_attention(text, image, image_value, torch.zeros(2, 5).bool()).any()
    with use_backend("reference"):
        assert not image_to_text_attention(image, text, text_value, none).any()


def test_large_scores_strided_and_expanded_inputs(generator):
    image, image_value, text, text_value = make(1, 1500, 6, 2, 16, generator)
    image = (100 * image).expand(3, -1, -1, -1)
    image_value = image_value.expand(3, -1, -1, -1)
    text = torch.randn(3, 2, 6, 16, generator=generator).transpose(1, 2)
    text_value = torch.randn(3, 6, 16, 2, generator=generator).transpose(2, 3)
    mask = torch.tensor([[1, 1, 1, 0, 0, 0]], dtype=torch.bool).expand(3, -1)
    result = image_to_text_attention(image, text, text_value, mask)
    wanted = expected(image, text, text_value, mask)
    torch.testing.assert_close(result.double(), wanted, rtol=0, atol=2e-4)
    result = text_to_image_attention(text, image, image_value)
    wanted = expected(text, image, image_value)
    torch.testing.assert_close(result.double(), wanted, rtol=0, atol=2e-4)


def test_addresses_beyond_two_to_the_31(generator):
    """The second image token lies more than 2**31 elements after the first."""
    far = 2**31 + 64
    memory = mmap.mmap(-1, 2 * (far + 64), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    store = torch.frombuffer(memory, dtype=torch.float16)
    image = store.as_strided((1, 2, 1, 8), (1, far, 8, 1))
    values = torch.randn(1, 2, 1, 8, generator=generator).half()
    image.copy_(values)
    text = torch.randn(1, 3, 1, 8, generator=generator).half()
    forward = image_to_text_attention(image, text, text)
    torch.testing.assert_close(forward.double(), expected(values, text, text), rtol=0, atol=4e-3)
    backward = text_to_image_attention(text, image, image)
    wanted = expected(text, values, values)
    torch.testing.assert_close(backward.double(), wanted, rtol=0, atol=4e-3)
