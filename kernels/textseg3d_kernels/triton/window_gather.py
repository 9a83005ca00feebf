"""Triton kernel K6: crop, pad and cast a batch of windows into channels-last order."""

from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit
def _window_gather_kernel(
    volume_ptr,  # [C, Dv, Hv, Wv], any strides
    starts_ptr,  # int64 [B, 3], volume index of window voxel 0
    windows_ptr,  # [B, D, H, W, CO] contiguous
    fill,
    channels,
    channels_out,
    volume_z,
    volume_y,
    volume_x,
    size_z,
    size_y,
    size_x,
    stride_c,
    stride_z,
    stride_y,
    stride_x,
    BLOCK_C: tl.constexpr,
    BLOCK_V: tl.constexpr,
):
    cell = tl.program_id(0) * BLOCK_V + tl.arange(0, BLOCK_V)  # in the plane: below 2**31
    on_plane = cell < size_y * size_x
    plane = tl.program_id(1).to(tl.int64)
    window = tl.program_id(2).to(tl.int64)
    z = plane + tl.load(starts_ptr + 3 * window)
    y = (cell // size_x).to(tl.int64) + tl.load(starts_ptr + (3 * window + 1))
    x = (cell % size_x).to(tl.int64) + tl.load(starts_ptr + (3 * window + 2))
    inside = on_plane & (z >= 0) & (z < volume_z) & (y >= 0) & (y < volume_y)
    inside = inside & (x >= 0) & (x < volume_x)
    channel = tl.arange(0, BLOCK_C).to(tl.int64)
    present = channel < channels
    source = (z * stride_z + y * stride_y + x * stride_x)[:, None] + channel[None, :] * stride_c
    values = tl.load(volume_ptr + source, mask=inside[:, None] & present[None, :], other=0.0).to(
        tl.float32
    )
    values = tl.where(inside[:, None], values, fill)
    values = tl.where(present[None, :], values, 0.0)
    first = (window * size_z + plane) * size_y * size_x
    target = (first + cell)[:, None] * channels_out + channel[None, :]
    tl.store(
        windows_ptr + target,
        values.to(windows_ptr.dtype.element_ty),
        mask=on_plane[:, None] & (channel < channels_out)[None, :],
    )


def launch_window_gather(
    volume: torch.Tensor, starts: torch.Tensor, fill: float, windows: torch.Tensor
) -> None:
    """Fill ``windows`` [B, D, H, W, CO] from ``volume`` [C, Dv, Hv, Wv]."""
    batch, depth, height, width, channels_out = windows.shape
    block = 256
    grid = (triton.cdiv(height * width, block), depth, batch)
    _window_gather_kernel[grid](
        volume,
        starts,
        windows,
        float(fill),
        volume.shape[0],
        channels_out,
        *volume.shape[1:],
        depth,
        height,
        width,
        *volume.stride(),
        BLOCK_C=triton.next_power_of_2(channels_out),
        BLOCK_V=block,
        num_warps=4,
        num_stages=1,
        enable_fp_fusion=True,
    )
