"""What is added to masks of enhanced structures: bright voxels just outside their surface."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from textseg3d.inference.masks import Box, PackedMask


@dataclass(frozen=True)
class EnhancedRim:
    """Voxels beside enhanced structures that are too bright for the soft tissue around.

    The other half of a soft rim: where contrast medium makes a border with soft tissue visible, it
    lies half-way up the edge, also where the network of 3 mm drew it too far inside. Structures
    that are not enhanced keep their masks.

    Attributes:
        concepts: canonical names; the rule is for the mask of each.
        within_mm: from the centre of the nearest voxel of the mask.
        beside_hu: the usual density of what lies around (soft tissue: 50). Voxels that are nearer
            to the median of the mask than to it are added.
        enhanced_hu: a mask whose median is below this is not enhanced.
        above_hu: voxels that are brighter than the median by more (bone, metal) are not added.
    """

    concepts: tuple[str, ...]
    within_mm: float
    beside_hu: float
    enhanced_hu: float
    above_hu: float


def with_enhanced_rim(
    mask: PackedMask,
    spacing_mm: tuple[float, float, float],
    image: NDArray[np.number],
    rim: EnhancedRim,
) -> PackedMask:
    """The mask with the bright voxels near its surface.

    Args:
        mask: on the scan's grid.
        spacing_mm: (z, y, x).
        image: [D, H, W], in HU.
        rim: how near, how bright.
    """
    reach = [int((rim.within_mm + 1e-6) // mm) for mm in spacing_mm]
    if not mask.bits.size or not any(reach):
        return mask
    median = float(np.median(image[mask.box][mask.crop()]))
    if median < rim.enhanced_hu:
        return mask
    box = _larger(mask, reach)
    inside, values = mask.content(box), image[box]
    bright = (values > (median + rim.beside_hu) / 2) & (values < median + rim.above_hu)
    at = np.flatnonzero(bright & _around(inside, reach) & ~inside)
    padded = np.pad(inside, [(r, r) for r in reach])
    places = [i + r for i, r in zip(np.unravel_index(at, inside.shape), reach)]
    here = np.ravel_multi_index(places, padded.shape)
    strides = [padded.shape[1] * padded.shape[2], padded.shape[2], 1]
    flat, added = padded.reshape(-1), np.zeros(len(at), bool)
    for step in product(*(range(-r, r + 1) for r in reach)):
        if sum((s * mm) ** 2 for s, mm in zip(step, spacing_mm)) <= (rim.within_mm + 1e-6) ** 2:
            added |= flat[here + int(np.dot(step, strides))]
    if not added.any():
        return mask
    inside.reshape(-1)[at[added]] = True
    return PackedMask.pack(mask.shape, box, inside)


def _larger(mask: PackedMask, reach: list[int]) -> Box:
    """The mask's box, larger by ``reach`` voxels; along x by whole bytes, which packing likes."""
    reach = [reach[0], reach[1], -(-reach[2] // 8) * 8]
    z, y, x = (
        slice(max(0, b.start - r), min(size, b.stop + r))
        for b, r, size in zip(mask.box, reach, mask.shape)
    )
    return z, y, x


def _around(mask: NDArray[np.bool_], reach: list[int]) -> NDArray[np.bool_]:
    """Voxels [D, H, W] within ``reach`` of the mask along each axis (a box, not a ball)."""
    near = mask
    for axis, r in enumerate(reach):
        grown = near.copy()
        for step in range(1, r + 1):
            low, high = [slice(None)] * 3, [slice(None)] * 3
            low[axis], high[axis] = slice(None, -step), slice(step, None)
            grown[tuple(low)] |= near[tuple(high)]
            grown[tuple(high)] |= near[tuple(low)]
        near = grown
    return near
