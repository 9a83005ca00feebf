"""Where a finding lies: masks of organs leave out what is wrong in them, or at their edge."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from textseg3d.inference.masks import Box, PackedMask
from textseg3d.inference.runs import Runs

REACH_MM = 6.0
"""A finding may lie this far outside of the mask of what it lies in."""
AROUND_MM = 6.0
AROUND_SHARE = 1 / 3
INSIDE_SHARE = 0.5
SPECK_SHARE = 0.01
_SLAB_VOXELS = 2**22
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Area:
    """One of several places.

    Attributes:
        names: names whose union it is.
        side: the side of the body's midline to keep of it.
    """

    names: tuple[str, ...]
    side: Literal["left", "right"] | None = None

    def __str__(self) -> str:
        name = " + ".join(self.names)
        return f"{self.side} half of {name}" if self.side else name

    def content(
        self, box: Box, masks: Mapping[str, PackedMask], middle: NDArray[np.float64]
    ) -> Bools:
        """The part of it in a box.

        Args:
            box: part of the scan.
            masks: by name, on the scan.
            middle: x of the body's midline in voxels of the scan, per slice [D].
        """
        found: Bools = np.logical_or.reduce([masks[name].content(box) for name in self.names])
        if self.side is None:
            return found
        return clip_side(found, middle[box[0]] - box[2].start, self.side)

    def mask(self, masks: Mapping[str, PackedMask], middle: NDArray[np.float64]) -> PackedMask:
        """The same on the whole scan."""
        whole = PackedMask.union([masks[name] for name in self.names])
        if self.side is None or not whole.bits.size:
            return whole
        half = self.content(whole.box, masks, middle)
        found = PackedMask.pack(whole.shape, whole.box, half) if half.any() else None
        return found or PackedMask.empty(whole.shape)


def clip_side(mask: Bools, middle: NDArray[np.float64], side: str) -> Bools:
    """The voxels of ``mask`` on one side of x = ``middle`` [D]; those on it belong to none."""
    x = np.arange(mask.shape[2])[None, None, :]
    line = middle[:, None, None]
    return mask & ((x > line) if side == "left" else (x < line))


def half_of(mask: PackedMask, middle: NDArray[np.float64], side: str) -> PackedMask:
    """The same of a packed mask, in its own box; ``middle`` [D] of the whole volume."""
    line = middle[mask.box[0]] - mask.box[2].start
    if not mask.aligned:
        return PackedMask.pack(mask.shape, mask.box, clip_side(mask.crop(), line, side))
    width = mask.box[2].stop - mask.box[2].start
    kept = clip_side(np.ones((len(line), 1, width), bool), line, side)
    return PackedMask(mask.shape, mask.box, (mask.rows & np.packbits(kept, axis=2)).ravel())


def in_place(
    mask: Bools, box: Box, place: PackedMask, spacing_mm: tuple[float, float, float]
) -> Bools:
    """The part of a finding that lies in a place.

    That is what the mask of the place covers, its enclosed holes included. Of an instance that
    belongs there, it is also what is at most :data:`REACH_MM` away from that. An instance belongs
    where half of it lies, or a third of what is around it (6 mm): of a ball that touches the
    border to a neighbour from outside, less than that lies beyond.

    Args:
        mask: of the finding, the content of ``box``.
        box: part of the scan.
        place: on the scan.
        spacing_mm: (z, y, x).
    """
    import cc3d

    place = solid(place)
    inside = mask & place.content(box)
    labels = cc3d.connected_components(mask, connectivity=26)
    boxes = cc3d.statistics(labels)["bounding_boxes"]
    belonging = np.zeros_like(mask)
    for label in range(1, int(labels.max()) + 1):
        part = boxes[label]
        own = labels[part] == label
        covered = inside[part] & own
        if covered.sum() < INSIDE_SHARE * own.sum():
            z, y, x = (slice(p.start + b.start, p.stop + b.start) for p, b in zip(part, box))
            if _share_around(own, (z, y, x), place, spacing_mm) < AROUND_SHARE:
                continue
        belonging[part] |= own & ~covered
    if belonging.any():
        found = reached(PackedMask.pack(place.shape, box, belonging), place, spacing_mm)
        inside |= found.content(box)
    return inside


def _share_around(
    own: Bools, box: Box, place: PackedMask, spacing_mm: tuple[float, float, float]
) -> float:
    """How much of the surroundings of an instance lies in a place."""
    import edt

    halo = [math.floor(AROUND_MM / mm) + 1 for mm in spacing_mm]
    z, y, x = (slice(s.start - h, s.stop + h) for s, h in zip(box, halo))  # may leave the scan
    padded = np.pad(own, [(h, h) for h in halo])
    distance = edt.edt(~padded, anisotropy=spacing_mm, black_border=False, parallel=1)
    around = (distance <= AROUND_MM) & ~padded
    count = int(around.sum())
    return int((around & place.content((z, y, x))).sum()) / count if count else 0.0


def solid(mask: PackedMask) -> PackedMask:
    """A mask in its smallest box, without specks and with the holes that it encloses.

    Specks are pieces below a hundredth of the largest one; they would widen the box. Holes are
    often the very findings that a stage looks for.
    """
    mask = mask.tight()
    if not mask.bits.size:
        return mask
    crop = mask.crop()
    pieces = Runs.of(crop)
    label, count = pieces.components()
    voxels = np.bincount(label, pieces.length, count)
    _paint(crop, pieces[voxels[label] < SPECK_SHARE * voxels.max()], value=False)
    return PackedMask.pack(mask.shape, mask.box, _filled(crop)).tight()


def reached(
    mask: PackedMask, within: PackedMask, spacing_mm: tuple[float, float, float]
) -> PackedMask:
    """The voxels of a mask that are :func:`near` another one, or enclosed by these and that one.

    Args:
        mask, within, spacing_mm: as there.
    """
    found = near(mask, within, spacing_mm)
    if found.voxels == mask.voxels:
        return found
    together = _filled(found.content(mask.box) | within.content(mask.box))
    return PackedMask.pack(mask.shape, mask.box, mask.crop() & together).tight()


def _filled(mask: Bools) -> Bools:
    """A mask with the holes that it encloses."""
    around = np.pad(~mask, 1, constant_values=True)
    gaps = Runs.of(around)
    label, _ = gaps.components()
    _paint(around, gaps[label != label[0]], value=False)  # the first one is outside
    found: Bools = ~around[1:-1, 1:-1, 1:-1]
    return found


def _paint(array: Bools, runs: Runs, *, value: bool) -> None:
    """Set the voxels of some runs."""
    _, height, width = runs.shape
    length = runs.length
    first = (runs.z * height + runs.y) * width + runs.first - (np.cumsum(length) - length)
    array.reshape(-1)[np.repeat(first, length) + np.arange(int(length.sum()))] = value


def near(
    mask: PackedMask,
    within: PackedMask,
    spacing_mm: tuple[float, float, float],
    reach_mm: float = REACH_MM,
) -> PackedMask:
    """The voxels of a mask that are in another one, or at most ``reach_mm`` from it.

    Distances are those of voxel centres. Memory is that of both masks unpacked.

    Args:
        mask: on the scan's grid.
        within: on the same.
        spacing_mm: (z, y, x).
        reach_mm: how far.
    """
    import edt

    if not mask.bits.size:
        return mask
    crop = mask.crop()
    halo = [math.floor(reach_mm / mm) + 1 for mm in spacing_mm]
    z, y, x = (
        slice(max(0, s.start - h), min(n, s.stop + h))
        for s, h, n in zip(mask.box, halo, mask.shape)
    )
    around = within.content((z, y, x))
    core = tuple(slice(s.start - w.start, s.stop - w.start) for s, w in zip(mask.box, (z, y, x)))
    step = max(1, _SLAB_VOXELS // max(1, math.prod(around.shape[1:])))
    for first in range(0, len(crop), step):
        part = crop[first : first + step]
        if not part.any():
            continue
        begin = core[0].start + first
        low = max(0, begin - halo[0])
        inside = around[low : begin + len(part) + halo[0]]
        here = (slice(begin - low, begin - low + len(part)), *core[1:])
        if not inside.any():
            part[:] = False
        elif (part & ~inside[here]).any():
            distance = edt.edt(~inside, anisotropy=spacing_mm, black_border=False, parallel=1)
            part &= distance[here] <= reach_mm * (1 + 1e-6)
    return PackedMask.pack(mask.shape, mask.box, crop).tight()
