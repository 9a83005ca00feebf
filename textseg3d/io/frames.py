"""Rules about the frame of a scan (spacing, axes, shear), and the repairs that they allow."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.io.findings import Finding, FindingLog, rule
from textseg3d.io.options import ReadOptions

MIN_SPACING_MM, MAX_SPACING_MM = 0.05, 20.0
SHEAR_NOISE, SHEAR_REPAIRABLE = 1e-5, 1e-3
_OPPOSITE = {"L": "R", "R": "L", "P": "A", "A": "P", "S": "I", "I": "S"}


@dataclass(frozen=True)
class Frame:
    """A grid in space, in file order.

    Attributes:
        shape: voxels along i, j, k (fastest first).
        affine_lps: float64 [4, 4], voxel index (i, j, k) to LPS millimetres.
    """

    shape: tuple[int, int, int]
    affine_lps: NDArray[np.float64]

    @property
    def columns(self) -> NDArray[np.float64]:
        """float64 [3, 3]: the step of each file axis in mm."""
        return self.affine_lps[:3, :3]

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """Length of the step along i, j, k (file order) in mm."""
        return np.linalg.norm(self.columns, axis=0)

    @property
    def usable(self) -> bool:
        """Finite, with three steps of non-zero length that span space."""
        if not np.all(np.isfinite(self.affine_lps)) or np.any(self.spacing_mm == 0):
            return False
        return abs(float(np.linalg.det(self.columns / self.spacing_mm))) > 1e-4

    @property
    def skew(self) -> float:
        """Largest deviation of the unit axes from an orthonormal frame."""
        unit = self.columns / self.spacing_mm
        return float(np.abs(unit.T @ unit - np.eye(3)).max())


def axis_letters(affine_lps: NDArray[np.float64]) -> str:
    """Where i, j, k point towards, nearest patient axis each, such as ``"LPS"``."""
    columns = affine_lps[:3, :3]
    letters = ""
    for axis in range(3):
        row = int(np.argmax(np.abs(columns[:, axis])))
        letters += ("LPS" if columns[row, axis] > 0 else "RAI")[row]
    return letters


def assumed_affine(
    letters: str, spacing_mm: tuple[float, float, float] | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Affine (i, j, k) to LPS mm for axes that point towards `letters`, origin 0."""
    affine = np.zeros((4, 4))
    affine[3, 3] = 1.0
    for axis, letter in enumerate(letters):
        positive = letter in "LPS"
        row = "LPS".index(letter if positive else _OPPOSITE[letter])
        affine[row, axis] = (1.0 if positive else -1.0) * float(spacing_mm[axis])
    return affine


@rule("N13", "frame", "every axis has a step, and the three axes span space")
def _n13(frame: Frame, options: ReadOptions) -> Iterator[Finding]:
    if np.all(np.isfinite(frame.affine_lps)) and not frame.usable:
        yield Finding(
            "N13",
            "reject",
            f"an axis has no step or two axes coincide (spacing {_mm(frame.spacing_mm)}); "
            "correct the header",
        )


@rule("N14", "frame", "all numbers of the affine are finite")
def _n14(frame: Frame, options: ReadOptions) -> Iterator[Finding]:
    if not np.all(np.isfinite(frame.affine_lps)):
        yield Finding("N14", "reject", "the affine holds NaN or Inf; correct the header")


@rule("N15", "frame", "the axes are perpendicular")
def _n15(frame: Frame, options: ReadOptions) -> Iterator[Finding]:
    if not frame.usable or frame.skew <= SHEAR_NOISE:
        return
    if frame.skew <= SHEAR_REPAIRABLE:
        yield Finding(
            "N15", "fix", f"axes off by {frame.skew:.1e} from perpendicular were squared up"
        )
    elif options.resample_shear:
        yield Finding(
            "N15",
            "fix",
            f"sheared frame (skew {frame.skew:.3f}) resampled onto a perpendicular grid; "
            "masks are on that grid",
        )
    else:
        yield Finding(
            "N15",
            "reject",
            f"the axes are not perpendicular (skew {frame.skew:.4f}, at most {SHEAR_REPAIRABLE} "
            "is squared up); use --resample-shear",
        )


@rule("N16", "frame", "axes along the patient's, or oblique (both are kept as they are)")
def _n16(frame: Frame, options: ReadOptions) -> Iterator[Finding]:
    if not frame.usable:
        return
    cosine = np.abs(frame.columns / frame.spacing_mm).max(axis=0).min()
    degrees = math.degrees(math.acos(min(1.0, float(cosine))))
    if degrees > 0.5:
        yield Finding("N16", "ok", f"oblique by {degrees:.1f} degrees, kept on its own grid")


@rule("N17", "frame", f"spacing within {MIN_SPACING_MM} to {MAX_SPACING_MM:g} mm")
def _n17(frame: Frame, options: ReadOptions) -> Iterator[Finding]:
    spacing = frame.spacing_mm
    if not frame.usable:
        return
    if np.any(spacing < MIN_SPACING_MM) or np.any(spacing > MAX_SPACING_MM):
        yield Finding(
            "N17",
            "reject",
            f"spacing {_mm(spacing)} is outside {MIN_SPACING_MM} to {MAX_SPACING_MM:g} mm "
            "(wrong unit?); correct the header",
        )


@rule("N24", "frame", "spacing and size in the usual range")
def _n24(frame: Frame, options: ReadOptions) -> Iterator[Finding]:
    if not frame.usable:
        return
    spacing, voxels = frame.spacing_mm, math.prod(frame.shape)
    if np.any(spacing < 0.2) or np.any(spacing > 8.0):
        yield Finding("N24", "warn", f"extreme spacing {_mm(spacing)}")
    if voxels > 512 * 512 * 1000:
        yield Finding(
            "N24",
            "warn",
            f"large scan of {voxels} voxels: about {voxels * 2 / 2**30:.1f} GiB as int16, "
            "several times that while it is segmented",
        )


@rule("N23", "frame", "enough voxels along each axis")
def _n23(frame: Frame, options: ReadOptions) -> Iterator[Finding]:
    shape = frame.shape
    if sum(n >= 8 for n in shape) < 2:
        yield Finding(
            "N23",
            "reject",
            f"only {shape[0]} x {shape[1]} x {shape[2]} voxels; at least two axes need 8 or more",
        )
    elif min(shape) < 16:
        what = "a single slice" if min(shape) == 1 else "a thin scan"
        yield Finding(
            "N23", "warn", f"{what} of {shape[0]} x {shape[1]} x {shape[2]} voxels is padded"
        )


def check_volume_index(extra: tuple[int, ...], options: ReadOptions) -> Iterator[Finding]:
    """N18 for the sizes of all axes that are not in space."""
    count = math.prod(extra) if extra and min(extra) > 0 else 1
    index = options.volume_index
    if count > 1 and index is None:
        yield Finding(
            "N18",
            "reject",
            f"{count} volumes in one file; choose one with --volume 0 to {count - 1}",
        )
    elif index is not None and index >= count:
        yield Finding(
            "N18",
            "reject",
            f"--volume {index} asked for, but the file has volumes 0 to {count - 1}",
        )


def orientation_missing(what: str, options: ReadOptions) -> Finding:
    """N10 for any format: refuse, or take the user's word."""
    if options.assume_orientation is None:
        return Finding(
            "N10",
            "reject",
            f"{what}, so left and right are unknown; if you know how the axes run, say so with "
            "--assume-orientation, such as LPS or RAS",
        )
    return Finding("N10", "fix", f"{what}; taken as {options.assume_orientation} as asked")


def check_voxel_count(shape: tuple[int, ...], log: FindingLog, options: ReadOptions) -> None:
    """Reject with N7 what is empty or above the limit, before anything is allocated.

    Raises:
        InputError: N7.
    """
    if any(n < 1 for n in shape):
        log.reject("N7", f"dimensions {shape} must all be 1 or more; correct the header")
    count = math.prod(shape)
    if count > options.max_voxels:
        log.reject(
            "N7",
            f"{count} voxels ({' x '.join(map(str, shape))}) are more than {options.max_voxels}; "
            "raise --max-voxels if the scan really is that large",
        )


def settle(
    array: NDArray[Any], frame: Frame, log: FindingLog, options: ReadOptions
) -> tuple[NDArray[Any], NDArray[np.float64], bool]:
    """Apply the repair that N15 allows: square up a noisy frame, or resample a sheared one.

    Args:
        array: [i, j, k] in file order.
        frame: its frame, past the rules of the stage "frame".
        log: for a grid that grows over the voxel limit.
        options: `resample_shear`, `max_voxels`.

    Returns:
        the array, its affine_lps with perpendicular columns, and whether it was resampled.
    """
    if frame.skew <= SHEAR_NOISE:
        return array, frame.affine_lps, False
    squared = _squared_up(frame)
    if frame.skew <= SHEAR_REPAIRABLE:
        return array, squared, False
    resampled, affine = _resample_shear(array, frame, squared, log, options)
    return resampled, affine, True


def _squared_up(frame: Frame) -> NDArray[np.float64]:
    """Nearest orthonormal axes (polar decomposition), same spacing, same centre."""
    unit = frame.columns / frame.spacing_mm
    u, _, vt = np.linalg.svd(unit)
    affine = np.eye(4)
    affine[:3, :3] = (u @ vt) * frame.spacing_mm
    middle = (np.asarray(frame.shape) - 1) / 2.0
    centre = frame.columns @ middle + frame.affine_lps[:3, 3]
    affine[:3, 3] = centre - affine[:3, :3] @ middle
    return affine


def _resample_shear(
    array: NDArray[Any],
    frame: Frame,
    squared: NDArray[np.float64],
    log: FindingLog,
    options: ReadOptions,
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Linear interpolation onto perpendicular axes, over the box that holds all of the scan."""
    from scipy.ndimage import affine_transform

    corners = np.array(np.meshgrid(*[(0, n - 1) for n in frame.shape], indexing="ij"))
    world = frame.columns @ corners.reshape(3, -1) + frame.affine_lps[:3, 3:]
    inside = np.linalg.solve(squared[:3, :3], world - squared[:3, 3:])
    low = np.floor(inside.min(axis=1) + 1e-6)
    high = np.ceil(inside.max(axis=1) - 1e-6)
    shape = tuple(int(n) for n in high - low + 1)
    check_voxel_count(shape, log, options)
    affine = squared.copy()
    affine[:3, 3] += squared[:3, :3] @ low
    to_old = np.linalg.inv(frame.affine_lps) @ affine
    values = affine_transform(
        array.astype(np.float32),
        to_old[:3, :3],
        offset=to_old[:3, 3],
        output_shape=shape,
        order=1,
        mode="constant",
        cval=float(array.min()),
    )
    if np.issubdtype(array.dtype, np.integer):
        values = np.rint(values)
    return values.astype(array.dtype), affine


def _mm(spacing: NDArray[np.float64]) -> str:
    return " x ".join(f"{s:.4g}" for s in spacing) + " mm"
