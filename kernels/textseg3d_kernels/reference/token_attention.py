"""PyTorch implementation of K5 (see ``ops/token_attention.py``)."""

from __future__ import annotations

import torch


def image_to_text_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Same contract as the function of this name in ``ops/token_attention.py``."""
    return _attention(query, key, value, mask)


def text_to_image_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Same contract as the function of this name in ``ops/token_attention.py``."""
    return _attention(query, key, value, mask)


def _attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """Scaled dot-product attention of [B, tokens, H, d]; rows without a key give zero."""
    if key.shape[1] == 0 or query.numel() == 0:
        return torch.zeros_like(query, memory_format=torch.contiguous_format)
    attended = torch.nn.functional.scaled_dot_product_attention(
        query.transpose(1, 2),
        key.transpose(1, 2),
        value.transpose(1, 2),
        attn_mask=None if mask is None else mask.bool()[:, None, None, :],
    ).transpose(1, 2)
    if mask is not None:
        usable = mask.bool().any(dim=1)[:, None, None, None]
        attended = torch.where(usable, attended, attended.new_zeros(()))
    return attended.contiguous()
