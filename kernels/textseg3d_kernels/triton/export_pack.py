"""Triton kernel K2: trilinear resampling, threshold and bit-packing in one pass.

One program makes ``BLOCK_B`` bytes (8 voxels along x each) of one output plane of one prompt.
The interpolation is computed without fused multiply-add, in the order z, y, x, exactly as the
reference does: both give the same bits, ties included.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from textseg3d_kernels.triton._launch import size_bucket, tuning_configs

LIMIT = 1.0e30
"""Logits are brought into [-LIMIT, LIMIT]; -inf and NaN become -LIMIT (background)."""


@triton.jit
def _finite(value, LIMIT: tl.constexpr):
    value = tl.where(value > -LIMIT, value, -LIMIT)
    return tl.where(value < LIMIT, value, LIMIT)


@triton.jit
def _blend_z(
    lower_ptr, upper_ptr, offset, mask, weight_0, weight_1, threshold, LIMIT: tl.constexpr
):
    lower = tl.load(lower_ptr + offset, mask=mask, other=0.0).to(tl.float32) - threshold
    upper = tl.load(upper_ptr + offset, mask=mask, other=0.0).to(tl.float32) - threshold
    return _finite(lower, LIMIT) * weight_0 + _finite(upper, LIMIT) * weight_1


@triton.jit(do_not_specialize=["bucket"])
def _export_pack_kernel(
    logits_ptr,  # [P, d, h, w], any strides
    packed_ptr,  # uint8 [P, D, H, row_bytes] contiguous
    start_z_ptr,  # int32 [D]
    weight_z_ptr,  # float32 [D, 2]
    start_y_ptr,
    weight_y_ptr,
    start_x_ptr,
    weight_x_ptr,
    threshold,
    size_in_z,
    size_in_y,
    size_in_x,
    size_out_z,
    size_out_y,
    size_out_x,
    row_bytes,
    stride_p,
    stride_z,
    stride_y,
    stride_x,
    bucket,  # power-of-two class of the output size, key of the tuning only
    LIMIT: tl.constexpr,
    BLOCK_B: tl.constexpr,
):
    cell = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    byte_inside = cell < size_out_y * row_bytes
    z = tl.program_id(1).to(tl.int64)
    p = tl.program_id(2).to(tl.int64)
    y = (cell // row_bytes).to(tl.int64)
    first_x = (cell % row_bytes) * 8
    lane = tl.arange(0, 8)
    x = (first_x[:, None] + lane[None, :]).to(tl.int64)  # [BLOCK_B, 8]
    inside = byte_inside[:, None] & (x < size_out_x)

    start_z = tl.load(start_z_ptr + z)
    z_0 = tl.minimum(tl.maximum(start_z, 0), size_in_z - 1).to(tl.int64)
    z_1 = tl.minimum(tl.maximum(start_z + 1, 0), size_in_z - 1).to(tl.int64)
    weight_z_0 = tl.load(weight_z_ptr + 2 * z)
    weight_z_1 = tl.load(weight_z_ptr + (2 * z + 1))

    start_y = tl.load(start_y_ptr + y, mask=byte_inside, other=0)
    y_0 = tl.minimum(tl.maximum(start_y, 0), size_in_y - 1).to(tl.int64) * stride_y
    y_1 = tl.minimum(tl.maximum(start_y + 1, 0), size_in_y - 1).to(tl.int64) * stride_y
    weight_y_0 = tl.load(weight_y_ptr + 2 * y, mask=byte_inside, other=0.0)[:, None]
    weight_y_1 = tl.load(weight_y_ptr + (2 * y + 1), mask=byte_inside, other=0.0)[:, None]

    start_x = tl.load(start_x_ptr + x, mask=inside, other=0)
    x_0 = tl.minimum(tl.maximum(start_x, 0), size_in_x - 1).to(tl.int64) * stride_x
    x_1 = tl.minimum(tl.maximum(start_x + 1, 0), size_in_x - 1).to(tl.int64) * stride_x
    weight_x_0 = tl.load(weight_x_ptr + 2 * x, mask=inside, other=0.0)
    weight_x_1 = tl.load(weight_x_ptr + (2 * x + 1), mask=inside, other=0.0)

    lower_ptr = logits_ptr + (p * stride_p + z_0 * stride_z)
    upper_ptr = logits_ptr + (p * stride_p + z_1 * stride_z)
    at_00 = _blend_z(
        lower_ptr, upper_ptr, y_0[:, None] + x_0, inside, weight_z_0, weight_z_1, threshold, LIMIT
    )
    at_10 = _blend_z(
        lower_ptr, upper_ptr, y_1[:, None] + x_0, inside, weight_z_0, weight_z_1, threshold, LIMIT
    )
    left = at_00 * weight_y_0 + at_10 * weight_y_1
    at_01 = _blend_z(
        lower_ptr, upper_ptr, y_0[:, None] + x_1, inside, weight_z_0, weight_z_1, threshold, LIMIT
    )
    at_11 = _blend_z(
        lower_ptr, upper_ptr, y_1[:, None] + x_1, inside, weight_z_0, weight_z_1, threshold, LIMIT
    )
    right = at_01 * weight_y_0 + at_11 * weight_y_1
    value = left * weight_x_0 + right * weight_x_1

    bits = ((value > 0.0) & inside).to(tl.int32) << (7 - lane)[None, :]
    packed = tl.sum(bits, axis=1).to(tl.uint8)
    target = (p * size_out_z + z) * size_out_y * row_bytes + cell
    tl.store(packed_ptr + target, packed, mask=byte_inside)


_tuned_export_pack = triton.autotune(
    configs=tuning_configs([({"BLOCK_B": 64}, 4), ({"BLOCK_B": 32}, 4), ({"BLOCK_B": 128}, 8)]),
    key=["bucket"],
    cache_results=True,
)(_export_pack_kernel)


def launch_export_pack(
    logits: torch.Tensor,
    starts: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    weights: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    size_out: tuple[int, int, int],
    threshold: float,
    packed: torch.Tensor,
) -> None:
    """Fill ``packed``; ``weights`` are [size, 2] for each axis (z, y, x)."""
    prompts = logits.shape[0]
    row_bytes = packed.shape[3]
    plane_bytes = size_out[1] * row_bytes

    def grid(meta: dict[str, int]) -> tuple[int, int, int]:
        return triton.cdiv(plane_bytes, meta["BLOCK_B"]), size_out[0], prompts

    _tuned_export_pack[grid](
        logits,
        packed,
        starts[0],
        weights[0],
        starts[1],
        weights[1],
        starts[2],
        weights[2],
        float(threshold),
        *logits.shape[1:],
        *size_out,
        row_bytes,
        *logits.stride(),
        size_bucket(packed.numel()),
        LIMIT=LIMIT,
        enable_fp_fusion=False,
    )
