"""A mask as runs of voxels along x: a hundred times fewer things to count than voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DIRECTIONS = 16
_FINE_DIRECTIONS = 128
# Some direction is at most half a step away from that of the largest distance.
_SLACK = 1 / np.cos(np.pi / (2 * _DIRECTIONS)) + 1e-9

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Runs:
    """Maximal runs of True voxels in raster order, all arrays [N].

    Attributes:
        z, y: row of each run.
        first, last: x of its first and last voxel.
        shape: (D, H, W) of the volume.
    """

    z: NDArray[np.int64]
    y: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    shape: Triple

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> Runs:
        """Runs of a bool volume [D, H, W]."""
        depth, height, width = mask.shape
        return cls.of_bits(np.packbits(mask), (depth, height, width))

    @classmethod
    def of_bits(cls, bits: NDArray[np.uint8], shape: Triple) -> Runs:
        """Runs of a volume of ``shape`` from ``np.packbits`` of its voxels."""
        depth, height, width = shape
        changes: NDArray[np.uint8] = bits >> np.uint8(1)  # each bit against the one before it
        changes[1:] |= bits[:-1] << np.uint8(7)
        changes ^= bits
        byte = np.flatnonzero(changes)
        hit = np.unpackbits(changes[byte]).view(bool)
        edges = ((byte << 3)[:, None] + np.arange(8)).ravel()[hit]
        if len(edges) % 2:  # the last voxel is True, and its bit the last of a byte
            edges = np.append(edges, depth * height * width)
        first, last = edges[0::2], edges[1::2] - 1
        row = first // width
        pieces = last // width - row + 1
        if len(pieces) and pieces.max() > 1:  # from the end of a row into the next ones
            whole, part = _expand(pieces)
            row = row[whole] + part
            first = np.maximum(first[whole], row * width)
            last = np.minimum(last[whole], row * width + width - 1)
        z, y = np.divmod(row, height)
        return cls(z, y, first - row * width, last - row * width, shape)

    def voxels(self) -> NDArray[np.int64]:
        """Where the voxels are in the volume's raster order."""
        _, height, width = self.shape
        which, along = _expand(self.length)
        found: NDArray[np.int64] = ((self.z * height + self.y) * width + self.first)[which] + along
        return found

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, chosen: Any) -> Runs:
        return Runs(
            self.z[chosen], self.y[chosen], self.first[chosen], self.last[chosen], self.shape
        )

    @property
    def length(self) -> NDArray[np.int64]:
        """Voxels of each run."""
        return self.last - self.first + 1

    def components(self) -> tuple[NDArray[np.int64], int]:
        """26-connected components.

        Returns:
            The component of each run [N], numbered from 0 in raster order of first voxels; and
            how many there are.
        """
        each = np.arange(len(self))
        root = each  # the first run that is known to be connected
        pairs = self._neighbours()
        here, there = (np.concatenate(side) for side in zip(*pairs))
        while len(here):
            parent = each.copy()
            parent[np.maximum(here, there)] = np.minimum(here, there)
            while True:  # a parent comes before its children, so this ends
                above = parent[parent]
                if np.array_equal(above, parent):
                    break
                parent = above
            root, here, there = parent[root], parent[here], parent[there]
            apart = here != there
            here, there = here[apart], there[apart]
        first = root == each
        return (np.cumsum(first) - 1)[root], int(np.count_nonzero(first))

    def _neighbours(self) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Pairs of touching runs, the later one first, from the four rows before each row."""
        _, height, width = self.shape
        row = width + 2  # nothing touches beyond the end of a row or a slice
        slab = (height + 1) * row
        line = self.z * slab + self.y * row
        start, stop = line + self.first, line + self.last
        pairs = []
        for back in (row, slab, slab - row, slab + row):
            low = np.searchsorted(stop, start - 1 - back)
            number = np.searchsorted(start, stop + 1 - back, side="right") - low
            here = np.flatnonzero(number > 0)
            low, number = low[here], number[here]
            pairs.append((here, low))
            several = np.flatnonzero(number > 1)
            which, part = _expand(number[several] - 1)
            pairs.append((here[several][which], low[several][which] + part + 1))
        return pairs

    def sums(
        self, component: NDArray[np.int64], count: int, values: NDArray[Any]
    ) -> NDArray[np.float64]:
        """Sums of the voxels of each component.

        Args:
            component: of each run [N].
            count: components.
            values: of all True voxels in raster order.
        """
        kind = np.int64 if values.dtype.kind in "iub" else np.float64
        total = values.sum(dtype=kind)
        if count < 2:
            return np.full(count, total, np.float64)
        length = self.length
        largest = int(np.argmax(np.bincount(component, length, count)))
        small = np.flatnonzero(component != largest)  # the largest is what the others leave
        which, part = _expand(length[small])
        chosen = values[(np.cumsum(length) - length)[small][which] + part]
        sums: NDArray[np.float64] = np.bincount(component[small][which], chosen, count).astype(
            float
        )
        sums[largest] = total - (sums.sum() if kind is np.float64 else int(sums.sum()))
        return sums

    def axial_diameter(self, dy: float, dx: float) -> float:
        """Largest distance of two voxel centres in one slice, in the unit of ``dy`` and ``dx``.

        A slice is looked at closely only if its extent along 16 directions allows for more than
        the best so far (the largest distance is at most half a percent above the largest extent).
        """
        if not len(self):
            return 0.0
        # First and last voxel of each row: all corners of a slice's convex hull are among them.
        new = np.concatenate([[True], (np.diff(self.z) != 0) | (np.diff(self.y) != 0)])
        begin = np.flatnonzero(new)
        end = np.append(begin[1:], len(self)) - 1
        z, y = self.z[begin], (self.y[begin] * dy).astype(np.float64)
        ends = (np.stack([self.first[begin], self.last[end]]) * dx).astype(np.float64)
        slices = np.flatnonzero(np.concatenate([[True], np.diff(z) != 0]))
        stops = np.append(slices[1:], len(z))
        extent = _extents(y, ends, slices)
        best = float(extent.max())  # some pair is at least as far apart
        for i in np.argsort(-extent, kind="stable"):
            if extent[i] * _SLACK <= best:
                break
            part = slice(slices[i], stops[i])
            best = max(best, _largest_distance(y[part], ends[:, part], best))
        return best


def _expand(number: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For counts [N]: the index of each single item, and its place among those of that index."""
    which = np.repeat(np.arange(len(number)), number)
    return which, np.arange(len(which)) - np.repeat(np.cumsum(number) - number, number)


def _extents(
    y: NDArray[np.float64], ends: NDArray[np.float64], slices: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Largest extent of each slice along :data:`_DIRECTIONS`; ``ends`` [2, N] of rows at ``y``."""
    angles = np.arange(_DIRECTIONS) * np.pi / _DIRECTIONS
    across, down = np.cos(angles), np.sin(angles)[:, None] * y
    sides = across[:, None] * ends[0], across[:, None] * ends[1]
    most = np.maximum.reduceat(np.maximum(*sides) + down, slices, axis=1)
    least = np.minimum.reduceat(np.minimum(*sides) + down, slices, axis=1)
    found: NDArray[np.float64] = (most - least).max(axis=0)
    return found


def _largest_distance(y: NDArray[np.float64], ends: NDArray[np.float64], least: float) -> float:
    """Largest distance of two points of a slice, if it is above ``least``; else 0.

    Two points that far apart are that far apart, but for a cosine, along one of many directions
    too, and there each of them lies far enough from the other end of all points.
    """
    points = np.column_stack([np.tile(y, 2), ends.ravel()])
    if len(points) > _FINE_DIRECTIONS:
        angles = np.arange(_FINE_DIRECTIONS) * np.pi / _FINE_DIRECTIONS
        along = points @ np.stack([np.sin(angles), np.cos(angles)])
        far = least * np.cos(np.pi / (2 * _FINE_DIRECTIONS)) * (1 - 1e-9)
        apart = (along >= along.min(axis=0) + far) | (along <= along.max(axis=0) - far)
        points = points[apart.any(axis=1)]
    if len(points) < 2:
        return 0.0
    difference = points[:, None] - points[None]
    return float(np.hypot(difference[..., 0], difference[..., 1]).max())
