"""Triton kernels K4: instance normalisation, residual and LeakyReLU in channels-last order.

Three launches: partial statistics of fixed chunks of voxels, their merge, and the element-wise
pass. The block sizes of the statistics follow a fixed rule (never tuned), so the order of the
additions and hence every bit of the result depend on the shape only; the element-wise pass is
tuned, which cannot change its result.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from textseg3d_kernels.triton._launch import size_bucket, tuning_configs

TILE = 4096
MAX_CHUNKS = 1024
BLOCK_K = 32


@triton.jit
def _merge(count, mean, m2, other_count, other_mean, other_m2):
    """Chan's merge of two sets' count, mean and sum of squared deviations."""
    total = count + other_count
    share = tl.where(total > 0, other_count / tl.where(total > 0, total, 1.0), 0.0)
    delta = other_mean - mean
    return total, mean + delta * share, m2 + other_m2 + delta * delta * (count * share)


@triton.jit
def _scale(m2, count, weight_ptr, channel, present, epsilon, HAS_WEIGHT: tl.constexpr):
    scale = 1.0 / tl.sqrt(m2 / count + epsilon)
    if HAS_WEIGHT:
        scale = scale * tl.load(weight_ptr + channel, mask=present, other=0.0).to(tl.float32)
    return scale


@triton.jit
def _norm_statistics_kernel(
    x_ptr,  # [B, V, C], channel stride 1
    mean_ptr,  # float32 [B, chunks, C]; [B, C] if SINGLE
    m2_ptr,  # float32 [B, chunks, C]; the final scale [B, C] if SINGLE
    weight_ptr,
    voxels,
    channels,
    chunk_voxels,
    chunks,
    stride_b,
    stride_v,
    epsilon,
    HAS_WEIGHT: tl.constexpr,
    SINGLE: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    chunk = tl.program_id(0).to(tl.int64)
    batch = tl.program_id(1).to(tl.int64)
    channel = (tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)).to(tl.int64)
    present = channel < channels
    begin = chunk * chunk_voxels
    length = tl.minimum(voxels - begin, chunk_voxels).to(tl.int32)
    base_ptr = x_ptr + (batch * stride_b + begin * stride_v)

    count = 0.0
    mean = tl.zeros([BLOCK_C], dtype=tl.float32)
    m2 = tl.zeros([BLOCK_C], dtype=tl.float32)
    for first in range(0, length, BLOCK_V):
        voxel = first + tl.arange(0, BLOCK_V)
        mask = (voxel < length)[:, None] & present[None, :]
        offset = voxel.to(tl.int64)[:, None] * stride_v + channel[None, :]
        tile = tl.load(base_ptr + offset, mask=mask, other=0.0).to(tl.float32)
        tile_count = tl.minimum(length - first, BLOCK_V).to(tl.float32)
        tile_mean = tl.sum(tile, axis=0) / tile_count
        deviation = tl.where(mask, tile - tile_mean[None, :], 0.0)
        tile_m2 = tl.sum(deviation * deviation, axis=0)
        count, mean, m2 = _merge(count, mean, m2, tile_count, tile_mean, tile_m2)

    target = (batch * chunks + chunk) * channels + channel
    if SINGLE:
        m2 = _scale(m2, count, weight_ptr, channel, present, epsilon, HAS_WEIGHT)
    tl.store(mean_ptr + target, mean, mask=present)
    tl.store(m2_ptr + target, m2, mask=present)


@triton.jit
def _norm_merge_kernel(
    part_mean_ptr,  # float32 [B, chunks, C]
    part_m2_ptr,  # float32 [B, chunks, C]
    mean_ptr,  # float32 [B, C]
    scale_ptr,  # float32 [B, C]
    weight_ptr,
    voxels,
    channels,
    chunk_voxels,
    chunks,
    epsilon,
    HAS_WEIGHT: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    batch = tl.program_id(0).to(tl.int64)
    channel = (tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)).to(tl.int64)
    present = channel < channels
    count = 0.0
    mean = tl.zeros([BLOCK_C], dtype=tl.float32)
    m2 = tl.zeros([BLOCK_C], dtype=tl.float32)
    for first in range(0, chunks, BLOCK_K):
        chunk = (first + tl.arange(0, BLOCK_K)).to(tl.int64)
        used = chunk < chunks
        mask = used[:, None] & present[None, :]
        source = (batch * chunks + chunk)[:, None] * channels + channel[None, :]
        counts = tl.minimum(voxels - chunk * chunk_voxels, chunk_voxels).to(tl.float32)
        counts = tl.where(used, counts, 0.0)
        means = tl.load(part_mean_ptr + source, mask=mask, other=0.0)
        m2s = tl.load(part_m2_ptr + source, mask=mask, other=0.0)
        tile_count = tl.sum(counts, axis=0)
        tile_mean = tl.sum(means * counts[:, None], axis=0) / tile_count
        deviation = tl.where(mask, means - tile_mean[None, :], 0.0)
        tile_m2 = tl.sum(m2s + deviation * deviation * counts[:, None], axis=0)
        count, mean, m2 = _merge(count, mean, m2, tile_count, tile_mean, tile_m2)
    scale = _scale(m2, count, weight_ptr, channel, present, epsilon, HAS_WEIGHT)
    tl.store(mean_ptr + batch * channels + channel, mean, mask=present)
    tl.store(scale_ptr + batch * channels + channel, scale, mask=present)


@triton.jit(do_not_specialize=["bucket"])
def _norm_apply_kernel(
    x_ptr,  # [B, V, C], channel stride 1
    mean_ptr,  # float32 [B, C]
    scale_ptr,  # float32 [B, C]
    bias_ptr,
    residual_ptr,  # [B, V, C], channel stride 1
    out_ptr,  # [B, V, C], channel stride 1
    voxels,
    channels,
    stride_xb,
    stride_xv,
    stride_rb,
    stride_rv,
    stride_ob,
    stride_ov,
    negative_slope,
    bucket,  # power-of-two class of the voxel count, key of the tuning only
    HAS_BIAS: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_V: tl.constexpr,
):
    voxel = tl.program_id(0).to(tl.int64) * BLOCK_V + tl.arange(0, BLOCK_V)
    batch = tl.program_id(1).to(tl.int64)
    channel = (tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)).to(tl.int64)
    present = channel < channels
    mask = (voxel < voxels)[:, None] & present[None, :]
    mean = tl.load(mean_ptr + batch * channels + channel, mask=present, other=0.0)
    scale = tl.load(scale_ptr + batch * channels + channel, mask=present, other=0.0)
    source = (batch * stride_xb + voxel * stride_xv)[:, None] + channel[None, :]
    value = tl.load(x_ptr + source, mask=mask, other=0.0).to(tl.float32)
    value = (value - mean[None, :]) * scale[None, :]
    if HAS_BIAS:
        bias = tl.load(bias_ptr + channel, mask=present, other=0.0).to(tl.float32)
        value = value + bias[None, :]
    if HAS_RESIDUAL:
        source = (batch * stride_rb + voxel * stride_rv)[:, None] + channel[None, :]
        value = value + tl.load(residual_ptr + source, mask=mask, other=0.0).to(tl.float32)
    value = tl.where(value >= 0, value, value * negative_slope)
    target = (batch * stride_ob + voxel * stride_ov)[:, None] + channel[None, :]
    tl.store(out_ptr + target, value.to(out_ptr.dtype.element_ty), mask=mask)


_tuned_norm_apply = triton.autotune(
    configs=tuning_configs([({"BLOCK_V": 64}, 4), ({"BLOCK_V": 128}, 4), ({"BLOCK_V": 256}, 8)]),
    key=["bucket", "channels", "HAS_RESIDUAL"],
    restore_value=["out_ptr"],  # out may be x itself
    cache_results=True,
)(_norm_apply_kernel)


def channel_block(channels: int) -> int:
    """Channels per program."""
    return min(64, triton.next_power_of_2(channels))


def chunking(voxels: int, channels: int) -> tuple[int, int, int]:
    """Voxels per tile, voxels per chunk and number of chunks; a function of the shape only."""
    block_c = channel_block(channels)
    block_v = TILE // block_c
    limit = max(1, MAX_CHUNKS // triton.cdiv(channels, block_c))
    tiles = triton.cdiv(voxels, block_v)
    chunk_voxels = triton.cdiv(tiles, limit) * block_v
    return block_v, chunk_voxels, triton.cdiv(voxels, chunk_voxels)


def launch_statistics(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    epsilon: float,
    workspace: tuple[torch.Tensor, torch.Tensor],
    mean: torch.Tensor,
    scale: torch.Tensor,
) -> None:
    """Fill ``mean`` and ``scale`` [B, C] of ``x`` [B, V, C]; workspace 2 × [B, chunks, C]."""
    batch, voxels, channels = x.shape
    block_c = channel_block(channels)
    block_v, chunk_voxels, chunks = chunking(voxels, channels)
    blocks = triton.cdiv(channels, block_c)
    single = chunks == 1
    weight_arg = mean if weight is None else weight
    part_mean, part_m2 = (mean, scale) if single else workspace
    _norm_statistics_kernel[(chunks, batch, blocks)](
        x,
        part_mean,
        part_m2,
        weight_arg,
        voxels,
        channels,
        chunk_voxels,
        chunks,
        x.stride(0),
        x.stride(1),
        epsilon,
        HAS_WEIGHT=weight is not None,
        SINGLE=single,
        BLOCK_V=block_v,
        BLOCK_C=block_c,
        num_warps=4,
        num_stages=2,
        enable_fp_fusion=True,
    )
    if single:
        return
    _norm_merge_kernel[(batch, blocks)](
        part_mean,
        part_m2,
        mean,
        scale,
        weight_arg,
        voxels,
        channels,
        chunk_voxels,
        chunks,
        epsilon,
        HAS_WEIGHT=weight is not None,
        BLOCK_K=BLOCK_K,
        BLOCK_C=block_c,
        num_warps=4,
        num_stages=1,
        enable_fp_fusion=True,
    )


def launch_apply(
    x: torch.Tensor,
    mean: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
    negative_slope: float,
    out: torch.Tensor,
) -> None:
    """Normalise ``x`` [B, V, C] into ``out`` (which may be ``x``)."""
    batch, voxels, channels = x.shape
    block_c = channel_block(channels)
    other = x if residual is None else residual

    def grid(meta: dict[str, int]) -> tuple[int, int, int]:
        return triton.cdiv(voxels, meta["BLOCK_V"]), batch, triton.cdiv(channels, block_c)

    _tuned_norm_apply[grid](
        x,
        mean,
        scale,
        mean if bias is None else bias,
        other,
        out,
        voxels,
        channels,
        x.stride(0),
        x.stride(1),
        other.stride(0),
        other.stride(1),
        out.stride(0),
        out.stride(1),
        float(negative_slope),
        size_bucket(voxels),
        HAS_BIAS=bias is not None,
        HAS_RESIDUAL=residual is not None,
        BLOCK_C=block_c,
        enable_fp_fusion=True,
    )
