"""From logits on the network's grid to masks and probabilities on the scan's own grid.

Trilinear interpolation, in the voxel convention of ``align_corners=False``, then a threshold
at 0 (a tie is background). An interpolated value is a convex combination of its corners, so it
can only be positive next to a positive corner: everything else is False without looking.
Values are made one slice at a time by separate multiplications and additions, so that a voxel
gets the same bits whatever part of the volume is evaluated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textseg3d.inference.masks import PackedMask

Triple = tuple[int, int, int]
Float = np.float32


@dataclass(frozen=True)
class AxisMap:
    """Linear interpolation along one axis, from n_in to n_out samples.

    Attributes:
        low, high: input samples on either side of each output sample.
        weight: float32, share of ``high``.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    weight: NDArray[Float]

    @classmethod
    def between(cls, n_in: int, n_out: int) -> AxisMap:
        """Both grids cover the same extent; samples beyond the outer centres repeat them."""
        source = (np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5
        source = source.clip(0, n_in - 1)
        low = np.floor(source).astype(np.int64)
        return cls(low, np.minimum(low + 1, n_in - 1), (source - low).astype(Float))

    def touched_by(self, first: int, last: int) -> slice:
        """Output samples that look at any of the input samples ``first`` to ``last``."""
        hit = np.flatnonzero((self.high >= first) & (self.low <= last))
        return slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(0, 0)

    def part(self, out: slice) -> AxisMap:
        """The map of some output samples only."""
        return AxisMap(self.low[out], self.high[out], self.weight[out])


def logits_to_mask(logits: NDArray[Float], shape: Triple) -> PackedMask:
    """Threshold the interpolated logits at 0.

    Args:
        logits: float32 [d, h, w], finite, over the same extent as the scan.
        shape: (D, H, W) of the scan.
    """
    maps = [AxisMap.between(n, m) for n, m in zip(logits.shape, shape)]
    return mask_of_planes(logits, maps, 0, shape)


def mask_of_planes(
    logits: NDArray[Float], maps: list[AxisMap], first: int, shape: Triple
) -> PackedMask:
    """The part of a mask that some planes of the logits decide.

    Args:
        logits: float32 [d, h, w], finite.
        maps: from the scan's slices ``first`` and following, rows and columns to ``logits``.
        first: slice of the scan that the first map starts with.
        shape: (D, H, W) of the scan.
    """
    positive = logits > 0
    if not positive.any():
        return PackedMask.empty(shape)
    box = []
    for axis, axis_map in enumerate(maps):
        hit = np.flatnonzero(positive.any(axis=tuple(a for a in range(3) if a != axis)))
        box.append(axis_map.touched_by(int(hit[0]), int(hit[-1])))
    if any(s.start == s.stop for s in box):  # a coarse output can step over every positive sample
        return PackedMask.empty(shape)
    z, y, x = box
    crop = np.zeros([s.stop - s.start for s in box], dtype=bool)
    for index, plane in _planes(logits, [m.part(s) for m, s in zip(maps, box)], skip=True):
        np.greater(plane, 0, out=crop[index])
    return PackedMask.pack(shape, (slice(z.start + first, z.stop + first), y, x), crop)


def logits_to_probability(logits: NDArray[Float], shape: Triple) -> NDArray[Float]:
    """Sigmoid of the interpolated logits, float32 [D, H, W]."""
    maps = [AxisMap.between(n, m) for n, m in zip(logits.shape, shape)]
    result = np.empty(shape, dtype=Float)
    for index, plane in _planes(logits, maps, skip=False):
        result[index] = 1 / (1 + np.exp(-plane.clip(-80, 80)))
    return result


def _planes(
    logits: NDArray[Float], maps: list[AxisMap], *, skip: bool
) -> Iterator[tuple[int, NDArray[Float]]]:
    """Interpolated slices [H, W] by index along z; with ``skip``, those that can be positive.

    The array that is handed out is overwritten by the next one.
    """
    to_z, to_y, to_x = maps
    first_row, end_row = int(to_y.low.min()), int(to_y.high.max()) + 1
    rows_low, rows_high = to_y.low - first_row, to_y.high - first_row
    wx, wy = to_x.weight, to_y.weight[:, None]
    relevant = np.any(logits > 0, axis=(1, 2)) if skip else np.ones(len(logits), dtype=bool)
    kept: dict[int, NDArray[Float]] = {}

    def in_plane(z: int) -> NDArray[Float]:
        rows = logits[z, first_row:end_row]
        rows = rows[:, to_x.low] * (Float(1) - wx) + rows[:, to_x.high] * wx
        return rows[rows_low] * (Float(1) - wy) + rows[rows_high] * wy

    first = np.empty((len(to_y.low), len(to_x.low)), Float)
    second = np.empty_like(first)
    for index, weight in enumerate(to_z.weight):
        low, high = int(to_z.low[index]), int(to_z.high[index])
        if not (relevant[low] or relevant[high]):
            continue
        kept = {z: kept[z] if z in kept else in_plane(z) for z in (low, high)}
        np.multiply(kept[low], Float(1) - weight, out=first)
        np.multiply(kept[high], weight, out=second)
        yield index, np.add(first, second, out=first)
