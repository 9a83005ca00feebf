"""Triton kernels K5: attention between many image tokens and at most 32 text tokens.

Image → text: the softmax runs over the few text tokens, one program holds it whole.
Text → image: online softmax over fixed spans of image tokens, one program per span, and a
second kernel that merges the spans in order; the span length is a constant, so two runs give
equal bits.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from textseg3d_kernels.triton._launch import dot, interpreting, on_hip

SPAN = 1024
BLOCK_N = 64
HIP_TEXT_BLOCK_N = 32
"""Image tokens per step of text → image on AMD, where 64 spills scalar registers."""


@triton.jit
def _image_to_text_kernel(
    query_ptr,  # [B, N, H, d]
    key_ptr,  # [B, L, H, d]
    value_ptr,  # [B, L, H, d]
    mask_ptr,  # uint8 [B, L]
    out_ptr,  # [B, N, H, d] contiguous
    scale,
    image_tokens,
    text_tokens,
    heads,
    width,
    stride_qb,
    stride_qn,
    stride_qh,
    stride_kb,
    stride_kl,
    stride_kh,
    stride_vb,
    stride_vl,
    stride_vh,
    stride_mb,
    stride_ml,
    UPCAST: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    head = tl.program_id(1).to(tl.int64)
    batch = tl.program_id(2).to(tl.int64)
    word = tl.arange(0, BLOCK_L).to(tl.int64)
    lane = tl.arange(0, BLOCK_D).to(tl.int64)
    has_token, has_word, has_lane = token < image_tokens, word < text_tokens, lane < width

    query_offset = (batch * stride_qb + head * stride_qh + token * stride_qn)[:, None]
    query_mask = has_token[:, None] & has_lane[None, :]
    query = tl.load(query_ptr + (query_offset + lane[None, :]), mask=query_mask, other=0.0)
    word_mask = has_word[:, None] & has_lane[None, :]
    key_offset = (batch * stride_kb + head * stride_kh + word * stride_kl)[:, None]
    key = tl.load(key_ptr + (key_offset + lane[None, :]), mask=word_mask, other=0.0)
    value_offset = (batch * stride_vb + head * stride_vh + word * stride_vl)[:, None]
    value = tl.load(value_ptr + (value_offset + lane[None, :]), mask=word_mask, other=0.0)
    allowed = tl.load(mask_ptr + (batch * stride_mb + word * stride_ml), mask=has_word, other=0)

    score = dot(query, tl.trans(key), UPCAST) * scale  # [BLOCK_N, BLOCK_L]
    score = tl.where((allowed != 0)[None, :], score, float("-inf"))
    peak = tl.max(score, axis=1)
    peak = tl.where(peak == float("-inf"), 0.0, peak)
    weight = tl.exp(score - peak[:, None])
    total = tl.sum(weight, axis=1)
    weight = weight / tl.where(total > 0, total, 1.0)[:, None]
    result = dot(weight.to(value.dtype), value, UPCAST)
    target = ((batch * image_tokens + token) * heads + head)[:, None] * width + lane[None, :]
    tl.store(out_ptr + target, result.to(out_ptr.dtype.element_ty), mask=query_mask)


@triton.jit
def _text_to_image_kernel(
    query_ptr,  # [B, L, H, d]
    key_ptr,  # [B, N, H, d]
    value_ptr,  # [B, N, H, d]
    mask_ptr,  # uint8 [B, N] if HAS_MASK
    peak_ptr,  # float32 [B, H, spans, L]
    total_ptr,  # float32 [B, H, spans, L]
    part_ptr,  # float32 [B, H, spans, L, d], not divided by the total
    scale,
    image_tokens,
    text_tokens,
    heads,
    width,
    spans,
    stride_qb,
    stride_ql,
    stride_qh,
    stride_kb,
    stride_kn,
    stride_kh,
    stride_vb,
    stride_vn,
    stride_vh,
    stride_mb,
    stride_mn,
    HAS_MASK: tl.constexpr,
    SPAN: tl.constexpr,
    UPCAST: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    span = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1).to(tl.int64)
    batch = tl.program_id(2).to(tl.int64)
    word = tl.arange(0, BLOCK_L).to(tl.int64)
    lane = tl.arange(0, BLOCK_D).to(tl.int64)
    has_word, has_lane = word < text_tokens, lane < width
    word_mask = has_word[:, None] & has_lane[None, :]
    query_offset = (batch * stride_qb + head * stride_qh + word * stride_ql)[:, None]
    query = tl.load(query_ptr + (query_offset + lane[None, :]), mask=word_mask, other=0.0)

    peak = tl.full([BLOCK_L], float("-inf"), dtype=tl.float32)
    total = tl.zeros([BLOCK_L], dtype=tl.float32)
    result = tl.zeros([BLOCK_L, BLOCK_D], dtype=tl.float32)
    length = tl.minimum(image_tokens - span * SPAN, SPAN).to(tl.int32)
    for first in range(0, length, BLOCK_N):
        token = span * SPAN + (first + tl.arange(0, BLOCK_N))
        allowed = token < image_tokens
        if HAS_MASK:
            chosen = tl.load(
                mask_ptr + (batch * stride_mb + token * stride_mn), mask=allowed, other=0
            )
            allowed = allowed & (chosen != 0)
        token_mask = allowed[:, None] & has_lane[None, :]
        key_offset = (batch * stride_kb + head * stride_kh + token * stride_kn)[:, None]
        key = tl.load(key_ptr + (key_offset + lane[None, :]), mask=token_mask, other=0.0)
        value_offset = (batch * stride_vb + head * stride_vh + token * stride_vn)[:, None]
        value = tl.load(value_ptr + (value_offset + lane[None, :]), mask=token_mask, other=0.0)
        score = dot(query, tl.trans(key), UPCAST) * scale  # [L, N]
        score = tl.where(allowed[None, :], score, float("-inf"))
        new_peak = tl.maximum(peak, tl.max(score, axis=1))
        safe_peak = tl.where(new_peak == float("-inf"), 0.0, new_peak)
        decay = tl.exp(peak - safe_peak)
        weight = tl.exp(score - safe_peak[:, None])
        total = total * decay + tl.sum(weight, axis=1)
        added = dot(weight.to(value.dtype), value, UPCAST)
        result = result * decay[:, None] + added
        peak = new_peak

    row = ((batch * heads + head) * spans + span) * text_tokens + word
    tl.store(peak_ptr + row, peak, mask=has_word)
    tl.store(total_ptr + row, total, mask=has_word)
    tl.store(part_ptr + (row[:, None] * width + lane[None, :]), result, mask=word_mask)


@triton.jit
def _merge_spans_kernel(
    peak_ptr,  # float32 [B, H, spans, L]
    total_ptr,  # float32 [B, H, spans, L]
    part_ptr,  # float32 [B, H, spans, L, d]
    out_ptr,  # [B, L, H, d] contiguous
    text_tokens,
    heads,
    width,
    spans,
    BLOCK_L: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    head = tl.program_id(0).to(tl.int64)
    batch = tl.program_id(1).to(tl.int64)
    word = tl.arange(0, BLOCK_L).to(tl.int64)
    lane = tl.arange(0, BLOCK_D).to(tl.int64)
    has_word = word < text_tokens
    mask = has_word[:, None] & (lane < width)[None, :]
    peak = tl.full([BLOCK_L], float("-inf"), dtype=tl.float32)
    total = tl.zeros([BLOCK_L], dtype=tl.float32)
    result = tl.zeros([BLOCK_L, BLOCK_D], dtype=tl.float32)
    for span in range(0, spans):
        row = ((batch * heads + head) * spans + span) * text_tokens + word
        span_peak = tl.load(peak_ptr + row, mask=has_word, other=float("-inf"))
        span_total = tl.load(total_ptr + row, mask=has_word, other=0.0)
        part = tl.load(part_ptr + (row[:, None] * width + lane[None, :]), mask=mask, other=0.0)
        new_peak = tl.maximum(peak, span_peak)
        safe_peak = tl.where(new_peak == float("-inf"), 0.0, new_peak)
        decay = tl.exp(peak - safe_peak)
        span_decay = tl.exp(span_peak - safe_peak)
        total = total * decay + span_total * span_decay
        result = result * decay[:, None] + part * span_decay[:, None]
        peak = new_peak
    result = result / tl.where(total > 0, total, 1.0)[:, None]
    target = ((batch * text_tokens + word) * heads + head)[:, None] * width + lane[None, :]
    tl.store(out_ptr + target, result.to(out_ptr.dtype.element_ty), mask=mask)


def _blocks(text_tokens: int, width: int) -> dict[str, int]:
    return {
        "BLOCK_L": max(16, triton.next_power_of_2(text_tokens)),
        "BLOCK_D": max(16, triton.next_power_of_2(width)),
    }


def launch_image_to_text(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    scale: float,
    out: torch.Tensor,
) -> None:
    """Fill ``out`` [B, N, H, d]; the last stride of query, key and value is 1."""
    batch, tokens, heads, width = query.shape
    _image_to_text_kernel[(triton.cdiv(tokens, BLOCK_N), heads, batch)](
        query,
        key,
        value,
        mask,
        out,
        scale,
        tokens,
        key.shape[1],
        heads,
        width,
        *query.stride()[:3],
        *key.stride()[:3],
        *value.stride()[:3],
        *mask.stride(),
        UPCAST=interpreting(),
        BLOCK_N=BLOCK_N,
        **_blocks(key.shape[1], width),
        num_warps=4,
        num_stages=1,
        enable_fp_fusion=True,
    )


def launch_text_to_image(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
    workspace: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    out: torch.Tensor,
) -> None:
    """Fill ``out`` [B, L, H, d]; workspace: peak, total [B, H, spans, L], part [..., L, d]."""
    batch, words, heads, width = query.shape
    tokens = key.shape[1]
    spans = triton.cdiv(tokens, SPAN)
    blocks = _blocks(words, width)
    mask_arg = query if mask is None else mask
    mask_strides = (0, 0) if mask is None else mask.stride()
    _text_to_image_kernel[(spans, heads, batch)](
        query,
        key,
        value,
        mask_arg,
        *workspace,
        scale,
        tokens,
        words,
        heads,
        width,
        spans,
        *query.stride()[:3],
        *key.stride()[:3],
        *value.stride()[:3],
        *mask_strides,
        HAS_MASK=mask is not None,
        SPAN=SPAN,
        UPCAST=interpreting(),
        BLOCK_N=HIP_TEXT_BLOCK_N if on_hip() else BLOCK_N,
        **blocks,
        num_warps=4,
        num_stages=2,
        enable_fp_fusion=True,
    )
    _merge_spans_kernel[(heads, batch)](
        *workspace,
        out,
        words,
        heads,
        width,
        spans,
        **blocks,
        num_warps=4,
        num_stages=1,
        enable_fp_fusion=True,
    )
