"""nnU-Net's windows, and their sum, which is handed out plane by plane as soon as it is final."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from textseg3d.inference.windows import (
    EXACT_STEP,
    SIGMA_OF_PATCH,
    Triple,
    WindowGrid,
    even_starts,
)

if TYPE_CHECKING:
    import torch

_PEAK = 10  # of the Gaussian before it is rounded to half precision, as in nnU-Net


def window_grid(
    shape: Triple,
    size: Triple,
    *,
    exact: bool,
    box: NDArray[np.float64] | None = None,
    step: float = EXACT_STEP,
) -> WindowGrid:
    """Windows over a volume, by nnU-Net's rule for their places.

    Args:
        shape: voxels of the volume; where it is smaller than a window it is padded evenly, the
            odd voxel at the end.
        size: voxels of a window.
        exact: over the whole volume, instead of over ``box`` along the axes where that takes fewer
            windows.
        box: first and last voxel [3, 2] of what is worth looking at; None for all of it.
        step: largest distance of neighbours, as a share of the window.
    """
    full = [_starts(n, p, step) for n, p in zip(shape, size)]
    total = math.prod(len(s) for s in full)
    if not exact and box is not None:
        for axis, ((low, high), n, p) in enumerate(zip(box, shape, size)):
            first, last = max(0, math.floor(low)), min(n - 1, math.ceil(high))
            tiled = even_starts(first, last, p, step, n)
            if len(tiled) < len(full[axis]):
                full[axis] = tiled
    return WindowGrid((full[0], full[1], full[2]), size, shape, total)


def _starts(n: int, size: int, step: float) -> tuple[int, ...]:
    if n <= size:
        return (-((size - n) // 2),)
    count = math.ceil((n - size) / (size * step)) + 1
    return tuple(round((n - size) / (count - 1) * i) for i in range(count))


def importance(size: Triple) -> torch.Tensor:
    """nnU-Net's Gaussian weight of each voxel of a window, float32 with half-precision values."""
    import torch

    weight = np.ones((1, 1, 1))
    for axis, n in enumerate(size):  # a Gaussian filter of an impulse, cut off at four sigma
        sigma = n * SIGMA_OF_PATCH
        reach = int(4.0 * sigma + 0.5)
        bell = np.exp(-0.5 / sigma**2 * np.arange(-reach, reach + 1) ** 2)
        along = np.zeros(n)
        first = n // 2 - reach
        inside = slice(max(0, first), min(n, first + len(bell)))
        along[inside] = (bell / bell.sum())[inside.start - first : inside.stop - first]
        weight = weight * along.reshape([-1 if a == axis else 1 for a in range(3)])
    rounded = torch.from_numpy(weight / weight.max() * _PEAK).to(torch.float16).float()
    return rounded.clamp_(min=float(rounded[rounded > 0].min()))


class PlaneSum:
    """Weighted mean of the windows of a grid; only the planes under work are in memory.

    Windows come row by row along the first axis, as the grid lists them.

    Args:
        grid: the windows.
        channels: of what is added up.
        weight: float32, of each voxel of a window.
    """

    def __init__(self, grid: WindowGrid, channels: int, weight: torch.Tensor) -> None:
        import torch

        self._grid, self._weight = grid, weight
        self._region = grid.region
        self._first = self._region[0].start
        depth = min(grid.size[0], self._region[0].stop - self._first)
        plane = [s.stop - s.start for s in self._region[1:]]
        self._sum = torch.zeros((channels, depth, *plane), device=weight.device)
        self._norm = torch.zeros((depth, *plane), device=weight.device)
        self._given = 0

    def add(self, start: Triple, values: torch.Tensor) -> None:
        """Add what a window says: [channels, p, p, p]."""
        volume, window = self._grid.clip(start)
        z = slice(volume[0].start - self._first, volume[0].stop - self._first)
        across = (
            slice(v.start - r.start, v.stop - r.start) for v, r in zip(volume[1:], self._region[1:])
        )
        target = (z, *across)
        weight = self._weight[window]
        for total, channel in zip(self._sum, values):
            total[target].addcmul_(channel[window].float(), weight)
        self._norm[target] += weight

    def take(self, next_row: int | None) -> Iterator[torch.Tensor]:
        """Planes [channels, h, w] that no later window touches, each once, in order.

        Where no window ran they are 0.

        Args:
            next_row: start of the next row of windows; None after the last, which gives the
                planes to the end of the volume.
        """
        last = self._region[0].stop if next_row is None else max(0, next_row)
        while self._given < last:
            yield self._plane(self._given - self._first)
            self._given += 1
        if next_row is None:
            while self._given < self._grid.shape[0]:
                yield self._plane(-1)
                self._given += 1
            return
        done = max(0, last - self._first)
        kept = self._norm.shape[0] - done
        for total in (*self._sum, self._norm):  # one at a time, which needs no second volume
            total[:kept] = total[done:].clone()
            total[kept:] = 0
        self._first += done

    def _plane(self, z: int) -> torch.Tensor:
        import torch

        full = torch.zeros((len(self._sum), *self._grid.shape[1:]), device=self._sum.device)
        if z >= 0:
            inside = (slice(None), *self._region[1:])
            full[inside] = self._sum[:, z] / self._norm[z]
        return full
