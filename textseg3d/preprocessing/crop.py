"""The box of a scan that is not zero, as nnU-Net crops it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

OUTSIDE_LABEL = -1  # nnU-Net's mark in label maps for zeros around a scan


def nonzero_box(image: NDArray[Any]) -> tuple[slice, slice, slice]:
    """The smallest box [D, H, W] that holds every voxel with a channel other than 0.

    Args:
        image: [C, D, H, W]. A scan of zeros alone keeps its whole box.
    """
    nonzero = (image != 0).any(axis=0)
    bounds = []
    for axis in range(3):
        hit = np.flatnonzero(nonzero.any(axis=tuple(a for a in range(3) if a != axis)))
        bounds.append(slice(int(hit[0]), int(hit[-1]) + 1) if len(hit) else slice(None))
    z, y, x = (slice(*b.indices(n)[:2]) for b, n in zip(bounds, nonzero.shape, strict=True))
    return z, y, x


def crop_to_nonzero(
    image: NDArray[Any], labels: NDArray[np.int16]
) -> tuple[NDArray[Any], NDArray[np.int16], tuple[slice, slice, slice]]:
    """Crop a scan and its labels to the non-zero box.

    Zeros of all channels that are joined to the border of the box are "outside": they get
    `OUTSIDE_LABEL` where the label is background. Enclosed zeros (air in a phantom) are inside.

    Args:
        image: [C, D, H, W].
        labels: [D, H, W].

    Returns:
        a view of the image, a copy of the labels, and the box.
    """
    from scipy.ndimage import binary_fill_holes

    box = nonzero_box(image)
    cropped, kept = image[(slice(None), *box)], labels[box].copy()
    inside = (cropped != 0).any(axis=0)
    if not inside.all():
        inside = binary_fill_holes(inside)
        kept[(kept == 0) & ~inside] = OUTSIDE_LABEL
    return cropped, kept, box
