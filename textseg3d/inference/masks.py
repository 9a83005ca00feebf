"""Masks on the scan's grid: bit-packed inside their bounding box, unpacked when looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class PackedMask:
    """A bool volume [D, H, W].

    Attributes:
        shape: of the volume.
        box: the part of it that the bits cover; False elsewhere.
        bits: uint8, ``np.packbits`` of the box's voxels.
    """

    shape: tuple[int, int, int]
    box: Box
    bits: NDArray[np.uint8]

    @classmethod
    def pack(cls, shape: tuple[int, int, int], box: Box, crop: NDArray[np.bool_]) -> PackedMask:
        """Pack ``crop``, the content of ``box``."""
        return cls(shape, box, np.packbits(crop))

    @classmethod
    def empty(cls, shape: tuple[int, int, int]) -> PackedMask:
        """A volume without any voxel."""
        nothing = slice(0, 0)
        return cls(shape, (nothing, nothing, nothing), np.zeros(0, np.uint8))

    @classmethod
    def union(cls, masks: Sequence[PackedMask]) -> PackedMask:
        """Voxels of any of ``masks`` (one or more, on one grid)."""
        filled = [m for m in masks if m.bits.size]
        if len(filled) <= 1:
            return filled[0] if filled else masks[0]
        z, y, x = (
            slice(min(m.box[a].start for m in filled), max(m.box[a].stop for m in filled))
            for a in range(3)
        )
        box = z, y, x
        if all(m.aligned for m in filled):
            bits = np.zeros((z.stop - z.start, y.stop - y.start, (x.stop - x.start) // 8), np.uint8)
            for mask in filled:
                bits[_inside(mask.box, box)] |= mask.rows
            return cls(masks[0].shape, box, bits.ravel())
        crop = np.zeros([s.stop - s.start for s in box], dtype=bool)
        for mask in filled:
            inside = tuple(
                slice(s.start - b.start, s.stop - b.start) for s, b in zip(mask.box, box)
            )
            crop[inside] |= mask.crop()
        return cls.pack(masks[0].shape, (box[0], box[1], box[2]), crop)

    @property
    def aligned(self) -> bool:
        """Whether rows of the box are whole bytes of the volume's rows."""
        x = self.box[2]
        return not (x.start % 8 or x.stop % 8)

    @property
    def rows(self) -> NDArray[np.uint8]:
        """The bits of an aligned mask, [z, y, x / 8]."""
        z, y, x = (s.stop - s.start for s in self.box)
        return self.bits.reshape(z, y, x // 8)

    def shared(self, other: PackedMask) -> int:
        """Voxels that both masks have."""
        z, y, x = (
            slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(self.box, other.box)
        )
        if any(s.start >= s.stop for s in (z, y, x)):
            return 0
        if self.aligned and other.aligned:
            mine, theirs = (m.rows[_inside((z, y, x), m.box)] for m in (self, other))
            return count_bits(mine & theirs)
        return int(np.count_nonzero(self.content((z, y, x)) & other.content((z, y, x))))

    def crop(self) -> NDArray[np.bool_]:
        """The content of the box."""
        shape = tuple(s.stop - s.start for s in self.box)
        count = int(np.prod(shape))
        return np.unpackbits(self.bits, count=count).view(bool).reshape(shape)

    def content(self, box: Box) -> NDArray[np.bool_]:
        """The content of any box of the volume, without unpacking all of that."""
        crop = np.zeros([s.stop - s.start for s in box], dtype=bool)
        shared = [(max(m.start, b.start), min(m.stop, b.stop)) for m, b in zip(self.box, box)]
        if self.bits.size and all(low < high for low, high in shared):
            to = tuple(slice(lo - b.start, hi - b.start) for (lo, hi), b in zip(shared, box))
            of = tuple(slice(lo - m.start, hi - m.start) for (lo, hi), m in zip(shared, self.box))
            crop[to] = self.crop()[of]
        return crop

    def tight(self) -> PackedMask:
        """The same mask in the smallest box."""
        crop, box = self.crop(), []
        if not crop.any():
            return PackedMask.empty(self.shape)
        for axis, outer in enumerate(self.box):
            hit = np.flatnonzero(crop.any(axis=tuple(a for a in range(3) if a != axis)))
            box.append(slice(outer.start + int(hit[0]), outer.start + int(hit[-1]) + 1))
        inner = tuple(slice(b.start - o.start, b.stop - o.start) for b, o in zip(box, self.box))
        return PackedMask.pack(self.shape, (box[0], box[1], box[2]), crop[inner])

    def placed(self, shape: tuple[int, int, int], box: Box) -> PackedMask:
        """The same on a larger volume of ``shape``, of which this one is the part ``box``."""
        if not self.bits.size:
            return PackedMask.empty(shape)
        z, y, x = (slice(m.start + b.start, m.stop + b.start) for m, b in zip(self.box, box))
        return PackedMask(shape, (z, y, x), self.bits)

    def array(self) -> NDArray[np.bool_]:
        """The whole volume [D, H, W]."""
        full = np.zeros(self.shape, dtype=bool)
        full[self.box] = self.crop()
        return full

    @property
    def voxels(self) -> int:
        """Number of True voxels."""
        return count_bits(self.bits)


def whole_bytes(x: slice, width: int) -> slice:
    """A range of x widened so that rows are whole bytes, if the volume's width allows it."""
    stop = -(-x.stop // 8) * 8
    return slice(x.start // 8 * 8, stop) if stop <= width else x


def _inside(box: Box, outer: Box) -> Box:
    """Where an aligned box lies in the bytes of another."""
    z, y, x = (slice(b.start - o.start, b.stop - o.start) for b, o in zip(box, outer))
    return z, y, slice(x.start // 8, x.stop // 8)


def count_bits(bits: NDArray[np.uint8], pattern: int = 0xFF) -> int:
    """How many bits are set, of those that ``pattern`` has in every byte."""
    flat = np.ascontiguousarray(bits).reshape(-1)
    if not _HAS_COUNT:
        return int(np.unpackbits(flat & np.uint8(pattern)).sum())
    whole = len(flat) // 8 * 8
    words = flat[:whole].view(np.uint64) & np.uint64(pattern * 0x0101010101010101)
    rest = flat[whole:] & np.uint8(pattern)
    return int(np.bitwise_count(words).sum(dtype=np.int64)) + int(np.bitwise_count(rest).sum())


_HAS_COUNT = hasattr(np, "bitwise_count")
