"""PyTorch implementation of K6 (see ``ops/window_gather.py``)."""

from __future__ import annotations

import torch


def window_gather(
    volume: torch.Tensor,
    starts: torch.Tensor,
    size: tuple[int, int, int],
    *,
    fill: float = 0.0,
    channels_out: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Same contract as :func:`textseg3d_kernels.ops.window_gather.window_gather`."""
    channels = volume.shape[0]
    channels_out = channels if channels_out is None else channels_out
    shape = (starts.shape[0], *size, channels_out)
    windows = torch.full(shape, fill, dtype=dtype, device=volume.device)
    windows[..., channels:] = 0
    for window, start in zip(windows, starts.tolist()):
        begin = [max(0, first) for first in start]
        end = [min(limit, first + n) for limit, first, n in zip(volume.shape[1:], start, size)]
        if any(stop <= first for first, stop in zip(begin, end)):
            continue
        source = tuple(slice(first, stop) for first, stop in zip(begin, end))
        target = tuple(
            slice(first - origin, stop - origin) for first, stop, origin in zip(begin, end, start)
        )
        window[target][..., :channels] = volume[(slice(None), *source)].permute(1, 2, 3, 0)
    return windows
