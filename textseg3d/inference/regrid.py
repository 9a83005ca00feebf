"""From logits on the network's grid to masks and probabilities on the scan's own grid.

Trilinear interpolation, in the voxel convention of ``align_corners=False``, then a threshold
at 0 (a tie is background). An interpolated value is a convex combination of its corners, so
where all eight agree about the threshold the answer is known without looking: only the cells
along surfaces are interpolated. Values are made by separate multiplications and additions, so
that a voxel gets the same bits whatever part of the volume is evaluated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.inference.masks import PackedMask, whole_bytes

Triple = tuple[int, int, int]
Float = np.float32
_CELLS = 2048  # interpolated at once; what they need stays in the cache


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
    shadow: NDArray[np.bool_] = np.any(positive, axis=0)
    hits = [np.flatnonzero(a) for a in (positive.any((1, 2)), shadow.any(1), shadow.any(0))]
    box = [m.touched_by(int(hit[0]), int(hit[-1])) for m, hit in zip(maps, hits)]
    if any(s.start == s.stop for s in box):  # a coarse output can step over every positive sample
        return PackedMask.empty(shape)
    wide = whole_bytes(box[2], shape[2])
    around = box[2].start - wide.start, wide.stop - box[2].stop
    rows = _decided([m.part(s) for m, s in zip(maps, box)], logits, positive, around)
    z, y = box[:2]
    there = slice(z.start + first, z.stop + first), y, wide
    width = wide.stop - wide.start
    if not width % 8:
        return PackedMask(shape, there, rows.ravel())
    return PackedMask.pack(shape, there, np.unpackbits(rows, axis=2, count=width).view(bool))


@dataclass(frozen=True)
class AxisCells:
    """The input cells of one axis, and the output samples in each.

    Attributes:
        low, high: input samples on either side of a cell [n]; a cell with many outputs is there
            several times.
        out: output samples [n, k]; the last one repeats where there are fewer.
        weight: float32 [n, k], share of ``high``.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    out: NDArray[np.int64]
    weight: NDArray[Float]

    @classmethod
    def of(cls, axis_map: AxisMap) -> AxisCells:
        """Cells of an axis that are used at all."""
        _, start, count = np.unique(axis_map.low, return_index=True, return_counts=True)
        most = -(-len(axis_map.low) // len(start))
        times = -(-count // most)
        which = np.repeat(np.arange(len(start)), times)
        again = np.arange(len(which)) - np.repeat(np.cumsum(times) - times, times)
        end = (start + count)[which, None] - 1
        out = np.minimum((start[which] + again * most)[:, None] + np.arange(most), end)
        first = out[:, 0]
        return cls(axis_map.low[first], axis_map.high[first], out, axis_map.weight[out])


@dataclass(frozen=True)
class _Bytes:
    """The bytes of a packed row into which the output samples of each cell along x go.

    Attributes:
        first: of each cell [n].
        bits: uint8 [k, bytes, n], the bit of each output sample in the first byte and the next.
        apart: cells so many apart have no byte in common.
    """

    first: NDArray[np.int64]
    bits: NDArray[np.uint8]
    apart: int

    @classmethod
    def of(cls, cells: AxisCells) -> _Bytes:
        """Of output samples ``cells.out``."""
        first = cells.out[:, 0] // 8
        byte = cells.out // 8 - first[:, None]
        count = int(byte.max()) + 1
        bit = np.uint8(128) >> (cells.out % 8).astype(np.uint8)
        bits = np.where(byte == np.arange(count)[:, None, None], bit, np.uint8(0))
        apart = 1
        while (first[apart:] - first[:-apart] < count).any():
            apart += 1
        return cls(first, np.ascontiguousarray(bits.transpose(2, 0, 1)), apart)


def _decided(
    maps: list[AxisMap],
    logits: NDArray[Float],
    positive: NDArray[np.bool_],
    around: tuple[int, int],
) -> NDArray[np.uint8]:
    """Whether each output is positive; interpolates only in cells whose corners disagree.

    ``around`` is how many columns of False there are to be before and after.

    Returns:
        Packed rows, filled up to whole bytes [z, y, x / 8].
    """
    first = [int(m.low[0]) for m in maps]
    part = tuple(slice(f, int(m.high[-1]) + 1) for f, m in zip(first, maps))
    maps = [AxisMap(m.low - f, m.high - f, m.weight) for f, m in zip(first, maps)]
    every, some = positive[part].copy(), positive[part].copy()
    for axis in range(3):  # the last sample has no other corner than itself
        low, high = ((slice(None),) * axis + (s,) for s in (slice(-1), slice(1, None)))
        every[low] &= every[high]
        some[low] |= some[high]
    rows = _along_rows(every, maps[2].low, around)
    for axis in (1, 0):
        rows = rows.take(maps[axis].low, axis)
    cells = [AxisCells.of(m) for m in maps]
    columns = _Bytes.of(replace(cells[2], out=cells[2].out + around[0]))
    tables = [(np.ascontiguousarray(c.out.T), np.ascontiguousarray(c.weight.T)) for c in cells]
    some ^= every
    mixed = some
    for axis, c in enumerate(cells):
        if np.array_equal(c.low, np.arange(len(c.low))):  # as a rule; a view
            mixed = mixed[(slice(None),) * axis + (slice(len(c.low)),)]
        else:
            mixed = mixed.take(c.low, axis)
    values = np.ascontiguousarray(logits[part])
    for turn in range(columns.apart):
        own = mixed[:, :, turn :: columns.apart]
        at_z, at_y, at_x = np.unravel_index(np.flatnonzero(own), own.shape)
        at_x = at_x * columns.apart + turn
        for begin in range(0, len(at_z), _CELLS):
            chosen = [w[begin : begin + _CELLS] for w in (at_z, at_y, at_x)]
            found = _interpolate(cells, tables, chosen, values)
            _enter(columns, tables, chosen, found, rows)
    return rows


def _along_rows(
    voxels: NDArray[np.bool_], low: NDArray[np.int64], around: tuple[int, int]
) -> NDArray[np.uint8]:
    """Samples ``low`` of each row with False around them, packed, [z, y, x / 8]."""
    lines = voxels.reshape(-1, voxels.shape[2])
    some = np.flatnonzero(lines.any(axis=1))  # of most masks a third
    wide = np.zeros((len(some), around[0] + len(low) + around[1]), bool)
    wide[:, around[0] : around[0] + len(low)] = lines[some].take(low, 1)
    rows = np.zeros((len(lines), -(-wide.shape[1] // 8)), np.uint8)
    rows[some] = np.packbits(wide, axis=1)
    return rows.reshape(*voxels.shape[:2], -1)


def _interpolate(
    cells: list[AxisCells],
    tables: list[tuple[NDArray[Any], NDArray[Float]]],
    chosen: list[NDArray[np.int64]],
    values: NDArray[Float],
) -> NDArray[np.bool_]:
    """Whether the outputs of some cells are positive, [k, k, k, cells].

    Multiplications and additions are those of :func:`_planes`. ``tables`` are outputs and weights
    of the cells with the cells last.
    """
    z, y, x = cells
    a, b, c = chosen
    _, height, width = values.shape
    flat = values.ravel()
    weight_z, weight_y, weight_x = (t.take(i, 1) for (_, t), i in zip(tables, chosen))
    other_z, other_y, other_x = Float(1) - weight_z, Float(1) - weight_y, Float(1) - weight_x
    lines = np.empty((2, 2, *weight_x.shape), Float)
    share = np.empty(weight_x.shape, Float)
    for i, at_z in enumerate((z.low[a], z.high[a])):
        for j, at_y in enumerate((y.low[b], y.high[b])):
            base = (at_z * height + at_y) * width
            np.multiply(flat.take(base + x.low[c]), other_x, out=lines[i, j])
            np.multiply(flat.take(base + x.high[c]), weight_x, out=share)
            lines[i, j] += share
    planes = lines[:, 0, None] * other_y[:, None]
    planes += lines[:, 1, None] * weight_y[:, None]
    result = planes[0] * other_z[:, None, None]
    result += planes[1] * weight_z[:, None, None]
    found: NDArray[np.bool_] = result > 0
    return found


def _enter(
    columns: _Bytes,
    tables: list[tuple[NDArray[Any], NDArray[Float]]],
    chosen: list[NDArray[np.int64]],
    found: NDArray[np.bool_],
    rows: NDArray[np.uint8],
) -> None:
    """Set the bits of positive outputs of some cells, no two of which share a byte."""
    _, height, width = rows.shape
    flat = rows.reshape(-1)
    out_z, out_y = (t.take(i, 1) for (t, _), i in zip(tables[:2], chosen))
    at = ((out_z * height)[:, None] + out_y) * width + columns.first.take(chosen[2])
    bits = columns.bits.take(chosen[2], 2)
    positive = found.view(np.uint8)
    for number in range(bits.shape[1]):
        entered = positive[:, :, 0] * bits[0, number]
        for k in range(1, len(bits)):
            entered |= positive[:, :, k] * bits[k, number]
        if not number:
            flat[at] |= entered
            continue
        reaching = np.flatnonzero(bits[:, number].any(axis=0))  # so far along x
        flat[at.take(reaching, 2) + number] |= entered.take(reaching, 2)


def logits_to_probability(logits: NDArray[Float], shape: Triple) -> NDArray[Float]:
    """Sigmoid of the interpolated logits, float32 [D, H, W]."""
    maps = [AxisMap.between(n, m) for n, m in zip(logits.shape, shape)]
    result = np.empty(shape, dtype=Float)
    for index, plane in _planes(logits, maps):
        result[index] = 1 / (1 + np.exp(-plane.clip(-80, 80)))
    return result


def logits_on_grid(logits: NDArray[Float], shape: Triple) -> NDArray[Float]:
    """The interpolated logits themselves, float32 [D, H, W]."""
    maps = [AxisMap.between(n, m) for n, m in zip(logits.shape, shape)]
    result = np.empty(shape, dtype=Float)
    for index, plane in _planes(logits, maps):
        result[index] = plane
    return result


def _planes(logits: NDArray[Float], maps: list[AxisMap]) -> Iterator[tuple[int, NDArray[Float]]]:
    """Interpolated slices [H, W] by index along z.

    The array that is handed out is overwritten by the next one.
    """
    to_z, to_y, to_x = maps
    first_row, end_row = int(to_y.low.min()), int(to_y.high.max()) + 1
    rows_low, rows_high = to_y.low - first_row, to_y.high - first_row
    wx, wy = to_x.weight, to_y.weight[:, None]
    kept: dict[int, NDArray[Float]] = {}

    def in_plane(z: int) -> NDArray[Float]:
        rows = logits[z, first_row:end_row]
        rows = rows[:, to_x.low] * (Float(1) - wx) + rows[:, to_x.high] * wx
        return rows[rows_low] * (Float(1) - wy) + rows[rows_high] * wy

    first = np.empty((len(to_y.low), len(to_x.low)), Float)
    second = np.empty_like(first)
    for index, weight in enumerate(to_z.weight):
        low, high = int(to_z.low[index]), int(to_z.high[index])
        kept = {z: kept[z] if z in kept else in_plane(z) for z in (low, high)}
        np.multiply(kept[low], Float(1) - weight, out=first)
        np.multiply(kept[high], weight, out=second)
        yield index, np.add(first, second, out=first)
