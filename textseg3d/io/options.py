"""What a reader may be told: the choices that are never guessed."""

from __future__ import annotations

from dataclasses import dataclass

from textseg3d.errors import UsageError

DEFAULT_MAX_VOXELS = 2**30
_AXIS_LETTERS = {"L": 0, "R": 0, "P": 1, "A": 1, "S": 2, "I": 2}


@dataclass(frozen=True)
class ReadOptions:
    """Options shared by `read_volume` and `check_scan`.

    Attributes:
        series: DICOM SeriesInstanceUID, or ``UID#n`` for the n-th stack inside one series.
        volume_index: which volume (from 0) of a 4-D file.
        assume_orientation: three letters for files that state no orientation: where the axes
            i, j, k (fastest first) point **towards**, such as ``RAS`` or ``LPS``.
        allow_missing_slices: fill gaps in a DICOM series by interpolation.
        resample_shear: resample a sheared frame (gantry tilt) onto an orthogonal one.
        max_voxels: refuse scans with more voxels than this, before anything is allocated.

    Raises:
        UsageError: if a value cannot be meant.
    """

    series: str | None = None
    volume_index: int | None = None
    assume_orientation: str | None = None
    allow_missing_slices: bool = False
    resample_shear: bool = False
    max_voxels: int = DEFAULT_MAX_VOXELS

    def __post_init__(self) -> None:
        if self.volume_index is not None and self.volume_index < 0:
            raise UsageError(f"--volume must be 0 or more, got {self.volume_index}")
        if self.max_voxels < 1:
            raise UsageError(f"--max-voxels must be positive, got {self.max_voxels}")
        if self.assume_orientation is not None:
            letters = self.assume_orientation.upper()
            axes = sorted(_AXIS_LETTERS.get(letter, 9) for letter in letters)
            if axes != [0, 1, 2]:
                raise UsageError(
                    f"--assume-orientation must be one letter each of L/R, P/A and S/I, such as "
                    f"RAS or LPS, got {self.assume_orientation!r}"
                )
            object.__setattr__(self, "assume_orientation", letters)
