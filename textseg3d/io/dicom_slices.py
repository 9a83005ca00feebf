"""Slices of a DICOM series, sorted into stacks, and the rules about their places in space."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.io.dicom_index import DicomFile, is_localizer
from textseg3d.io.findings import Finding, rule
from textseg3d.io.options import ReadOptions

TILT_RADIANS = 1e-3
GRID_TOLERANCE, GRID_NOISE = 0.10, 0.01
_SAME_PLACE_MM = 1e-3
# What tells phases, echoes and repetitions apart, in the order in which it is tried.
_PHASE_KEYS = (
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "NominalPercentageOfCardiacPhase",
    "EchoNumbers",
    "EchoTime",
    "EffectiveEchoTime",
    "DiffusionBValue",
    "TriggerTime",
    "AcquisitionNumber",
    "FrameAcquisitionNumber",
    "ImageType",
    "AcquisitionTime",
    "ContentTime",
)


@dataclass(frozen=True)
class Slice:
    """One plane of pixels.

    Attributes:
        file: where it is.
        frame: index in a multi-frame file, 0 else.
        position: LPS mm of the centre of the first pixel, None if missing.
        orientation: six cosines (along a row, along a column), None if missing.
        pixel_mm: (between rows, between columns), None if missing.
        slope: rescale slope.
        intercept: rescale intercept.
        phase: values of what may tell phases apart.
    """

    file: DicomFile
    frame: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_mm: tuple[float, ...] | None
    slope: float
    intercept: float
    phase: dict[str, str]

    @property
    def size(self) -> tuple[int, int]:
        """(rows, columns)."""
        header = self.file.header
        return int(header.get("Rows") or 0), int(header.get("Columns") or 0)

    @property
    def name(self) -> str:
        """File name, with the frame where there are several."""
        frames = int(self.file.header.get("NumberOfFrames") or 1)
        return f"{self.file.path.name}[{self.frame}]" if frames > 1 else self.file.path.name


@dataclass(frozen=True)
class Stack:
    """Slices with one orientation, size and frame of reference, sorted along their normal.

    Attributes:
        label: "UID#n".
        slices: in order of growing position along the normal.
        axes: float64 [3, 3]: columns along a row, along a column, normal (LPS).
        depth_mm: float64 [n]: place of each slice along the normal.
        drift_mm: float64 [n, 2]: shift of each slice within its plane, against the first.
    """

    label: str
    slices: tuple[Slice, ...]
    axes: NDArray[np.float64]
    depth_mm: NDArray[np.float64]
    drift_mm: NDArray[np.float64]


@dataclass(frozen=True)
class SeriesFacts:
    """The slices of a series and how they fall into stacks."""

    slices: tuple[Slice, ...]
    localizers: int
    stacks: tuple[Stack, ...]
    chosen: Stack | None


def slices_of(file: DicomFile) -> list[Slice]:
    """The planes of one file; missing values stay None."""
    header = file.header
    if "PerFrameFunctionalGroupsSequence" not in header:
        phase = {key: str(header[key].value) for key in _PHASE_KEYS if key in header}
        return [_slice(file, frame, [header], phase) for frame in range(_frames(header))]
    shared = list(header.get("SharedFunctionalGroupsSequence") or [])
    found = []
    for frame, groups in enumerate(header.PerFrameFunctionalGroupsSequence):
        items = _items([groups, *shared])
        phase = {key: str(i[key].value) for key in _PHASE_KEYS for i in items if key in i}
        found.append(_slice(file, frame, items, phase))
    return found


def _frames(header: Any) -> int:
    return int(header.get("NumberOfFrames") or 1)


def _items(groups: Sequence[Any]) -> list[Any]:
    """All first items of the sequences in some functional groups."""
    return [
        element.value[0]
        for group in groups
        for element in group
        if element.VR == "SQ" and len(element.value)
    ]


def _slice(file: DicomFile, frame: int, items: Sequence[Any], phase: dict[str, str]) -> Slice:
    def numbers(key: str, count: int) -> tuple[float, ...] | None:
        for item in items:
            value = item.get(key)
            if value is not None and not isinstance(value, (str, float, int)):
                values = tuple(float(v) for v in value)
                if len(values) == count and all(map(math.isfinite, values)):
                    return values
        return None

    def number(key: str, default: float) -> float:
        for item in items:
            if item.get(key) is not None:
                return float(item.get(key))
        return default

    return Slice(
        file=file,
        frame=frame,
        position=numbers("ImagePositionPatient", 3),
        orientation=numbers("ImageOrientationPatient", 6),
        pixel_mm=numbers("PixelSpacing", 2),
        slope=number("RescaleSlope", 1.0),
        intercept=number("RescaleIntercept", 0.0),
        phase=phase,
    )


def series_facts(files: Sequence[DicomFile], options: ReadOptions) -> SeriesFacts:
    """Planes and stacks of the files of one series."""
    images = [file for file in files if not is_localizer(file)]
    dropped = len(files) - len(images) if images else 0
    slices = tuple(s for file in images or files for s in slices_of(file))
    placed = [s for s in slices if s.position and s.orientation and s.pixel_mm]
    stacks: list[Stack] = []
    uid = files[0].series
    for group in _same_plane(placed):
        for members in _phases(group):
            stacks.append(_stack(f"{uid}#{len(stacks) + 1}", members))
    wanted = options.series or ""
    chosen = stacks[0] if len(stacks) == 1 else None
    if "#" in wanted:
        chosen = next((s for s in stacks if s.label == wanted), None)
    return SeriesFacts(slices, dropped, tuple(stacks), chosen)


def _same_plane(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Groups of equal orientation, size, pixel spacing and frame of reference, largest first."""
    groups: list[list[Slice]] = []
    for s in slices:
        for group in groups:
            first = group[0]
            if (
                np.abs(np.subtract(s.orientation, first.orientation)).max() < 1e-3  # type: ignore[arg-type]
                and np.abs(np.subtract(s.pixel_mm, first.pixel_mm)).max() < 1e-4  # type: ignore[arg-type]
                and s.size == first.size
                and _reference(s) == _reference(first)
            ):
                group.append(s)
                break
        else:
            groups.append([s])
    return sorted(groups, key=len, reverse=True)


def _reference(s: Slice) -> str:
    return str(s.file.header.get("FrameOfReferenceUID", ""))


def _phases(slices: list[Slice]) -> list[list[Slice]]:
    """Split slices that share places by the first tag that makes places unique."""
    if not _shared_places(slices):
        return [slices]
    for key in _PHASE_KEYS:
        parts: dict[str, list[Slice]] = {}
        for s in slices:
            parts.setdefault(s.phase.get(key, ""), []).append(s)
        whole = len(parts) > 1 and not any(_shared_places(part) for part in parts.values())
        if whole and min(map(len, parts.values())) * 2 > max(map(len, parts.values())):
            return [parts[value] for value in sorted(parts)]
    return [slices]


def _shared_places(slices: Sequence[Slice]) -> bool:
    places = {tuple(round(v / _SAME_PLACE_MM) for v in s.position or ()) for s in slices}
    return len(places) < len(slices)


def _stack(label: str, slices: Sequence[Slice]) -> Stack:
    orientation = np.asarray(slices[0].orientation, dtype=np.float64)
    row, column = _unit(orientation[:3]), _unit(orientation[3:])
    normal = _unit(np.cross(row, column))
    places = np.array([s.position for s in slices], dtype=np.float64)
    depth = places @ normal
    order = np.argsort(depth, kind="stable")
    places, depth = places[order], depth[order]
    away = places - places[0]
    drift = np.stack([away @ row, away @ column], axis=1)
    axes = np.stack([row, column, normal], axis=1)
    return Stack(label, tuple(slices[n] for n in order), axes, depth, drift)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """A vector of length 1; zeros stay zeros, for N13 to see."""
    length = float(np.linalg.norm(vector))
    return vector / length if length > 0 else vector


@rule("D6", "dicom-series", "each slice states its position, orientation and pixel spacing")
def _d6(facts: SeriesFacts, options: ReadOptions) -> Iterator[Finding]:
    for key, what in (
        ("position", "ImagePositionPatient"),
        ("orientation", "ImageOrientationPatient"),
        ("pixel_mm", "PixelSpacing"),
    ):
        missing = [s for s in facts.slices if getattr(s, key) is None]
        if missing:
            yield Finding(
                "D6",
                "reject",
                f"{len(missing)} of {len(facts.slices)} slices have no {what} (first "
                f"{missing[0].name}); export the series again with it",
            )
    if not facts.slices:
        yield Finding("D6", "reject", "the series has no frames; export it again")


@rule("D4", "dicom-series", "one orientation and size per series")
def _d4(facts: SeriesFacts, options: ReadOptions) -> Iterator[Finding]:
    if facts.localizers:
        yield Finding("D4", "fix", f"{facts.localizers} localizer images left out")
    planes = {
        (s.slices[0].size, tuple(np.round(s.axes, 3).ravel()), s.slices[0].pixel_mm)
        for s in facts.stacks
    }
    if len(planes) > 1 and facts.chosen is None and "#" not in (options.series or ""):
        yield Finding(
            "D4",
            "reject",
            f"{len(planes)} orientations or sizes in one series; choose with --series: "
            + describe_stacks(facts.stacks),
        )


@rule("D5", "dicom-series", "one phase, echo or frame of reference per series")
def _d5(facts: SeriesFacts, options: ReadOptions) -> Iterator[Finding]:
    if facts.chosen is not None or not facts.stacks:
        return
    planes = {(s.slices[0].size, tuple(np.round(s.axes, 3).ravel())) for s in facts.stacks}
    if "#" in (options.series or ""):
        yield Finding(
            "D5", "reject", f"no stack {options.series}; there is {describe_stacks(facts.stacks)}"
        )
    elif len(planes) < len(facts.stacks):
        yield Finding(
            "D5",
            "reject",
            f"{len(facts.stacks)} phases, echoes or frames of reference in one series; choose "
            "with --series: " + describe_stacks(facts.stacks),
        )


def describe_stacks(stacks: Sequence[Stack]) -> str:
    """The stacks of a series with what a user needs to choose."""
    shown = []
    for s in stacks[:6]:
        first = s.slices[0]
        shown.append(f"{s.label} ({len(s.slices)} slices of {first.size[1]} x {first.size[0]})")
    return "; ".join(shown) + (" …" if len(stacks) > 6 else "")


@rule("D2", "dicom-stack", "one slice per position")
def _d2(stack: Stack, options: ReadOptions) -> Iterator[Finding]:
    same = np.flatnonzero(np.diff(stack.depth_mm) < _SAME_PLACE_MM)
    if same.size:
        a, b = stack.slices[same[0]], stack.slices[same[0] + 1]
        yield Finding(
            "D2",
            "reject",
            f"{same.size} positions occur twice with different pixels (first {a.name} and "
            f"{b.name}); keep one of each",
        )


@rule("D3", "dicom-stack", "slices lie straight above each other (no gantry tilt)")
def _d3(stack: Stack, options: ReadOptions) -> Iterator[Finding]:
    depth = stack.depth_mm - stack.depth_mm[0]
    if len(depth) < 2 or depth[-1] <= 0:
        return
    slope = stack.drift_mm[-1] / depth[-1]
    jitter = float(np.abs(stack.drift_mm - depth[:, None] * slope).max())
    pixel = min(stack.slices[0].pixel_mm or (1.0,))
    degrees = math.degrees(math.atan(float(np.linalg.norm(slope))))
    if jitter > 0.5 * pixel:
        yield Finding(
            "D3", "reject", f"slices are shifted against each other by up to {jitter:.2f} mm"
        )
    elif math.radians(degrees) > TILT_RADIANS:
        if options.resample_shear:
            yield Finding("D3", "fix", f"gantry tilt of {degrees:.1f} degrees is resampled")
        else:
            yield Finding(
                "D3",
                "reject",
                f"gantry tilt of {degrees:.1f} degrees; use --resample-shear, or convert the "
                "series with dcm2niix, which corrects tilt",
            )


@rule("D1", "dicom-stack", "slices at equal distances, none missing")
def _d1(stack: Stack, options: ReadOptions) -> Iterator[Finding]:
    depth = stack.depth_mm
    gaps = np.diff(depth)
    if len(gaps) < 2 or gaps.min() < _SAME_PLACE_MM:
        return
    deviation = grid_deviation(depth)
    if deviation <= GRID_NOISE:
        return
    if deviation <= GRID_TOLERANCE:
        yield Finding(
            "D1",
            "warn",
            f"slices lie up to {deviation:.0%} of a step beside equal distances; taken as equal",
        )
        return
    usual = float(np.median(gaps))
    worst = int(np.argmax(np.abs(gaps - usual)))
    missing = round(float(depth[-1] - depth[0]) / usual) + 1 - len(depth)
    what = (
        f"gap of {gaps[worst]:.3g} mm instead of {usual:.3g} mm after {stack.slices[worst].name} "
        f"(slice {worst + 1} of {len(depth)}, about {max(0, missing)} missing)"
    )
    if options.allow_missing_slices:
        yield Finding("D1", "fix", f"{what}; interpolated onto equal distances")
    else:
        yield Finding(
            "D1", "reject", f"{what}; export the series again, or use --allow-missing-slices"
        )


def grid_deviation(depth_mm: NDArray[np.float64]) -> float:
    """How far, in steps, places lie from the best grid of equal distances."""
    if len(depth_mm) < 3:
        return 0.0
    index = np.arange(len(depth_mm), dtype=np.float64)
    step, start = np.polyfit(index, depth_mm, 1)
    return float(np.abs(depth_mm - (start + step * index)).max() / max(step, 1e-9))
