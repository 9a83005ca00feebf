"""Which windows run, and how they are weighted where they overlap.

Windows form a product grid (starts along z × y × x), so the Gaussian weights separate: per
axis they are divided by their sum over the windows, and the product of the three is a
partition of unity. No count map and no division are needed afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Triple = tuple[int, int, int]
EXACT_STEP = 0.5
SIGMA_OF_PATCH = 1 / 8  # as nnU-Net
PLANES = 8
"""Planes of one block of work; divides every window of a prompted network (multiples of 32)."""
BLOCK = 8
"""Side of the blocks that windows of a default grid are whole numbers of apart."""
STRIDE = 32
"""Sides of windows are multiples of it: the smallest scale of prompted networks."""
LARGEST = 1.6
"""Voxels of the largest window of a default grid, as a multiple of those trained on."""
_LONGEST = 1.25


@dataclass(frozen=True)
class WindowGrid:
    """A product grid of windows over a volume.

    Attributes:
        starts: first voxel of the windows along z, y, x; negative where the window is padded.
        size: voxels of a window.
        shape: the volume.
        total: windows that the whole volume would take at the finest step without shortcuts.
        skipped: windows of the product that do not run, and why, one line each.
    """

    starts: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    size: Triple
    shape: Triple
    total: int
    skipped: tuple[tuple[Triple, str], ...] = ()

    def __len__(self) -> int:
        return math.prod(len(s) for s in self.starts) - len(self.skipped)

    def __iter__(self) -> Iterator[Triple]:
        """Start of each window that runs, z slowest."""
        left_out = {start for start, _ in self.skipped}
        return (start for start in product(*self.starts) if start not in left_out)

    def without(self, reasons: Mapping[Triple, str]) -> WindowGrid:
        """The grid with some windows left out, by start, each for a reason."""
        return replace(self, skipped=(*self.skipped, *reasons.items()))

    def audit(self) -> list[dict[str, Any]]:
        """Every window of the product: its first voxel (z, y, x), whether it ran, why not."""
        why = dict(self.skipped)
        return [
            {"start": list(s), "run": s not in why, **({"why": why[s]} if s in why else {})}
            for s in product(*self.starts)
        ]

    @property
    def region(self) -> tuple[slice, slice, slice]:
        """Part of the volume that the windows cover."""
        z, y, x = (
            slice(max(0, s[0]), min(n, s[-1] + p))
            for s, p, n in zip(self.starts, self.size, self.shape)
        )
        return z, y, x

    @property
    def aligned(self) -> bool:
        """Whether all windows are whole blocks large and apart."""
        apart = [s - starts[0] for starts in self.starts for s in starts]
        return not any(n % BLOCK for n in (*apart, *self.size))

    def clip(self, start: Triple) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Slices of the volume, and of the window, where window ``start`` lies in the volume."""
        volume, window = [], []
        for s, p, n in zip(start, self.size, self.shape):
            first, last = max(0, s), min(n, s + p)
            volume.append(slice(first, last))
            window.append(slice(first - s, last - s))
        return tuple(volume), tuple(window)


class WindowPolicy(Protocol):
    """Chooses the windows of a volume; an argument of the segmenter."""

    def __call__(
        self, shape: Triple, size: Triple, step: float, box: NDArray[np.float64], exact: bool
    ) -> WindowGrid:
        """Windows for a volume.

        Args:
            shape: voxels of the volume on the network's grid.
            size: voxels of a window.
            step: largest distance of neighbouring windows, as a share of the window.
            box: first and last voxel [3, 2] of the body.
            exact: no shortcut: the finest step over the whole volume.
        """
        ...


def tile_body(
    shape: Triple, size: Triple, step: float, box: NDArray[np.float64], exact: bool
) -> WindowGrid:
    """As little work as the step allows, evenly spread over the body (``exact``: the volume).

    A body a little larger than a window, by up to a quarter along an axis, takes one longer
    window instead of two, four or eight that say nearly the same.
    """
    grid = tile(shape, size, step, box, exact)
    if exact or len(grid) == 1:
        return grid
    longer = (tile(shape, s, step, box, exact) for s in _sizes(size))
    single = [replace(found, total=grid.total) for found in longer if len(found) == 1]
    return min([grid, *single], key=lambda found: len(found) * math.prod(found.size))


def _sizes(size: Triple) -> list[Triple]:
    """Sizes of windows to choose from, the one trained on first."""
    z, y, x = (range(n, int(n * _LONGEST) + 1, STRIDE) for n in size)
    return [s for s in product(z, y, x) if math.prod(s) <= LARGEST * math.prod(size)]


def tile(
    shape: Triple, size: Triple, step: float, box: NDArray[np.float64], exact: bool
) -> WindowGrid:
    """As few windows of one size as the step allows, as :func:`tile_body`.

    Those over the body start whole blocks apart, so that shortcuts can be taken block by block.
    """
    full = [even_starts(0, n - 1, p, EXACT_STEP, n) for n, p in zip(shape, size)]
    total = math.prod(len(s) for s in full)
    if not exact:
        full = [
            aligned_starts(max(0, math.floor(low)), min(n - 1, math.ceil(high)), p, step, n)
            for (low, high), n, p in zip(box, shape, size)
        ]
    return WindowGrid((full[0], full[1], full[2]), size, shape, total)


def even_starts(first: int, last: int, size: int, step: float, n: int) -> tuple[int, ...]:
    """First voxels of windows that cover ``first`` to ``last`` (inclusive) of an axis.

    One window is centred on the range, inside the axis if it fits there; an axis shorter than
    the window is padded evenly. More windows touch both ends of the range exactly.

    Args:
        first, last: range to cover, inside 0..n - 1.
        size: voxels of a window.
        step: largest distance of neighbours, as a share of ``size``.
        n: voxels of the axis.
    """
    if n <= size:
        return ((n - size) // 2,)
    extent = last - first + 1
    if extent <= size:
        centred = first - (size - extent) // 2
        return (min(max(0, centred), n - size),)
    stride = max(1, math.floor(size * step))
    count = math.ceil((extent - size) / stride) + 1
    return tuple(first + round(i * (extent - size) / (count - 1)) for i in range(count))


def aligned_starts(first: int, last: int, size: int, step: float, n: int) -> tuple[int, ...]:
    """As :func:`even_starts`, but whole blocks apart.

    Neighbours are less than a block further apart than the step says, and together the windows
    reach less than a block beyond the range: inside the axis if there is room, else evenly beyond
    both ends of it.
    """
    even = even_starts(first, last, size, step, n)
    if len(even) == 1:
        return even
    extra = last - first + 1 - size
    blocks = math.ceil(extra / BLOCK)
    room = n - size - blocks * BLOCK
    begin = first - (blocks * BLOCK - extra) // 2
    begin = min(max(0, begin), room) if room >= 0 else room // 2
    gaps = len(even) - 1
    return tuple(begin + BLOCK * round(i * blocks / gaps) for i in range(len(even)))


def gaussian(size: int) -> NDArray[np.float64]:
    """Weight of each voxel of a window along one axis, 1 at the centre, σ = size / 8."""
    centre = (size - 1) / 2
    return np.exp(-0.5 * ((np.arange(size) - centre) / (size * SIGMA_OF_PATCH)) ** 2)


def shares(starts: tuple[int, ...], size: int) -> NDArray[np.float32]:
    """Weights [len(starts), size] along one axis that sum to one at every covered voxel."""
    origin, end = starts[0], starts[-1] + size
    weight = gaussian(size)
    total = np.zeros(end - origin)
    for start in starts:
        total[start - origin : start - origin + size] += weight
    return np.stack([weight / total[s - origin : s - origin + size] for s in starts]).astype(
        np.float32
    )
