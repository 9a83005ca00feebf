"""One case's channels and labels on one grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textseg3d.dataset.folder import DatasetCase
from textseg3d.errors import GeometryError, InputError
from textseg3d.io import Volume, read_volume

MAX_LABEL = 2**15 - 1
# Values unlike HU (labels and MR are), and thin or small scans (training crops often are).
_EXPECTED = ("N22:", "N23:")


@dataclass(frozen=True)
class CaseArrays:
    """A case in memory.

    Attributes:
        image: float32 [C, D, H, W], axes near LPS+ as in `Volume`.
        labels: int16 [D, H, W].
        volume: of the first channel, for geometry; its array is the channel itself.
        warnings: what the readers noticed, and origins that differ, one line each.
    """

    image: NDArray[np.float32]
    labels: NDArray[np.int16]
    volume: Volume
    warnings: tuple[str, ...] = ()


def read_case(case: DatasetCase, *, assume_orientation: str | None = None) -> CaseArrays:
    """Read channels and labels.

    A file with several volumes (4-D) is refused: nnU-Net's layout has one file per channel.

    Args:
        case: whose files.
        assume_orientation: for files that state none, see `read_volume`.

    Raises:
        InputError: for a missing or unreadable file, NaN, or labels that are no whole numbers.
        GeometryError: for channels or labels on grids of other shape or spacing.
    """
    volumes = [read_volume(path, assume_orientation=assume_orientation) for path in case.images]
    if not volumes:
        raise InputError(f"case {case.name} has no image")
    first = volumes[0]
    truth = read_volume(case.label, assume_orientation=assume_orientation)
    warnings = [
        f"{path}: {warning}"
        for path, volume in zip((*case.images, case.label), (*volumes, truth), strict=True)
        for warning in volume.warnings
        if not warning.startswith(_EXPECTED)
    ]
    for path, volume in zip((*case.images[1:], case.label), (*volumes[1:], truth), strict=True):
        if volume.shape != first.shape:
            raise GeometryError(
                f"{path} has shape {volume.shape} (z, y, x), its image {first.shape}"
            )
        if not np.allclose(volume.spacing_mm, first.spacing_mm):
            raise GeometryError(
                f"{path} has spacing {_rounded(volume.spacing_mm)} mm (z, y, x), its image "
                f"{_rounded(first.spacing_mm)}"
            )
        if not np.allclose(volume.affine_lps, first.affine_lps, atol=1e-3):
            warnings.append(f"{path} lies elsewhere than its image (origin or direction differ)")
    image = np.concatenate([v.array for v in volumes]).astype(np.float32, copy=False)
    for path, channel in zip(case.images, image, strict=True):
        if not np.isfinite(channel).all():
            raise InputError(f"{path} has NaN or infinite voxels; replace them")
    return CaseArrays(image, _label_values(case, truth), first, tuple(warnings))


def _label_values(case: DatasetCase, volume: Volume) -> NDArray[np.int16]:
    values = volume.array[0]
    if values.dtype.kind == "f" and not np.array_equal(values, np.rint(values)):
        raise InputError(f"{case.label} has labels that are no whole numbers")
    if values.min() < 0 or values.max() > MAX_LABEL:
        raise InputError(
            f"{case.label} has labels from {values.min()} to {values.max()}, expected 0 to "
            f"{MAX_LABEL}"
        )
    return values.astype(np.int16)


def _rounded(spacing_mm: tuple[float, float, float]) -> tuple[float, ...]:
    return tuple(round(s, 4) for s in spacing_mm)
