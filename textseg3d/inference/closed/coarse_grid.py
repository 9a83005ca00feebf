"""TotalSegmentator's own steps around nnU-Net, for its exact results.

TotalSegmentator resamples the scan itself before nnU-Net sees it: linearly, first voxel onto
first and last onto last, cut to integers. The labels go back the same way, each voxel taking its
nearest. nnU-Net then crops and normalises what it was given and has nothing to resample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


def corner_operator(n_in: int, n_out: int, order: int) -> NDArray[np.float64]:
    """The matrix [n_out, n_in] of `scipy.ndimage.zoom` with its grid from corner to corner."""
    from scipy.ndimage import zoom

    if n_in == n_out:
        return np.eye(n_in)
    return np.asarray(zoom(np.eye(n_in), (n_out / n_in, 1.0), order=order, mode="nearest"))


def to_network_grid(
    scan: NDArray[np.float32], spacing_mm: Sequence[float], new_spacing_mm: Sequence[float]
) -> NDArray[np.float32]:
    """The scan [C, a, b, c] at the new spacing, whole numbers; untouched where it has it."""
    import torch

    if np.allclose(spacing_mm, new_spacing_mm, rtol=1e-7, atol=0):
        return scan
    block: Tensor = torch.from_numpy(np.ascontiguousarray(scan))
    for axis, (old, new) in enumerate(zip(spacing_mm, new_spacing_mm)):
        n = scan.shape[axis + 1]
        operator = corner_operator(n, round(n * float(old) / float(new)), 1)
        weights = torch.from_numpy(np.ascontiguousarray(operator))
        parts = [
            torch.tensordot(weights, channel.double(), dims=([1], [axis])).movedim(0, axis)
            for channel in block
        ]
        block = torch.stack(parts)
    return block.trunc().float().numpy()


def back_operators(
    shape: Sequence[int], grid_shape: Sequence[int], crop: Sequence[slice]
) -> tuple[tuple[slice, ...], tuple[NDArray[np.float64], ...]]:
    """How labels of the cropped network's grid come back to the scan.

    Args:
        shape: of the scan.
        grid_shape: of the network's grid before cropping.
        crop: part of that grid that the network saw.

    Returns:
        The part of the scan that takes its labels from there, and per axis the matrix
        [scan, network] between the two.
    """
    places, operators = [], []
    for n, m, part in zip(shape, grid_shape, crop):
        nearest = corner_operator(m, n, 0).argmax(axis=1)
        rows = np.flatnonzero((nearest >= part.start) & (nearest < part.stop))
        first, last = (int(rows[0]), int(rows[-1]) + 1) if rows.size else (0, 0)
        matrix = np.zeros((last - first, part.stop - part.start))
        matrix[np.arange(last - first), nearest[first:last] - part.start] = 1.0
        places.append(slice(first, last))
        operators.append(matrix)
    return tuple(places), tuple(operators)
