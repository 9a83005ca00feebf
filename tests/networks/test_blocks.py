"""Convolutions that train: gradients in bf16 against float32."""

import pytest
import torch

from textseg3d.networks.blocks import Convolution


@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 4, 4), (3, 3, 3), (4, 2, 4)])
def test_gradients_in_bf16_are_those_of_float32(shape):
    torch.manual_seed(0)
    conv = Convolution(32, 16, 3, 1, 1, bias=False)
    x, up = torch.randn(1, 32, *shape), torch.randn(1, 16, *shape)
    conv(x).backward(up)
    wanted = conv.weight.grad.clone()
    for _ in range(4):  # what is wrong depends on what memory held before
        junk = torch.full((1 << 20,), float("nan"))
        del junk
        conv.weight.grad = None
        with torch.autocast("cpu", torch.bfloat16):
            y = conv(x)
        y.backward(up.to(y.dtype))
        difference = (conv.weight.grad - wanted).abs().max()
        assert difference < 0.02 * wanted.abs().max()
