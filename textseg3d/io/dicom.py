"""Strict reading of one DICOM series: index, choose, check the stack, decode."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.io import unzip
from textseg3d.io.dicom_decoder import Decoder
from textseg3d.io.dicom_index import index_folder
from textseg3d.io.dicom_pixels import CodingFacts, decode_stack, same_pixels
from textseg3d.io.dicom_slices import (
    GRID_TOLERANCE,
    TILT_RADIANS,
    SeriesFacts,
    Slice,
    Stack,
    grid_deviation,
    series_facts,
)
from textseg3d.io.findings import FindingLog
from textseg3d.io.frames import Frame, check_voxel_count, settle
from textseg3d.io.options import ReadOptions
from textseg3d.io.volume import Volume, volume_from_array
from textseg3d.io.voxels import check_voxels


@dataclass(frozen=True)
class DicomSource:
    """Which files a volume came from, for writers that refer to them.

    Attributes:
        series: SeriesInstanceUID.
        modality: "CT" or "MR".
        frames: (file, frame index) of each slice k of the file grid; None where interpolated.
    """

    series: str
    modality: str
    frames: tuple[tuple[Path, int] | None, ...]


def looks_like_dicom(head: bytes) -> bool:
    """Whether the first bytes of a file are DICOM's (with preamble)."""
    return head[128:132] == b"DICM"


def read_dicom(path: Path, log: FindingLog, options: ReadOptions) -> Volume:
    """Read the CT or MR series in a folder, or of one (multi-frame) file.

    Raises:
        InputError: a rule rejects (GeometryError where it is about the frame).
    """
    index = index_folder(path, options)
    log.run("dicom-index", index, options)
    files = [file for file in index.files if file.series == index.chosen]
    facts = _series(files, log, options)
    log.run("dicom-series", facts, options)
    stack = facts.chosen
    if stack is None:
        log.reject("D5", "the series holds no single stack of slices; use --series")
    used = {s.file.path: s.file for s in stack.slices}
    log.run("dicom-coding", CodingFacts(tuple(used.values())), options)
    check_voxel_count((len(stack.slices), *stack.slices[0].size), log, options)
    with Decoder(log) as decoder:
        stack = _without_copies(stack, log, decoder)
        log.run("dicom-stack", stack, options)
        grid = _regular_depth(stack.depth_mm)
        rows, columns = stack.slices[0].size
        frame = Frame((columns, rows, len(grid)), _affine(stack, grid, log))
        log.run("frame", frame, options)
        check_voxel_count(frame.shape, log, options)
        pixels = decode_stack(stack.slices, log, decoder)
    modality = files[0].modality
    check_voxels(pixels, log, options, modality)
    origin: list[int | None] = list(range(len(pixels)))
    if len(grid) != len(pixels) or grid_deviation(stack.depth_mm) > GRID_TOLERANCE:
        pixels, origin = _fill(pixels, stack.depth_mm, grid)
    array, affine, resampled = settle(pixels.transpose(2, 1, 0), frame, log, options)
    places = [None if n is None else stack.slices[n] for n in origin]
    frames = tuple(None if s is None else (s.file.path, s.frame) for s in places)
    return volume_from_array(
        array,
        affine,
        path=path,
        format="dicom",
        header=None if resampled else DicomSource(index.chosen, modality, frames),
        warnings=log.warnings(),
    )


def read_dicom_zip(path: Path, log: FindingLog, options: ReadOptions) -> Volume:
    """Read a series from a zip archive, unpacked with limits into a private folder.

    Raises:
        InputError: D13 for an unsafe archive, else as `read_dicom`.
    """
    with tempfile.TemporaryDirectory(prefix="textseg3d-") as folder:
        unzip.extract(path, Path(folder), log)
        volume = read_dicom(Path(folder), log, options)
    source = replace(volume.source, path=path, header=None)
    return replace(volume, source=source)


def _series(files: list[Any], log: FindingLog, options: ReadOptions) -> SeriesFacts:
    try:
        return series_facts(files, options)
    except MemoryError:
        raise
    except Exception as error:  # elements of functional groups are parsed here, damaged ones too
        log.reject(
            "D12",
            f"damaged DICOM header ({type(error).__name__}: {error}); export the series again",
        )


def _without_copies(stack: Stack, log: FindingLog, decoder: Decoder) -> Stack:
    """Leave out slices that repeat the one before them, place and pixels alike (D2)."""
    keep = [0]
    for k in range(1, len(stack.slices)):
        last = keep[-1]
        apart = stack.depth_mm[k] - stack.depth_mm[last]
        moved = np.abs(stack.drift_mm[k] - stack.drift_mm[last]).max()
        pair = stack.slices[last], stack.slices[k]
        copied = apart < 1e-3 and moved < 1e-3
        if not (copied and same_pixels(*pair, log, decoder)):
            keep.append(k)
    dropped = len(stack.slices) - len(keep)
    if not dropped:
        return stack
    log.add("D2", "fix", f"{dropped} slices are there twice, pixel for pixel; one of each kept")
    return replace(
        stack,
        slices=tuple(stack.slices[k] for k in keep),
        depth_mm=stack.depth_mm[keep],
        drift_mm=stack.drift_mm[keep],
    )


def _regular_depth(depth_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places in mm at equal distances, from the first slice to the last."""
    count = len(depth_mm)
    if count >= 3 and grid_deviation(depth_mm) > GRID_TOLERANCE:
        usual = float(np.median(np.diff(depth_mm)))
        count = max(1, round(float(depth_mm[-1] - depth_mm[0]) / usual)) + 1
    return np.linspace(depth_mm[0], depth_mm[-1], count)


def _fill(
    pixels: NDArray[Any], depth_mm: NDArray[np.float64], grid_mm: NDArray[np.float64]
) -> tuple[NDArray[Any], list[int | None]]:
    """Slices [k, rows, columns] at the places of a grid: copies where one is there, else linear.

    Returns:
        the slices, and for each the index of the slice that it copies (None: interpolated).
    """
    step = grid_mm[1] - grid_mm[0]
    filled = np.empty((len(grid_mm), *pixels.shape[1:]), pixels.dtype)
    origin: list[int | None] = []
    for k, place in enumerate(grid_mm):
        nearest = int(np.abs(depth_mm - place).argmin())
        if abs(depth_mm[nearest] - place) <= GRID_TOLERANCE * step:
            filled[k] = pixels[nearest]
            origin.append(nearest)
            continue
        high = int(np.searchsorted(depth_mm, place))
        low = high - 1
        weight = (place - depth_mm[low]) / (depth_mm[high] - depth_mm[low])
        mixed = pixels[low] * (1.0 - weight) + pixels[high] * weight
        filled[k] = np.rint(mixed) if pixels.dtype.kind == "i" else mixed
        origin.append(None)
    return filled, origin


def _affine(stack: Stack, grid_mm: NDArray[np.float64], log: FindingLog) -> NDArray[np.float64]:
    """float64 [4, 4]: (column, row, slice) to LPS mm; the third axis leans with a tilt."""
    first = stack.slices[0]
    between_rows, between_columns = first.pixel_mm or (0.0, 0.0)
    column, row, normal = stack.axes.T
    if len(grid_mm) > 1:
        step = (grid_mm[-1] - grid_mm[0]) / (len(grid_mm) - 1)
        lean = stack.drift_mm[-1] / (grid_mm[-1] - grid_mm[0])
        leaning = normal + stack.axes[:, :2] @ lean
        third = (leaning if np.linalg.norm(lean) > TILT_RADIANS else normal) * step
    else:
        third = normal * _thickness(first, log)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([column * between_columns, row * between_rows, third], axis=1)
    affine[:3, 3] = np.asarray(first.position)
    return affine


def _thickness(s: Slice, log: FindingLog) -> float:
    """Step for a stack of one slice."""
    for key in ("SpacingBetweenSlices", "SliceThickness"):
        value = s.file.header.get(key)
        if value is not None and float(value) > 0:
            return float(value)
    log.reject("D6", f"{s.name} is the only slice and states no SliceThickness; give its series")
