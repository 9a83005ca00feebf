"""`Volume`: a scan in the one orientation that the whole code base uses, and its way back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import GeometryError

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class SourceGrid:
    """The grid of the file a volume came from, in file order (i, j, k) = (fastest first).

    Attributes:
        shape: voxels along i, j, k.
        affine_lps: float64 [4, 4], voxel index (i, j, k) to LPS millimetres.
        permutation: file axis that each of x, y, z of the canonical array comes from.
        flips: whether x, y, z run against that file axis.
        path: the file or folder that was read, if any.
        format: "nifti", "nrrd", "mha", "dicom" or "array".
        header: what a writer of the same format needs to reproduce the header (format's own).
    """

    shape: tuple[int, int, int]
    affine_lps: NDArray[np.float64]
    permutation: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    path: Path | None = None
    format: str = "array"
    header: Any = None


@dataclass(frozen=True)
class Volume:
    """A scan, reordered (never resampled) so that its axes run nearest to LPS+.

    Attributes:
        array: [C, D, H, W] = (channel, z, y, x); x grows to the patient's Left, y to Posterior,
            z to Superior (as nearly as the scan's axes do: an oblique scan stays oblique).
        spacing_mm: (z, y, x).
        origin_mm: LPS (x, y, z) of voxel [0, 0, 0].
        direction: float64 [3, 3]; column n is the LPS unit vector of axis n of (x, y, z).
        source: the grid to return to.
        warnings: what was repaired or looked odd when reading, one line each.
    """

    array: NDArray[Any]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    direction: NDArray[np.float64]
    source: SourceGrid
    warnings: tuple[str, ...] = field(default=())

    @property
    def shape(self) -> tuple[int, int, int]:
        """Spatial shape (D, H, W)."""
        d, h, w = self.array.shape[1:]
        return int(d), int(h), int(w)

    @property
    def affine_lps(self) -> NDArray[np.float64]:
        """float64 [4, 4]: canonical voxel index (x, y, z) to LPS millimetres."""
        affine = np.eye(4)
        affine[:3, :3] = self.direction * np.asarray(self.spacing_mm[::-1])
        affine[:3, 3] = self.origin_mm
        return affine

    def to_source(self, array: NDArray[Any]) -> NDArray[Any]:
        """Bring a canonical array [D, H, W] back to file order [i, j, k].

        Raises:
            GeometryError: if the shape is not this volume's.
        """
        if array.shape != self.shape:
            raise GeometryError(f"array has shape {array.shape}, the volume {self.shape}")
        xyz = array.transpose(2, 1, 0)
        xyz = xyz[tuple(slice(None, None, -1) if f else slice(None) for f in self.source.flips)]
        return np.ascontiguousarray(xyz.transpose(np.argsort(self.source.permutation)))


def volume_from_array(
    array: NDArray[Any],
    affine_lps: NDArray[np.float64],
    *,
    path: Path | None = None,
    format: str = "array",
    header: Any = None,
    warnings: tuple[str, ...] = (),
) -> Volume:
    """Build a canonical volume from voxels in file order.

    Args:
        array: [i, j, k] or [C, i, j, k]; kept in its dtype, reordered without resampling.
        affine_lps: float64 [4, 4], (i, j, k) to LPS mm; its columns must be orthogonal
            (readers repair or reject sheared frames before they call this).
        path: where the voxels came from.
        format: format of that file, "array" for none.
        header: what a writer of that format needs.
        warnings: one line each, kept in the volume.

    Raises:
        GeometryError: if the frame has a zero, non-finite or ambiguous axis.
    """
    channels = array if array.ndim == 4 else array[None]
    columns = np.asarray(affine_lps, dtype=np.float64)[:3, :3]
    spacing = np.linalg.norm(columns, axis=0)
    if not np.all(np.isfinite(columns)) or np.any(spacing == 0):
        raise GeometryError(f"the affine has a zero or non-finite axis (spacing {spacing} mm)")
    unit = columns / spacing
    permutation = _nearest_axes(unit)
    flips = tuple(bool(unit[axis, permutation[axis]] < 0) for axis in range(3))

    shape = channels.shape[1:]
    xyz = channels.transpose(0, *(1 + p for p in permutation))
    xyz = xyz[(slice(None), *(slice(None, None, -1) if f else slice(None) for f in flips))]
    start = np.zeros(3)
    for axis, file_axis in enumerate(permutation):
        if flips[axis]:
            start[file_axis] = shape[file_axis] - 1
    origin = columns @ start + np.asarray(affine_lps, dtype=np.float64)[:3, 3]
    signs = np.where(flips, -1.0, 1.0)
    order = list(permutation)
    return Volume(
        array=np.ascontiguousarray(xyz.transpose(0, 3, 2, 1)),
        spacing_mm=(float(spacing[order[2]]), float(spacing[order[1]]), float(spacing[order[0]])),
        origin_mm=(float(origin[0]), float(origin[1]), float(origin[2])),
        direction=unit[:, order] * signs,
        source=SourceGrid(
            shape=(int(shape[0]), int(shape[1]), int(shape[2])),
            affine_lps=np.asarray(affine_lps, dtype=np.float64),
            permutation=permutation,
            flips=(flips[0], flips[1], flips[2]),
            path=path,
            format=format,
            header=header,
        ),
        warnings=warnings,
    )


def _nearest_axes(unit: NDArray[np.float64]) -> tuple[int, int, int]:
    """The assignment of file axes to x, y, z with the largest sum of cosines."""
    best, best_score = (0, 1, 2), -1.0
    for p in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        score = float(sum(abs(unit[axis, p[axis]]) for axis in range(3)))
        if score > best_score + 1e-9:
            best, best_score = p, score
    return best
