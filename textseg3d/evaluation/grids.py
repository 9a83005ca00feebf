"""Label files of truth and prediction, brought into one orientation and checked for one grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import GeometryError, InputError, TextSegError
from textseg3d.io.volume import LPS_FROM_RAS, Volume, volume_from_array

GRID_TOLERANCE = 1e-2
"""Largest shift between two grids that count as one, in voxels of the truth."""


def read_labels(path: Path) -> Volume:
    """A label map as a :class:`Volume` of one integer channel, LPS+.

    Raises:
        InputError: if the file is missing, unreadable, not 3-D or holds other than integers.
    """
    if not path.is_file():
        raise InputError(f"there is no label file {path}; check the folder and the file's name")
    if path.name.endswith((".nii", ".nii.gz")):
        array, affine = _read_nifti(path)
        if array.ndim != 3:
            raise InputError(
                f"{path} has shape {array.shape}, expected three axes; pass one label map per file"
            )
        return volume_from_array(as_integers(array, path), affine, path=path, format="nifti")
    from textseg3d.io import read_volume

    volume = read_volume(path)
    return Volume(
        array=as_integers(volume.array, path),
        spacing_mm=volume.spacing_mm,
        origin_mm=volume.origin_mm,
        direction=volume.direction,
        source=volume.source,
        warnings=volume.warnings,
    )


def read_nifti_array(path: Path) -> NDArray[Any]:
    """The voxels of a NIfTI file in file order, whatever its number of axes, as integers.

    Raises:
        InputError: if the file is missing, unreadable or holds other than integers.
    """
    if not path.is_file():
        raise InputError(f"there is no label file {path}; check the folder and the file's name")
    return as_integers(_read_nifti(path)[0], path)


def as_integers(array: NDArray[Any], path: Path) -> NDArray[Any]:
    """The same values in an integer type.

    Raises:
        InputError: if a value is not a whole number.
    """
    if array.dtype == bool:
        return array.astype(np.uint8)
    if np.issubdtype(array.dtype, np.integer):
        return array
    rounded = np.rint(array)
    if not np.array_equal(rounded, array):
        raise InputError(
            f"{path} holds values that are not whole numbers, expected labels; "
            "threshold probabilities before scoring them"
        )
    return rounded.astype(np.int32)


def on_grid_of(truth: Volume, prediction: Volume, *, resample: bool) -> NDArray[Any]:
    """The labels of ``prediction`` on the grid of ``truth``.

    Flipped or permuted axes in the file are no difference: both are in LPS+ here.

    Args:
        truth: one channel.
        prediction: one channel.
        resample: take the nearest voxel where the grids differ, instead of an error.

    Returns:
        integer [D, H, W].

    Raises:
        GeometryError: if the grids differ and ``resample`` is off.
    """
    difference = grid_difference(truth, prediction)
    if difference is None:
        return prediction.array[0]
    if not resample:
        raise GeometryError(
            f"{_name(prediction)} is on another grid than the truth ({difference}); export it on "
            "the grid of the scan, or allow nearest-neighbour resampling with --resample"
        )
    return _nearest(truth, prediction)


def grid_difference(truth: Volume, prediction: Volume) -> str | None:
    """How two grids differ, in words, or None if they are the same."""
    if truth.shape != prediction.shape:
        return f"shape {prediction.shape} against {truth.shape}"
    corners = np.array([[x, y, z, 1.0] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * np.array(
        [*(n - 1 for n in truth.shape[::-1]), 1.0]
    )
    shift = (prediction.affine_lps @ corners.T - truth.affine_lps @ corners.T)[:3]
    worst = float(np.abs(shift).max())
    if worst > GRID_TOLERANCE * min(truth.spacing_mm):
        return f"its corners lie up to {worst:.3g} mm apart"
    return None


def _nearest(truth: Volume, prediction: Volume) -> NDArray[Any]:
    from scipy.ndimage import affine_transform

    to_prediction = np.linalg.inv(prediction.affine_lps) @ truth.affine_lps
    return affine_transform(
        prediction.array[0].transpose(2, 1, 0),
        to_prediction,
        output_shape=truth.shape[::-1],
        order=0,
        mode="constant",
        cval=0,
    ).transpose(2, 1, 0)


def _read_nifti(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    import nibabel

    try:
        image = nibabel.load(path)
        array = np.asanyarray(image.dataobj)  # type: ignore[attr-defined]
        affine = np.asarray(image.affine, dtype=np.float64)  # type: ignore[attr-defined]
    except TextSegError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path} cannot be read as NIfTI ({reason}); write the label map again"
        ) from error
    return array, LPS_FROM_RAS @ affine


def _name(volume: Volume) -> str:
    return str(volume.source.path) if volume.source.path else "the prediction"
