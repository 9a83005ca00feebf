"""K6: batch of windows cut from a volume, padded and cast, channels-last."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from textseg3d_kernels import dispatch
from textseg3d_kernels.ops import checks
from textseg3d_kernels.reference import window_gather as reference

INPUTS = (torch.int16, *checks.FLOATS)
MAX_CHANNELS = 16
MAX_GRID = 65535


def window_gather(
    volume: torch.Tensor,
    starts: torch.Tensor,
    size: Sequence[int],
    *,
    fill: float = 0.0,
    channels_out: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Cut windows out of a volume in one launch.

    ::

        out[b, z, y, x, c] = volume[c, starts[b] + (z, y, x)] inside the volume, ``fill`` outside,
                             0 for C ≤ c < channels_out

    A window may lie partly or entirely outside. No arithmetic: equal to the reference bit by bit.

    Cost per output value: 2 bytes read and 2 written (bf16), no FLOPs. Separate crop, pad, cast
    and layout passes move about 16.

    Source of the method: direct indexing; windows are never materialised padded.

    Args:
        volume: int16, float32, fp16 or bf16 [C, Dv, Hv, Wv], any strides, C ≤ 16.
        starts: integer [B, 3], volume index (z, y, x) of the first voxel of each window.
        size: window size (D, H, W) in voxels.
        fill: value outside the volume.
        channels_out: channels of the result; None means C.
        dtype: float32, fp16 or bf16.

    Returns:
        ``dtype`` [B, D, H, W, channels_out], contiguous; ``permute(0, 4, 1, 2, 3)`` is a
        channels_last_3d network input.

    Raises:
        ValueError: for shapes that do not fit.
        TypeError: for dtypes outside those named.
    """
    checks.dtype("volume", volume, INPUTS)
    checks.dimensions("volume", volume, "CDHW")
    checks.dtype("starts", starts, (torch.int32, torch.int64))
    checks.shape("starts", starts, (starts.shape[0], 3))
    if dtype not in checks.FLOATS:
        raise TypeError(f"dtype {dtype} is not supported; use float32, float16 or bfloat16")
    extent = tuple(int(length) for length in size)
    if len(extent) != 3 or min(extent) < 0:
        raise ValueError(f"size {tuple(size)}: need three non-negative numbers (z, y, x)")
    channels = volume.shape[0]
    channels_out = channels if channels_out is None else int(channels_out)
    if not 1 <= channels <= channels_out <= MAX_CHANNELS:
        raise ValueError(
            f"{channels} channels in, {channels_out} out: need 1 <= in <= out <= {MAX_CHANNELS}"
        )
    if dispatch.selected(volume) == "reference":
        return reference.window_gather(
            volume, starts, extent, fill=fill, channels_out=channels_out, dtype=dtype
        )
    if starts.shape[0] > MAX_GRID or extent[0] > MAX_GRID:
        raise ValueError(f"{starts.shape[0]} windows of {extent}: at most {MAX_GRID} of each")
    windows = torch.empty(starts.shape[0], *extent, channels_out, dtype=dtype, device=volume.device)
    if windows.numel():
        from textseg3d_kernels.triton.window_gather import launch_window_gather

        with dispatch.device_guard(volume):
            launch_window_gather(
                volume, starts.to(volume.device, torch.int64).contiguous(), fill, windows
            )
    return windows
