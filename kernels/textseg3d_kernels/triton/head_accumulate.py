"""Triton kernel K1: prompt head, window weights and accumulation in one pass.

One program owns ``BLOCK_V`` voxels of one plane of the window and loops over the prompts, so the
features are read once for any number of prompts. Every output element is written by exactly one
program: no atomics, and two runs give equal bits.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from textseg3d_kernels.triton._launch import dot, interpreting, on_hip


@triton.jit
def _head_accumulate_kernel(
    features_ptr,  # [D, H, W, C], any strides
    queries_ptr,  # [P, C] contiguous, dtype of the features
    bias_ptr,  # float32 [P]
    weight_z_ptr,  # float32 [D]
    weight_y_ptr,  # float32 [H]
    weight_x_ptr,  # float32 [W]
    slab_ptr,  # [P, Dv, Hv, Wv], any strides
    begin_z,  # first window voxel that lies in the slab
    begin_y,
    begin_x,
    size_y,  # window voxels that lie in the slab
    size_x,
    offset_z,  # slab index of window voxel 0
    offset_y,
    offset_x,
    first_z,  # feature index = first + step * window index (step -1 where mirrored)
    first_y,
    first_x,
    step_z,
    step_y,
    step_x,
    prompts,
    stride_fz,
    stride_fy,
    stride_fx,
    stride_fc,
    stride_sp,
    stride_sz,
    stride_sy,
    stride_sx,
    UPCAST: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_V: tl.constexpr,
):
    cell = tl.program_id(0) * BLOCK_V + tl.arange(0, BLOCK_V)  # in the plane: below 2**31
    inside = cell < size_y * size_x
    z = begin_z + tl.program_id(1).to(tl.int64)
    y = begin_y + (cell // size_x).to(tl.int64)
    x = begin_x + (cell % size_x).to(tl.int64)

    weight = tl.load(weight_z_ptr + z) * tl.load(weight_y_ptr + y, mask=inside, other=0.0)
    weight = weight * tl.load(weight_x_ptr + x, mask=inside, other=0.0)  # [BLOCK_V]

    channel = tl.arange(0, BLOCK_C).to(tl.int64)
    source = (first_z + step_z * z) * stride_fz + (first_y + step_y * y) * stride_fy
    source = source + (first_x + step_x * x) * stride_fx  # [BLOCK_V]
    features = tl.load(
        features_ptr + source[None, :] + channel[:, None] * stride_fc,
        mask=inside[None, :] & (channel < CHANNELS)[:, None],
        other=0.0,
    )  # [BLOCK_C, BLOCK_V]
    target = (z + offset_z) * stride_sz + (y + offset_y) * stride_sy + (x + offset_x) * stride_sx

    for begin_p in range(0, prompts, BLOCK_P):
        prompt = (begin_p + tl.arange(0, BLOCK_P)).to(tl.int64)
        asked = prompt < prompts
        queries = tl.load(
            queries_ptr + prompt[:, None] * CHANNELS + channel[None, :],
            mask=asked[:, None] & (channel < CHANNELS)[None, :],
            other=0.0,
        )  # [BLOCK_P, BLOCK_C]
        bias = tl.load(bias_ptr + prompt, mask=asked, other=0.0)
        logits = dot(queries, features, UPCAST) + bias[:, None]
        address = slab_ptr + prompt[:, None] * stride_sp + target[None, :]
        mask = asked[:, None] & inside[None, :]
        before = tl.load(address, mask=mask, other=0.0).to(tl.float32)
        after = before + logits * weight[None, :]
        tl.store(address, after.to(slab_ptr.dtype.element_ty), mask=mask)


def block_sizes(prompts: int, channels: int) -> dict[str, int]:
    """Block sizes by rule: tuning would run the in-place accumulation several times."""
    block_p = 16 if prompts <= 16 or channels > 64 else 32
    return {
        "BLOCK_C": max(16, triton.next_power_of_2(channels)),
        "BLOCK_P": block_p,
        "BLOCK_V": 128 if on_hip() else 64,
    }


def launch_head_accumulate(
    features: torch.Tensor,
    queries: torch.Tensor,
    bias: torch.Tensor,
    weights: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    slab: torch.Tensor,
    offset: tuple[int, int, int],
    begin: tuple[int, int, int],
    size: tuple[int, int, int],
    flip: tuple[bool, bool, bool],
) -> None:
    """Add one window to the slab in place; ``begin`` and ``size`` are the part that overlaps it."""
    prompts, channels = queries.shape
    blocks = block_sizes(prompts, channels)
    first = [length - 1 if mirrored else 0 for length, mirrored in zip(features.shape, flip)]
    step = [-1 if mirrored else 1 for mirrored in flip]
    grid = (triton.cdiv(size[1] * size[2], blocks["BLOCK_V"]), size[0])
    _head_accumulate_kernel[grid](
        features,
        queries,
        bias,
        *weights,
        slab,
        *begin,
        size[1],
        size[2],
        *offset,
        *first,
        *step,
        prompts,
        *features.stride(),
        *slab.stride(),
        UPCAST=interpreting(),
        CHANNELS=channels,
        **blocks,
        num_warps=4,
        num_stages=2,
        enable_fp_fusion=True,
    )
