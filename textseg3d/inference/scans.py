"""Whatever a user hands over as a scan, as a :class:`Volume`."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from textseg3d.errors import GeometryError, InputError, UsageError
from textseg3d.io import Volume, read_volume, volume_from_array

Scan = str | os.PathLike[str] | NDArray[Any] | Volume


def as_volume(
    scan: Scan,
    spacing_mm: tuple[float, float, float] | None = None,
    direction: ArrayLike | None = None,
    origin_mm: tuple[float, float, float] | None = None,
    **read_options: Any,
) -> Volume:
    """Read a path, wrap an array, or pass a volume on.

    Args:
        scan: path of a scan; array [D, H, W] or [C, D, H, W]; or a volume.
        spacing_mm: (z, y, x) of an array; needed for arrays, refused for anything else.
        direction: [3, 3], column n is the LPS unit vector of the array's x, y, z axis; default:
            x to the Left, y to Posterior, z to Superior.
        origin_mm: LPS (x, y, z) of voxel [0, 0, 0]; default 0.
        read_options: of :func:`textseg3d.io.read_volume`, for paths.

    Raises:
        UsageError: for arguments that do not go with the kind of scan.
        InputError: if the file or the array cannot be used.
    """
    if isinstance(scan, np.ndarray):
        if read_options:
            raise UsageError(f"an array takes no reading option such as {min(read_options)!r}")
        if spacing_mm is None:
            raise UsageError("an array has no geometry; give spacing_mm=(z, y, x)")
        return _from_array(scan, spacing_mm, direction, origin_mm)
    if spacing_mm is not None or direction is not None or origin_mm is not None:
        raise UsageError("spacing_mm, direction and origin_mm are for arrays; a scan has its own")
    if isinstance(scan, Volume):
        if read_options:
            raise UsageError(f"a volume takes no reading option such as {min(read_options)!r}")
        return scan
    return read_volume(scan, **read_options)


def _from_array(
    array: NDArray[Any],
    spacing_mm: tuple[float, float, float],
    direction: ArrayLike | None,
    origin_mm: tuple[float, float, float] | None,
) -> Volume:
    if array.ndim not in (3, 4) or array.size == 0:
        raise InputError(f"array of shape {array.shape}; expected [D, H, W] or [C, D, H, W]")
    if array.dtype.kind not in "iufb":
        raise InputError(f"array of type {array.dtype}; expected integers or real numbers")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError("the array has NaN or infinite voxels; replace them, in CT by -1024")
    if len(spacing_mm) != 3 or not np.all(np.isfinite(spacing_mm)) or min(spacing_mm) <= 0:
        raise GeometryError(
            f"spacing_mm is {spacing_mm}; expected three positive numbers (z, y, x)"
        )
    axes = np.eye(3) if direction is None else np.asarray(direction, dtype=np.float64)
    if axes.shape != (3, 3) or not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
        raise GeometryError("direction must be a 3×3 matrix of perpendicular unit columns")
    affine = np.eye(4)
    affine[:3, :3] = axes * np.asarray(spacing_mm[::-1], dtype=np.float64)
    affine[:3, 3] = 0.0 if origin_mm is None else origin_mm
    channels = array if array.ndim == 4 else array[None]
    return volume_from_array(channels.transpose(0, 3, 2, 1), affine)
