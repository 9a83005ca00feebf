"""nnU-Net's windows, and their sum, which is handed out plane by plane as soon as it is final."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from textseg3d.inference.windows import EXACT_STEP, SIGMA_OF_PATCH, Triple, WindowGrid

if TYPE_CHECKING:
    import torch

QUICK_STEP = 0.75  # without ``exact``; every voxel is still seen by a window
_PEAK = 10  # of the Gaussian before it is rounded to half precision, as in nnU-Net


def window_grid(shape: Triple, size: Triple, *, exact: bool) -> WindowGrid:
    """Windows over a volume, by nnU-Net's rule for their places.

    Args:
        shape: voxels of the volume; where it is smaller than a window it is padded evenly, the
            odd voxel at the end.
        size: voxels of a window.
        exact: steps of at most half a window, instead of three quarters.
    """
    full = [_starts(n, p, EXACT_STEP) for n, p in zip(shape, size)]
    total = math.prod(len(s) for s in full)
    if not exact:
        full = [_starts(n, p, QUICK_STEP) for n, p in zip(shape, size)]
    return WindowGrid((full[0], full[1], full[2]), size, shape, total)


def _starts(n: int, size: int, step: float) -> tuple[int, ...]:
    if n <= size:
        return (-((size - n) // 2),)
    count = math.ceil((n - size) / (size * step)) + 1
    return tuple(round((n - size) / (count - 1) * i) for i in range(count))


def importance(size: Triple) -> torch.Tensor:
    """nnU-Net's Gaussian weight of each voxel of a window, float32 with half-precision values."""
    import torch
    from scipy.ndimage import gaussian_filter

    impulse = np.zeros(size)
    impulse[tuple(n // 2 for n in size)] = 1
    weight = gaussian_filter(impulse, [n * SIGMA_OF_PATCH for n in size], mode="constant")
    rounded = torch.from_numpy(weight / weight.max() * _PEAK).to(torch.float16).float()
    return rounded.clamp_(min=float(rounded[rounded > 0].min()))


class PlaneSum:
    """Weighted mean of the windows of a grid; only the planes under work are in memory.

    Windows come row by row along the first axis, as the grid lists them.

    Args:
        grid: the windows.
        heads: channels of the logits.
        weight: float32, of each voxel of a window.
    """

    def __init__(self, grid: WindowGrid, heads: int, weight: torch.Tensor) -> None:
        import torch

        self._grid, self._weight = grid, weight
        depth = min(grid.size[0], grid.shape[0])
        plane = grid.shape[1:]
        self._sum = torch.zeros((heads, depth, *plane), device=weight.device)
        self._norm = torch.zeros((depth, *plane), device=weight.device)
        self._first = 0

    def add(self, start: Triple, logits: torch.Tensor) -> None:
        """Add a window's logits [heads, p, p, p]."""
        volume, window = self._grid.clip(start)
        z = slice(volume[0].start - self._first, volume[0].stop - self._first)
        target = (z, *volume[1:])
        weight = self._weight[window]
        self._sum[(slice(None), *target)] += logits[(slice(None), *window)] * weight
        self._norm[target] += weight

    def take(self, next_row: int | None) -> Iterator[torch.Tensor]:
        """Planes [heads, h, w] that no later window touches, each once, in order.

        Args:
            next_row: start of the next row of windows; None after the last.
        """
        done = self._norm.shape[0] if next_row is None else max(0, next_row - self._first)
        for z in range(done):
            yield self._sum[:, z] / self._norm[z]
        if next_row is None:
            return
        kept = self._norm.shape[0] - done
        self._sum[:, :kept] = self._sum[:, done:].clone()
        self._norm[:kept] = self._norm[done:].clone()
        self._sum[:, kept:] = 0
        self._norm[kept:] = 0
        self._first += done
