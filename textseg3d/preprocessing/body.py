"""Where the patient is: the body box, and the position of a window inside it.

The network is told where each voxel lies relative to the body box, so that "left" means
something inside a window. The box is found from HU alone and is cheap (a coarse threshold).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_CELL_MM = 12.0
_BODY_HU = -400.0


def body_box(
    hu: NDArray, spacing_mm: tuple[float, float, float], threshold: float = _BODY_HU
) -> NDArray[np.float64]:
    """First and last voxel index [3, 2] (z, y, x) of the largest bright component.

    The scan is averaged to cells of about 12 mm, so that tables, wires and noise vanish below
    the threshold; lungs and bowel gas lie inside the box anyway.

    Args:
        hu: [D, H, W], HU (or any intensity with a ``threshold`` of its own).
        spacing_mm: (z, y, x).
        threshold: cells above it may be body; -400 HU lies between air and fat.

    Returns:
        The whole grid when no cell is above the threshold.
    """
    import cc3d

    factors = [
        max(1, min(n, round(_CELL_MM / s))) for n, s in zip(hu.shape, spacing_mm, strict=True)
    ]
    cells = _block_mean(hu, factors) > threshold
    whole = np.array([[0.0, n - 1.0] for n in hu.shape])
    if not cells.any():
        return whole
    body = cc3d.largest_k(np.ascontiguousarray(cells), k=1, connectivity=6) > 0
    box = whole.copy()
    for axis in range(3):
        filled = np.flatnonzero(body.any(axis=tuple(a for a in range(3) if a != axis)))
        first, last = int(filled[0]) * factors[axis], (int(filled[-1]) + 1) * factors[axis] - 1
        box[axis] = first, min(last, hu.shape[axis] - 1)
    return box


def window_position(
    box: NDArray[np.float64], start: tuple[int, int, int], size: tuple[int, int, int]
) -> NDArray[np.float32]:
    """Body coordinate of a window's first and last voxel centre along z, y, x: float32 [3, 2].

    -1 and 1 are the faces of the box; a window may reach beyond.

    Args:
        box: of :func:`body_box`, in voxels of the grid that the window lies in.
        start: first voxel of the window; negative where the window is padded.
        size: voxels of the window.
    """
    first = np.asarray(start, dtype=np.float64)
    return body_position(box, np.stack([first, first + np.asarray(size) - 1], axis=1))


def body_position(box: NDArray[np.float64], ends: NDArray[np.float64]) -> NDArray[np.float32]:
    """Body coordinates of voxel coordinates ``ends`` [3, 2]; see :func:`window_position`."""
    centre = box.mean(axis=1, keepdims=True)
    half = np.maximum((box[:, 1:] - box[:, :1] + 1) / 2, 1.0)
    return ((ends - centre) / half).astype(np.float32)


def _block_mean(array: NDArray, factors: list[int]) -> NDArray[np.float32]:
    """Mean over blocks; the last block of an axis may be smaller."""
    result = np.asarray(array, dtype=np.float32) if array.dtype != np.int16 else array
    for axis, factor in enumerate(factors):
        edges = np.arange(0, result.shape[axis], factor)
        counts = np.diff(np.append(edges, result.shape[axis]))
        shape = [1, 1, 1]
        shape[axis] = -1
        sums = np.add.reduceat(result, edges, axis=axis, dtype=np.float32)
        result = sums / counts.reshape(shape).astype(np.float32)
    return result
