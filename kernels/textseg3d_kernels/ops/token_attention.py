"""K5: cross-attention between many image tokens and few text tokens, both directions."""

from __future__ import annotations

import torch

from textseg3d_kernels import dispatch
from textseg3d_kernels.ops import checks
from textseg3d_kernels.reference import token_attention as reference

MAX_TEXT_TOKENS = 32
MAX_WIDTH = 128
MAX_GRID = 65535


def image_to_text_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Image tokens read from text tokens.

    ::

        out[b, n, h] = Σ_l softmax_l(query[b, n, h] · key[b, l, h] / √d) · value[b, l, h]

    over the text tokens with mask[b, l]; without any such token the result is zero. Scores,
    softmax and sums are float32, the weights are rounded to the dtype of ``value`` before the
    second product. Error against float64: ≤ 2e-6 · max|value| in float32, 2 units of the dtype
    times max|value| else.

    Cost per image token and head: reads 2·d bytes and writes 2·d (bf16), 4·L·d FLOPs; text
    tokens are read once per program and lie in cache. Scores never reach memory: unfused they
    add 3·4·L bytes.

    Source of the method: scaled dot-product attention, Vaswani et al. (2017).

    Args:
        query: float32, fp16 or bf16 [B, N, H, d], d ≤ 128; B may be an expanded axis (stride 0).
        key: dtype of query [B, L, H, d], L ≤ 32.
        value: dtype of query [B, L, H, d].
        mask: bool [B, L], True = real token; None means all.

    Returns:
        dtype of query [B, N, H, d], contiguous.

    Raises:
        ValueError: for shapes that do not fit.
        TypeError: for other or mixed dtypes.
    """
    _check(query, key, value, mask, text=key)
    if dispatch.selected(query, key, value, mask) == "reference":
        return reference.image_to_text_attention(query, key, value, mask)
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    if out.numel() == 0 or key.shape[1] == 0:
        return out.zero_()
    from textseg3d_kernels.triton.token_attention import launch_image_to_text

    if mask is None:
        mask = torch.ones(key.shape[:2], dtype=torch.bool, device=key.device)
    with dispatch.device_guard(query):
        launch_image_to_text(
            _rows(query),
            _rows(key),
            _rows(value),
            mask.view(torch.uint8),
            query.shape[3] ** -0.5,
            out,
        )
    return out


def text_to_image_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Text tokens (or prompt queries) read from image tokens.

    ::

        out[b, l, h] = Σ_n softmax_n(query[b, l, h] · key[b, n, h] / √d) · value[b, n, h]

    over the image tokens with mask[b, n]; without any such token the result is zero. Online
    softmax over spans of 1024 image tokens, merged in order: deterministic. Numbers as in
    :func:`image_to_text_attention`; error against float64 ≤ 5e-6 · max|value| in float32.

    Cost per image token and head: reads 4·d bytes (bf16) once for all text tokens, 4·L·d FLOPs;
    4·(d + 2) bytes per text token and span are written and read once more.

    Source of the method: online softmax, Milakov and Gimelshein (2018), and its split over keys.

    Args:
        query: float32, fp16 or bf16 [B, L, H, d], L ≤ 32, d ≤ 128.
        key: dtype of query [B, N, H, d]; B may be an expanded axis (stride 0).
        value: dtype of query [B, N, H, d].
        mask: bool [B, N], True = use this image token; None means all.

    Returns:
        dtype of query [B, L, H, d], contiguous.

    Raises:
        ValueError: for shapes that do not fit.
        TypeError: for other or mixed dtypes.
    """
    _check(query, key, value, mask, text=query)
    if dispatch.selected(query, key, value, mask) == "reference":
        return reference.text_to_image_attention(query, key, value, mask)
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    if out.numel() == 0 or key.shape[1] == 0:
        return out.zero_()
    from textseg3d_kernels.triton.token_attention import SPAN, launch_text_to_image

    batch, words, heads, width = query.shape
    rows = (batch, heads, -(-key.shape[1] // SPAN), words)
    workspace = (
        torch.empty(rows, dtype=torch.float32, device=query.device),
        torch.empty(rows, dtype=torch.float32, device=query.device),
        torch.empty(*rows, width, dtype=torch.float32, device=query.device),
    )
    with dispatch.device_guard(query):
        launch_text_to_image(
            _rows(query),
            _rows(key),
            _rows(value),
            None if mask is None else mask.view(torch.uint8),
            width**-0.5,
            workspace,
            out,
        )
    return out


def _rows(tokens: torch.Tensor) -> torch.Tensor:
    """Tokens whose last axis has stride 1 (a copy only where it has not)."""
    return tokens if tokens.stride(3) == 1 or tokens.shape[3] == 1 else tokens.contiguous()


def _check(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    *,
    text: torch.Tensor,
) -> None:
    """Checks shared by both directions; ``text`` is the tensor with the few tokens."""
    checks.dtype("query", query, checks.FLOATS)
    checks.dtype("key", key, (query.dtype,))
    checks.dtype("value", value, (query.dtype,))
    checks.dimensions("query", query, "BTHd")
    checks.dimensions("key", key, "BTHd")
    batch, _, heads, width = query.shape
    checks.shape("key", key, (batch, key.shape[1], heads, width))
    checks.shape("value", value, key.shape)
    if mask is not None:
        checks.shape("mask", mask, key.shape[:2])
        checks.dtype("mask", mask, (torch.bool,))
    if text.shape[1] > MAX_TEXT_TOKENS:
        raise ValueError(f"{text.shape[1]} text tokens; at most {MAX_TEXT_TOKENS} are supported")
    if width > MAX_WIDTH or max(batch, heads) > MAX_GRID:
        raise ValueError(
            f"batch {batch}, {heads} heads of width {width}: at most {MAX_GRID}, {MAX_GRID} "
            f"and {MAX_WIDTH}"
        )
