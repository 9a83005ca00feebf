"""Triton kernel K3: load, clip, scale, resample, pad, cast and channels-last layout.

One kernel serves two uses: with few taps per axis everything happens in one pass; with long
taps (cubic splines) it runs once per axis with identity tables on the other two, the first pass
loading the raw intensities and the last one padding and casting.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from textseg3d_kernels.triton._launch import size_bucket, tuning_configs


@triton.jit
def _tap_index(start_ptr, row, mask, tap, size):
    start = tl.load(start_ptr + row, mask=mask, other=0)
    return tl.minimum(tl.maximum(start + tap, 0), size - 1).to(tl.int64)


@triton.jit(do_not_specialize=["bucket"])
def _prepare_volume_kernel(
    volume_ptr,  # [C, d, h, w], any strides, int16 or floating
    prepared_ptr,  # [D, H, W, CO], any strides
    start_z_ptr,  # int32 [rows_z]
    weight_z_ptr,  # float32 [rows_z, TAPS_Z]
    start_y_ptr,
    weight_y_ptr,
    start_x_ptr,
    weight_x_ptr,
    low_ptr,  # float32 [C]
    high_ptr,
    mean_ptr,
    inverse_std_ptr,
    fill,
    channels,
    channels_out,
    size_in_z,
    size_in_y,
    size_in_x,
    rows_z,
    rows_y,
    rows_x,
    pad_z,
    pad_y,
    pad_x,
    size_out_y,
    size_out_x,
    stride_vc,
    stride_vz,
    stride_vy,
    stride_vx,
    stride_oz,
    stride_oy,
    stride_ox,
    stride_oc,
    bucket,  # power-of-two class of the output size, key of the tuning only
    NORMALISE: tl.constexpr,
    TAPS_Z: tl.constexpr,
    TAPS_Y: tl.constexpr,
    TAPS_X: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_V: tl.constexpr,
):
    cell = tl.program_id(0) * BLOCK_V + tl.arange(0, BLOCK_V)  # in the plane: below 2**31
    on_plane = cell < size_out_y * size_out_x
    out_z = tl.program_id(1).to(tl.int64)
    out_y = (cell // size_out_x).to(tl.int64)
    out_x = (cell % size_out_x).to(tl.int64)
    z, y, x = out_z - pad_z, out_y - pad_y, out_x - pad_x
    filled = on_plane & (z >= 0) & (z < rows_z) & (y >= 0) & (y < rows_y)
    filled = filled & (x >= 0) & (x < rows_x)
    z_inside = (z >= 0) & (z < rows_z)

    channel = tl.arange(0, BLOCK_C).to(tl.int64)
    present = channel < channels
    mask = filled[:, None] & present[None, :]
    low = tl.load(low_ptr + channel, mask=present, other=0.0)[None, :]
    high = tl.load(high_ptr + channel, mask=present, other=0.0)[None, :]
    mean = tl.load(mean_ptr + channel, mask=present, other=0.0)[None, :]
    inverse_std = tl.load(inverse_std_ptr + channel, mask=present, other=0.0)[None, :]

    total = tl.zeros([BLOCK_V, BLOCK_C], dtype=tl.float32)
    for tap_z in range(TAPS_Z):
        offset_z = _tap_index(start_z_ptr, z, z_inside, tap_z, size_in_z) * stride_vz
        weight_z = tl.load(weight_z_ptr + (z * TAPS_Z + tap_z), mask=z_inside, other=0.0)
        for tap_y in range(TAPS_Y):
            offset_y = _tap_index(start_y_ptr, y, filled, tap_y, size_in_y) * stride_vy
            weight_y = tl.load(weight_y_ptr + (y * TAPS_Y + tap_y), mask=filled, other=0.0)
            for tap_x in range(TAPS_X):
                offset_x = _tap_index(start_x_ptr, x, filled, tap_x, size_in_x) * stride_vx
                weight_x = tl.load(weight_x_ptr + (x * TAPS_X + tap_x), mask=filled, other=0.0)
                source = (offset_z + offset_y + offset_x)[:, None] + channel[None, :] * stride_vc
                value = tl.load(volume_ptr + source, mask=mask, other=0.0).to(tl.float32)
                if NORMALISE:
                    value = tl.minimum(tl.maximum(value, low), high)
                    value = (value - mean) * inverse_std
                total += value * (weight_z * weight_y * weight_x)[:, None]

    result = tl.where(filled[:, None], total, fill)
    result = tl.where(present[None, :], result, 0.0)
    target = out_z * stride_oz + out_y * stride_oy + out_x * stride_ox
    tl.store(
        prepared_ptr + target[:, None] + channel[None, :] * stride_oc,
        result.to(prepared_ptr.dtype.element_ty),
        mask=on_plane[:, None] & (channel < channels_out)[None, :],
    )


_tuned_prepare_volume = triton.autotune(
    configs=tuning_configs([({"BLOCK_V": 128}, 4), ({"BLOCK_V": 256}, 4), ({"BLOCK_V": 512}, 8)]),
    key=["bucket", "TAPS_Z", "TAPS_Y", "TAPS_X", "BLOCK_C"],
    cache_results=True,
)(_prepare_volume_kernel)


def launch_prepare_volume(
    volume: torch.Tensor,
    starts: tuple[torch.Tensor, ...],
    weights: tuple[torch.Tensor, ...],
    normalisation: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor],
    fill: float,
    pad_before: tuple[int, int, int],
    prepared: torch.Tensor,
    *,
    normalise: bool,
) -> None:
    """Run one pass from ``volume`` [C, d, h, w] into ``prepared`` [D, H, W, CO]."""
    channels_out = prepared.shape[3]
    cells = prepared.shape[1] * prepared.shape[2]

    def grid(meta: dict[str, int]) -> tuple[int, int]:
        return triton.cdiv(cells, meta["BLOCK_V"]), prepared.shape[0]

    tables = [table for pair in zip(starts, weights) for table in pair]
    _tuned_prepare_volume[grid](
        volume,
        prepared,
        *tables,
        *normalisation,
        float(fill),
        volume.shape[0],
        channels_out,
        *volume.shape[1:],
        *(start.shape[0] for start in starts),
        *pad_before,
        prepared.shape[1],
        prepared.shape[2],
        *volume.stride(),
        *prepared.stride(),
        size_bucket(prepared.numel()),
        NORMALISE=normalise,
        TAPS_Z=weights[0].shape[1],
        TAPS_Y=weights[1].shape[1],
        TAPS_X=weights[2].shape[1],
        BLOCK_C=triton.next_power_of_2(channels_out),
        enable_fp_fusion=True,
    )
