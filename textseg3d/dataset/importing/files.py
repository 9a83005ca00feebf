"""NIfTI files in and out, in the file's own axis order: geometry is copied, never recomputed."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import GeometryError, InputError, UsageError
from textseg3d.io import atomic_path

GZIP_LEVEL = 3


def load_nifti(path: Path) -> Any:
    """A nibabel image; its voxels are read later.

    Raises:
        InputError: if it is missing or no NIfTI file.
    """
    import nibabel

    if not path.is_file():
        raise InputError(f"there is no file {path}; check the source folder")
    try:
        return nibabel.load(path)
    except Exception as error:
        raise InputError(f"{path} cannot be read as NIfTI ({_first_line(error)})") from None


def voxels(image: Any, index: Any = ...) -> NDArray[Any]:
    """Voxels of an image in file order, all or those of an index, in the stored type if unscaled.

    Raises:
        InputError: if the file is damaged.
    """
    try:
        return np.asanyarray(image.dataobj[index])
    except Exception as error:
        name = image.get_filename()
        raise InputError(f"{name}: voxels cannot be read ({_first_line(error)})") from None


def save_like(path: Path, array: NDArray[Any], like: Any) -> None:
    """Write a 3-D array, in file order, with the geometry of another image.

    Args:
        path: ``.nii.gz``; appears whole or not at all, with the same bytes each time.
        array: [X, Y, Z]; bool becomes uint8.
        like: nibabel image that gives sform, qform, their codes and units.
    """
    import nibabel

    values = array.astype(np.uint8) if array.dtype == bool else array
    header = nibabel.Nifti1Header.from_header(like.header, check=False)
    header.set_data_dtype(values.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    # Without an affine of its own the image keeps both of the header's, codes included.
    save_nifti(path, nibabel.Nifti1Image(values, None, header))


def save_nifti(path: Path, image: Any) -> None:
    """Write a nibabel image as ``.nii.gz``, whole or not at all."""
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as raw,
        gzip.GzipFile("", "wb", GZIP_LEVEL, raw, mtime=0) as packed,
    ):
        image.to_stream(packed)


def take_file(source: Path, target: Path, *, link: bool) -> None:
    """Copy a file, or give it a second name on the same disk.

    Raises:
        UsageError: if a link was asked for and the two folders are on different disks.
    """
    with atomic_path(target) as temporary:
        if not link:
            shutil.copyfile(source, temporary)
            return
        try:
            os.link(source.resolve(), temporary)
        except OSError as error:
            raise UsageError(
                f"{source} cannot be linked into {target.parent} ({error.strerror}); "
                "leave out --link"
            ) from None


def take_image(source: Path, target: Path, *, link: bool) -> None:
    """A 3-D scan as ``.nii.gz``: the same bytes if it is one, otherwise written anew.

    Raises:
        InputError: for an unreadable file, or one with other than three axes.
    """
    image = load_nifti(source)
    if len(image.shape) != 3:
        raise InputError(f"{source} has shape {image.shape}, expected three axes")
    if source.name.endswith(".nii.gz"):
        take_file(source, target, link=link)
    else:
        save_like(target, voxels(image), image)


def same_grid(mask: Any, image: Any, shape: tuple[int, ...] | None = None) -> None:
    """Check that a mask lies on the voxels of its image.

    Args:
        mask: nibabel image.
        image: nibabel image of the scan.
        shape: of one mask, where it is not the file's own.

    Raises:
        GeometryError: for another shape or, for masks of three axes, another place.
    """
    name, own = mask.get_filename(), shape or tuple(mask.shape)
    if own != tuple(image.shape[:3]):
        raise GeometryError(
            f"{name} has shape {own}, its image {tuple(image.shape[:3])}; "
            "masks have to be on the image's own voxels"
        )
    if len(mask.shape) == 3 and not np.allclose(mask.affine, image.affine, atol=1e-2):
        raise GeometryError(f"{name} lies elsewhere than its image (origin or direction differ)")


def whole_numbers(array: NDArray[Any], name: str) -> NDArray[Any]:
    """The same values as integers, 0 or more.

    Raises:
        InputError: for fractions or values below 0.
    """
    rounded = array if array.dtype.kind in "ui" else np.rint(array)
    if array.dtype != bool and rounded is not array and not np.array_equal(rounded, array):
        raise InputError(f"{name} holds values that are no whole numbers, expected labels")
    if rounded.size and rounded.min() < 0:
        raise InputError(f"{name} holds the value {rounded.min()}, expected 0 or more")
    return rounded.astype(np.int32, copy=False)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
