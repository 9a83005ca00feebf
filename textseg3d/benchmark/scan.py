"""A scan of any size for timing, made from a real one by enlarging it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import UsageError
from textseg3d.io import read_volume
from textseg3d.preprocessing.resample import resize_operator

Triple = tuple[int, int, int]
AIR_HU = -1024
NOISE_HU = 12.0  # a real scan compresses badly; an interpolated one would not


def enlarge(
    source: Path, target: Path, shape: Triple, spacing_mm: tuple[float, float, float]
) -> Path:
    """Write a scan of ``shape`` (z, y, x) voxels whose content is that of ``source``.

    The source is stretched to fill the slices along its longer in-plane axis and all slices;
    the rest is air. Noise is added (seed 0), so that reading costs what it costs for a scan
    from a scanner. The geometry is nominal: nothing but timing is meant to be done with it.

    Raises:
        UsageError: for a shape below one voxel or a source of several channels.
    """
    import nibabel as nib

    volume = read_volume(source)
    if volume.array.shape[0] != 1 or min(shape) < 1:
        raise UsageError(f"cannot enlarge {source} ({volume.array.shape}) to {shape}")
    values = volume.array[0].astype(np.float32)
    scale = min(n / m for n, m in zip(shape[1:], values.shape[1:]))
    plane_size = [max(1, min(n, round(m * scale))) for n, m in zip(shape[1:], values.shape[1:])]
    size = (shape[0], *plane_size)
    first = [(n - m) // 2 for n, m in zip(shape, size)]
    to_z, to_y, to_x = (resize_operator(n, m) for n, m in zip(values.shape, size))
    in_plane = to_y @ values @ to_x.T
    result = np.full(shape, AIR_HU, np.int16)
    rng = np.random.default_rng(0)
    for z, weights in enumerate(to_z):
        used = np.flatnonzero(weights)
        plane = np.tensordot(weights[used], in_plane[used], axes=1)
        plane += rng.standard_normal(plane.shape, dtype=np.float32) * np.float32(NOISE_HU)
        inside = (slice(first[1], first[1] + size[1]), slice(first[2], first[2] + size[2]))
        result[z][inside] = plane.clip(AIR_HU, 3000).round()
    target.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(_to_ras(result), _affine(spacing_mm)), target)
    return target


def _to_ras(zyx: NDArray[np.int16]) -> NDArray[np.int16]:
    """Canonical [z, y, x] in LPS order as [i, j, k] for an affine along L, P, S."""
    return np.ascontiguousarray(zyx.transpose(2, 1, 0))


def _affine(spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    z, y, x = spacing_mm
    return np.diag([-x, -y, z, 1.0])  # nibabel's world is RAS+
