"""Voxels near the surface of a packed mask, by their values.

Neighbourhoods are looked at eight voxels, a byte, at a time; values only where the surface is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.inference.masks import Box, PackedMask, count_bits

_BYTES = 2**19  # at once; what they need stays in the cache
Rows = NDArray[np.uint8]
Test = Callable[[NDArray[Any]], NDArray[np.bool_]]


def reach_voxels(spacing_mm: tuple[float, float, float], within_mm: float) -> tuple[int, int, int]:
    """How many voxels a distance is at most, along z, y, x."""
    z, y, x = (int((within_mm + 1e-6) // mm) for mm in spacing_mm)
    return z, y, x


def shaved(
    mask: PackedMask,
    spacing_mm: tuple[float, float, float],
    within_mm: float,
    image: NDArray[np.number],
    test: Test,
) -> PackedMask:
    """The mask without voxels that pass a test and have one outside the mask nearby.

    Args:
        mask: on the scan's grid; the scan's edge is no surface.
        spacing_mm: (z, y, x).
        within_mm: distance of voxel centres.
        image: [D, H, W].
        test: of some of its voxels.
    """
    rows, box = _with_surroundings(mask, reach_voxels(spacing_mm, within_mm))
    outside = ~rows
    outside[..., -1] &= _used_bits(box)
    left = rows.copy()
    for part in _parts(rows):
        rim = rows[part] & _near(outside, part, spacing_mm, within_mm)
        at, bits = _passing(image, box, part, rim, test)
        left[part].reshape(-1)[at] &= ~bits
    return _packed(left, box, mask.shape, mask.box)


def grown(
    mask: PackedMask,
    spacing_mm: tuple[float, float, float],
    within_mm: float,
    image: NDArray[np.number],
    test: Test,
) -> PackedMask:
    """The mask with voxels outside that pass a test and have one of the mask nearby.

    Arguments as of :func:`shaved`.
    """
    rows, box = _with_surroundings(mask, reach_voxels(spacing_mm, within_mm))
    more = rows.copy()
    for part in _parts(rows):
        rim = _near(rows, part, spacing_mm, within_mm) & ~rows[part]
        at, bits = _passing(image, box, part, rim, test)
        more[part].reshape(-1)[at] |= bits
    return _packed(more, box, mask.shape, box)


def half_is_below(mask: PackedMask, image: NDArray[np.number], value: float) -> bool:
    """Whether half of the voxels of a mask, or more, are below a value; else the median is not."""
    rows, box = _with_surroundings(mask, (0, 0, 0))
    test = below(image, value)
    found = (_passing(image, box, part, rows[part], test)[1] for part in _parts(rows))
    return 2 * sum(count_bits(bits) for bits in found) >= mask.voxels


def values_in(mask: PackedMask, image: NDArray[np.number]) -> NDArray[np.number]:
    """The values [n] of an image [D, H, W] where a mask is, in raster order."""
    rows, box = _with_surroundings(mask, (0, 0, 0))
    at, values = _values(image, box, 0, rows)
    return values[np.unpackbits(rows.reshape(-1)[at]).view(bool).reshape(-1, 8)]


def below(image: NDArray[np.number], value: float) -> Test:
    """Test of values below one; whole numbers are compared with whole ones, which is faster."""
    limit = math.ceil(value) if image.dtype.kind in "iu" else value
    return lambda values: values < limit


def between(image: NDArray[np.number], low: float, high: float) -> Test:
    """Test of values above one and below another."""
    limit = math.floor(low) if image.dtype.kind in "iu" else low
    less = below(image, high)
    return lambda values: (values > limit) & less(values)


def _with_surroundings(mask: PackedMask, reach: tuple[int, int, int]) -> tuple[Rows, Box]:
    """A mask in a larger box, rows along x filled up to whole bytes [z, y, x / 8]; and the box."""
    wider = (reach[0], reach[1], -(-reach[2] // 8) * 8)
    z, y, x = (
        slice(max(0, s.start - r), min(n, s.stop + r))
        for s, r, n in zip(mask.box, wider, mask.shape)
    )
    box = z, y, x
    if not mask.aligned or x.start % 8:
        return np.packbits(mask.content(box), axis=2), box
    rows = np.zeros((z.stop - z.start, y.stop - y.start, -(-(x.stop - x.start) // 8)), np.uint8)
    rows[_bytes(mask.box, box)] = mask.rows
    return rows, box


def _packed(rows: Rows, box: Box, shape: tuple[int, int, int], inner: Box) -> PackedMask:
    """The part ``inner`` of rows of ``box`` as a mask."""
    if not any(n % 8 for s in (box[2], inner[2]) for n in (s.start, s.stop)):
        return PackedMask(shape, inner, rows[_bytes(inner, box)].ravel())
    crop = np.unpackbits(rows, axis=2, count=box[2].stop - box[2].start).view(bool)
    place = tuple(slice(i.start - b.start, i.stop - b.start) for i, b in zip(inner, box))
    return PackedMask.pack(shape, inner, crop[place])


def _bytes(inner: Box, box: Box) -> Box:
    """Where a box lies in the bytes of another; both begin and end with whole ones along x."""
    z, y, x = (slice(i.start - b.start, i.stop - b.start) for i, b in zip(inner, box))
    return z, y, slice(x.start // 8, x.stop // 8)


def _used_bits(box: Box) -> np.uint8:
    """Those of the last byte of a row that are voxels of the box."""
    return np.uint8(0xFF << -(box[2].stop - box[2].start) % 8 & 0xFF)


def _parts(rows: Rows) -> Iterator[slice]:
    planes = max(1, _BYTES // max(1, rows[0].size))
    return (slice(first, first + planes) for first in range(0, len(rows), planes))


def _passing(
    image: NDArray[np.number], box: Box, part: slice, wanted: Rows, test: Test
) -> tuple[NDArray[np.int64], Rows]:
    """Which of the wanted voxels of some planes of a box pass a test: bytes of ``wanted``, bits."""
    at, values = _values(image, box, part.start, wanted)
    bits = np.packbits(test(values))
    bits &= wanted.reshape(-1)[at]
    return at, bits


def _values(
    image: NDArray[np.number], box: Box, first: int, wanted: Rows
) -> tuple[NDArray[np.int64], NDArray[np.number]]:
    """Bytes of ``wanted`` that are not 0, and the values [n, 8] there; planes of a box from one."""
    at = np.flatnonzero(wanted != 0)
    line, byte = np.divmod(at, wanted.shape[2])
    z, y = np.divmod(np.arange(wanted.shape[0] * wanted.shape[1]), wanted.shape[1])
    z, y = z + (box[0].start + first), y + box[1].start
    _, height, width = image.shape
    if width % 8 or box[2].start % 8 or not image.flags.c_contiguous:
        along = np.minimum((8 * byte + box[2].start)[:, None] + np.arange(8), width - 1)
        return at, image[z[line, None], y[line, None], along]
    starts = ((z * height + y) * width + box[2].start) // 8
    return at, image.reshape(-1, 8).take(starts[line] + byte, 0)


def _near(
    rows: Rows, part: slice, spacing_mm: tuple[float, float, float], within_mm: float
) -> Rows:
    """Voxels of some planes that have one of ``rows`` within a distance."""
    reach = reach_voxels(spacing_mm, within_mm)
    low = max(0, part.start - reach[0])
    wide = rows[low : part.stop + reach[0]]
    depth, height = len(rows[part]), rows.shape[1]
    found = np.zeros((depth, *rows.shape[1:]), np.uint8)
    for x, steps in enumerate(_steps(spacing_mm, within_mm, reach)):
        wide = _wider(wide) if x else wide
        for z, y in steps:
            first = part.start + z - low  # of the planes that come to lie on the first
            begin, end = max(0, -first), min(depth, len(wide) - first)
            top, bottom = max(0, -y), min(height, height - y)
            if begin < end and top < bottom:
                found[begin:end, top:bottom] |= wide[
                    begin + first : end + first, top + y : bottom + y
                ]
    return found


@lru_cache(maxsize=64)
def _steps(
    spacing_mm: tuple[float, float, float], within_mm: float, reach: tuple[int, int, int]
) -> tuple[list[tuple[int, int]], ...]:
    """Steps in voxels along z and y within a distance, by how far one may go along x, too."""
    ranges = [range(-reach[0], reach[0] + 1), range(-reach[1], reach[1] + 1), range(reach[2] + 1)]
    limit = (within_mm + 1e-6) ** 2
    widest = {}
    for z, y, x in product(*ranges):
        if sum((s * mm) ** 2 for s, mm in zip((z, y, x), spacing_mm)) <= limit:
            widest[z, y] = x
    return tuple([step for step, most in widest.items() if most == x] for x in ranges[2])


def _wider(rows: Rows) -> Rows:
    """Rows with the neighbours of each voxel along x."""
    found: Rows = rows | rows >> np.uint8(1)
    found |= rows + rows
    flat, beside = rows.reshape(-1), np.empty_like(rows)
    beside.reshape(-1)[1:] = flat[:-1] * np.uint8(128)
    beside[..., 0] = 0
    found |= beside
    beside.reshape(-1)[:-1] = flat[1:] > 127
    beside[..., -1] = 0
    found |= beside
    return found
