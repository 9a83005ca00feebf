"""What is added to masks of bright structures: bright voxels just outside their surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textseg3d.inference.masks import PackedMask
from textseg3d.inference.rims import between, grown, reach_voxels, values_in


@dataclass(frozen=True)
class EnhancedRim:
    """Voxels beside enhanced structures or bones that are too bright for the soft tissue around.

    The other half of a soft rim: where contrast medium or mineral makes a border with soft tissue
    visible, it lies half-way up the edge, also where the network of 3 mm drew it too far inside.
    Structures that are not bright keep their masks.

    Attributes:
        concepts: canonical names; the rule is for the mask of each.
        within_mm: from the centre of the nearest voxel of the mask.
        beside_hu: the usual density of what lies around (soft tissue: 50; enhanced: 100). Voxels
            that are nearer to the median of the mask than to it are added.
        enhanced_hu: a mask whose median is below this is not bright.
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
    if not mask.bits.size or not any(reach_voxels(spacing_mm, rim.within_mm)):
        return mask
    median = float(np.median(values_in(mask, image)))
    if median < rim.enhanced_hu:
        return mask
    bright = between(image, (median + rim.beside_hu) / 2, median + rim.above_hu)
    return grown(mask, spacing_mm, rim.within_mm, image, bright)
