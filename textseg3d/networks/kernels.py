"""Where the networks and the engine take a Triton kernel, and where torch's own operations.

The kernels run on CUDA and HIP tensors that need no gradient, and where
``textseg3d_kernels.use_backend("triton")`` forces them (its interpreter, in tests). On a CPU the
plain operations below are faster than the kernels' references.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType

import torch
from torch import Tensor, nn

MAX_TEXT_TOKENS = 32  # of the attention kernels
MAX_HEAD_WIDTH = 128


@lru_cache(maxsize=1)
def _package() -> ModuleType | None:
    try:
        import textseg3d_kernels
    except ModuleNotFoundError:  # a checkout without kernels/ on its path
        return None
    return textseg3d_kernels


def kernels_for(*tensors: Tensor | None) -> ModuleType | None:
    """The package of kernels if its Triton side is to be used on these tensors, else None."""
    package = _package()
    if package is None:
        return None
    return package if package.dispatch.selected(*tensors) == "triton" else None


def norm_act(
    x: Tensor, norm: nn.Module, residual: Tensor | None = None, negative_slope: float = 0.01
) -> Tensor:
    """LeakyReLU(norm(x) + residual) on [B, C, D, H, W]: one kernel (K4), or three operations.

    Args:
        x: input; may be overwritten.
        norm: instance norm with ``weight`` and ``bias``, eps 1e-5.
        residual: of x's shape, or None.
        negative_slope: of the activation.
    """
    weight, bias = norm.weight, norm.bias
    assert isinstance(weight, Tensor)
    assert isinstance(bias, Tensor)
    kernels = kernels_for(x, residual, weight, bias)
    if kernels is not None:
        result: Tensor = kernels.instance_norm(
            x, weight, bias, residual=residual, negative_slope=negative_slope
        )
        return result
    y = norm(x)
    if residual is not None:
        y = y + residual
    return nn.functional.leaky_relu(y, negative_slope, inplace=True)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention between image tokens and text tokens, either way (K5).

    Args:
        q: [P, heads, N, d].
        k, v: [P or 1, heads, M, d]; at least one of N and M is small.
        mask: bool [P, M], True = use; None means all.

    Returns:
        [P, heads, N, d].
    """
    shared = mask is None and k.shape[0] == 1 < q.shape[0] and k.shape[2] > MAX_TEXT_TOKENS
    if shared and not torch.is_grad_enabled() and kernels_for(q, k, v) is None:
        # All prompts' tokens are queries of one image.
        folded = q.transpose(0, 1).flatten(1, 2)[None].to(v.dtype)
        found = nn.functional.scaled_dot_product_attention(folded, k.to(v.dtype), v)
        return found[0].unflatten(1, (q.shape[0], q.shape[2])).transpose(0, 1)
    k, v = k.expand(q.shape[0], -1, -1, -1), v.expand(q.shape[0], -1, -1, -1)
    fits = min(q.shape[2], k.shape[2]) <= MAX_TEXT_TOKENS and q.shape[3] <= MAX_HEAD_WIDTH
    kernels = kernels_for(q, k, v, mask) if fits else None
    if kernels is not None:
        few_keys = k.shape[2] <= MAX_TEXT_TOKENS
        run = kernels.image_to_text_attention if few_keys else kernels.text_to_image_attention
        rows = (t.transpose(1, 2).to(v.dtype) for t in (q, k, v))
        result: Tensor = run(*rows, mask).transpose(1, 2)
        return result
    if torch.is_grad_enabled():
        # Few tokens on one side: two small products beat the flash kernel backwards.
        scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None, :], float("-inf"))
        return scores.softmax(dim=-1).to(v.dtype) @ v
    if k.shape[2] > MAX_TEXT_TOKENS:
        used = None if mask is None else mask[:, None, None, :]
        return nn.functional.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, used)
    # Scores lie with the many queries last: a softmax over few contiguous values is five times
    # as long as one across rows (11 against 2 ms for 4 prompts, 4096 queries, 4 heads, bf16).
    scores = (k * q.shape[-1] ** -0.5) @ q.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, :, None], float("-inf"))
    return scores.softmax(dim=-2).to(v.dtype).transpose(-2, -1) @ v
