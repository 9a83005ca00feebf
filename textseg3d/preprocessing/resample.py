"""Resampling along each axis by a small matrix: exact, separable, fast on CPU and GPU alike.

A linear 1-D resampler is a matrix [n_out, n_in]; applying one per axis is three matrix
products. The voxel convention is that of ``align_corners=False`` and skimage ``resize``: both
grids cover the same extent, so output centre i sits at (i + 0.5)·n_in/n_out − 0.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


def target_shape(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    new_spacing_mm: tuple[float, float, float],
) -> tuple[int, int, int]:
    """Voxels (z, y, x) that cover the same extent at the new spacing (at least 1 each)."""
    z, y, x = (
        max(1, round(n * old / new))
        for n, old, new in zip(shape, spacing_mm, new_spacing_mm, strict=True)
    )
    return z, y, x


def resize_operator(n_in: int, n_out: int) -> NDArray[np.float32]:
    """Antialiased linear interpolation from n_in to n_out samples as a matrix [n_out, n_in].

    A triangle of half-width max(1, n_in/n_out) input samples, normalised per row and clamped
    at the ends: when shrinking it averages instead of picking noisy samples (the rule of
    ``torch.nn.functional.interpolate(antialias=True)``), when enlarging it is plain linear.
    """
    scale = n_in / n_out
    width = max(scale, 1.0)
    centre = (np.arange(n_out) + 0.5) * scale - 0.5
    if scale <= 1.0:
        # Enlarging: samples beyond the first and last centre repeat the border.
        centre = centre.clip(0, n_in - 1)
    weights = np.maximum(0.0, 1.0 - np.abs(np.arange(n_in)[None] - centre[:, None]) / width)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def resample(array: NDArray | torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    """Resample [C, D, H, W] to [C, *shape] with antialiased linear operators.

    Args:
        array: any real dtype; converted slab-wise, so an int16 scan costs no float copy of
            its full size.
        shape: (z, y, x) of the result.

    Returns:
        float32 tensor on the device of ``array`` (CPU for numpy input).
    """
    import torch

    from textseg3d.preprocessing.banded import along_axis

    source = torch.as_tensor(array)
    device = source.device
    c, d, h, w = source.shape
    along_z, along_y, along_x = (
        resize_operator(n, m) for n, m in zip((d, h, w), shape, strict=True)
    )
    to_z = torch.from_numpy(along_z).to(device)
    result = torch.zeros((c, *shape), dtype=torch.float32, device=device)
    slab = max(1, 2**24 // (h * w))
    for channel in range(c):
        for start in range(0, d, slab):
            block = source[channel, start : start + slab].to(torch.float32).contiguous()
            if w != shape[2]:
                block = along_axis(block, along_x, 2)
            if h != shape[1]:
                block = along_axis(block, along_y, 1)
            weights = to_z[:, start : start + slab]
            rows = torch.nonzero(weights.any(dim=1))[:, 0]
            if len(rows):
                lo, hi = int(rows[0]), int(rows[-1]) + 1
                flat = weights[lo:hi] @ block.flatten(1)
                result[channel, lo:hi] += flat.view(hi - lo, *block.shape[1:])
    return result


def resample_labels(
    labels: NDArray[np.integer], shape: tuple[int, int, int]
) -> NDArray[np.integer]:
    """Nearest-neighbour resampling of a label map [D, H, W] to ``shape``."""
    index = [
        ((np.arange(m) + 0.5) * n / m - 0.5).round().clip(0, n - 1).astype(np.int64)
        for n, m in zip(labels.shape, shape, strict=True)
    ]
    return labels[np.ix_(*index)]
