"""Small analytic masks, and label files of them."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np


def sphere(shape, centre, radius_mm, spacing_mm=(1.0, 1.0, 1.0)):
    """bool [D, H, W]; centre in voxels (z, y, x)."""
    grids = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    squared = sum(((g - c) * s) ** 2 for g, c, s in zip(grids, centre, spacing_mm))
    return squared <= radius_mm**2


def box(shape, corner, size):
    """bool [D, H, W] with one cuboid."""
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(c, c + s) for c, s in zip(corner, size))] = True
    return mask


def save_zyx(path: Path, array_zyx, spacing_mm=(1.0, 1.0, 1.0), dtype=np.uint8):
    """Write [D, H, W] as an LPS NIfTI file with the given (z, y, x) spacing."""
    affine = np.diag([-spacing_mm[2], -spacing_mm[1], spacing_mm[0], 1.0])
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array_zyx.transpose(2, 1, 0).astype(dtype), affine), path)
    return path
