"""What NRRD and MetaImage have in common: a text header, then numbers, here or in a second file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.io.findings import Finding, FindingLog, rule
from textseg3d.io.frames import (
    Frame,
    assumed_affine,
    check_volume_index,
    orientation_missing,
    settle,
)
from textseg3d.io.options import ReadOptions
from textseg3d.io.streams import ByteStream
from textseg3d.io.volume import Volume, volume_from_array
from textseg3d.io.voxels import check_voxels

MAX_HEADER_BYTES = 1 << 20
_TEXT_BYTES_PER_VOXEL = 32


@dataclass(frozen=True)
class RasterFacts:
    """A text header, understood.

    Attributes:
        sizes: of all axes, fastest first.
        spatial: which three of the axes lie in space (file order).
        type_name: the voxel type as the header names it.
        dtype: numpy type with byte order, or None if the type is no real number.
        refusal: why the voxel type is refused, for N19.
        affine_lps: float64 [4, 4] or None where the header states no orientation.
        spacing_mm: steps of the spatial axes, for the case that orientation is missing.
        no_orientation: what is missing, for N10.
        unit: spatial unit where it is not mm (already applied).
        encoding: "raw", "gzip", "zlib", "bzip2" or "text".
        data: the file that holds the numbers.
        offset: where they start in that file; -1: they end with the file.
        stored_bytes: how many bytes of the file are the stream, None for the rest.
        skip: bytes to leave out after decoding.
    """

    sizes: tuple[int, ...]
    spatial: tuple[int, int, int]
    type_name: str
    dtype: np.dtype[Any] | None
    refusal: str
    affine_lps: NDArray[np.float64] | None
    spacing_mm: tuple[float, float, float]
    no_orientation: str
    unit: str
    encoding: str
    data: Path
    offset: int = 0
    stored_bytes: int | None = None
    skip: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along the spatial axes, in file order."""
        i, j, k = (self.sizes[n] for n in self.spatial)
        return i, j, k

    @property
    def extra(self) -> tuple[int, ...]:
        """Sizes of the axes that are not in space."""
        return tuple(n for axis, n in enumerate(self.sizes) if axis not in self.spatial)


@rule("N7", "raster", "dimensions are positive and within --max-voxels")
def _n7(facts: RasterFacts, options: ReadOptions) -> Iterator[Finding]:
    if any(n < 1 for n in facts.sizes):
        yield Finding("N7", "reject", f"sizes {facts.sizes} must all be 1 or more")
        return
    # an axis of components before the spatial ones can only be read together with them
    whole = facts.sizes if facts.spatial != (0, 1, 2) else facts.shape
    if math.prod(whole) > options.max_voxels:
        yield Finding(
            "N7",
            "reject",
            f"{math.prod(whole)} numbers {facts.sizes} are more than {options.max_voxels}; "
            "raise --max-voxels if the scan really is that large",
        )


@rule("N10", "raster", "the file states its orientation")
def _n10(facts: RasterFacts, options: ReadOptions) -> Iterator[Finding]:
    if facts.affine_lps is None:
        yield orientation_missing(facts.no_orientation, options)


@rule("N12", "raster", "spacing is not negative")
def _n12(facts: RasterFacts, options: ReadOptions) -> Iterator[Finding]:
    if any(s < 0 for s in facts.spacing_mm):
        yield Finding("N12", "reject", f"spacing {facts.spacing_mm} is negative")


@rule("N17", "raster", "spatial unit known")
def _n17(facts: RasterFacts, options: ReadOptions) -> Iterator[Finding]:
    if facts.unit:
        yield Finding("N17", "fix", f"unit {facts.unit} converted to mm")


@rule("N18", "raster", "one volume, or --volume says which")
def _n18(facts: RasterFacts, options: ReadOptions) -> Iterator[Finding]:
    yield from check_volume_index(facts.extra, options)


@rule("N19", "raster", "one real number per voxel")
def _n19(facts: RasterFacts, options: ReadOptions) -> Iterator[Finding]:
    if facts.refusal or facts.dtype is None:
        why = facts.refusal or "is not supported"
        yield Finding("N19", "reject", f"voxel type {facts.type_name!r} {why}; export it as int16")


def text_header(path: Path, log: FindingLog, end: bytes, whole_is_header: bool) -> bytes:
    """The header with the mark that ends it (`end` must follow a line break).

    Raises:
        InputError: N9 if the mark is not within the first MiB.
    """
    with ByteStream(path, log, encoding="raw") as stream:
        data = stream.peek(min(MAX_HEADER_BYTES, stream.stored_bytes))
        short = stream.stored_bytes <= MAX_HEADER_BYTES
    found = data.find(end)
    if found >= 0:
        return data[: found + len(end)]
    if whole_is_header and short:
        return data
    log.reject("N9", "the header has no end; copy or download the file again")


def data_file(path: Path, name: str, log: FindingLog) -> Path:
    """The second file that a header names: beside or below the header, never elsewhere.

    Raises:
        InputError: N26 if it lies elsewhere, N1 if it is not there.
    """
    folder = path.parent.resolve()
    try:
        target = (folder / name).resolve()
        inside = target.is_relative_to(folder)
    except (OSError, ValueError, RuntimeError):
        inside = False
    if not inside:
        log.reject("N26", f"names the data file {name!r} outside its own folder; put it beside it")
    if not target.is_file():
        log.reject("N1", f"the data file {name!r} is missing; copy it beside the header")
    return target


def read_raster(
    path: Path, facts: RasterFacts, log: FindingLog, options: ReadOptions, format: str, space: str
) -> Volume:
    """Rules, then voxels, then the canonical volume.

    Args:
        path: the header's file.
        facts: what it says.
        log: findings.
        options: what the user said.
        format: "nrrd" or "mha".
        space: NRRD space name that a writer should keep ("" for none).

    Raises:
        InputError: a rule rejects.
    """
    log.run("raster", facts, options)
    affine = facts.affine_lps
    if affine is None:
        affine = assumed_affine(options.assume_orientation or "LPS", facts.spacing_mm)
        space = ""
    frame = Frame(facts.shape, affine)
    log.run("frame", frame, options)
    array = _numbers(facts, log, options)
    check_voxels(array, log, options)
    array, affine, _ = settle(array, frame, log, options)
    return volume_from_array(
        array,
        affine,
        path=path,
        format=format,
        header={"space": space} if space else None,
        warnings=log.warnings(),
    )


def _numbers(facts: RasterFacts, log: FindingLog, options: ReadOptions) -> NDArray[Any]:
    dtype = facts.dtype
    assert dtype is not None
    index = options.volume_index or 0
    count, volumes = math.prod(facts.sizes), math.prod(facts.extra)
    leading = facts.spatial == (0, 1, 2)  # then each volume is one stretch of the file
    wanted = count // volumes if leading else count
    offset = facts.offset
    if offset < 0:
        offset = max(0, facts.data.stat().st_size - count * dtype.itemsize)
    encoding = "raw" if facts.encoding == "text" else facts.encoding
    with ByteStream(
        facts.data, log, encoding=encoding, offset=offset, size=facts.stored_bytes
    ) as stream:
        if facts.encoding == "text":
            flat = _text_numbers(stream, count, dtype, log)
            flat = flat[index * wanted : (index + 1) * wanted] if leading else flat
        else:
            stream.expect(facts.skip + count * dtype.itemsize)
            stream.skip(facts.skip + (index * wanted * dtype.itemsize if leading else 0))
            flat = np.empty(wanted, dtype)
            stream.readinto(flat.view(np.uint8).data)
            stream.skip((count - (index + 1) * wanted) * dtype.itemsize if leading else 0)
        if extra := stream.finish():
            log.add("N1", "warn", f"{extra} bytes after the last voxel, ignored")
    if not dtype.isnative:
        flat = flat.byteswap(inplace=True).view(dtype.newbyteorder())
    if leading:
        return flat.reshape(facts.shape, order="F")
    full = flat.reshape(facts.sizes, order="F")
    others = [axis for axis in range(len(facts.sizes)) if axis not in facts.spatial]
    full = full.transpose(*facts.spatial, *others)
    return full.reshape(*facts.shape, -1, order="F")[..., index]


def _text_numbers(
    stream: ByteStream, count: int, dtype: np.dtype[Any], log: FindingLog
) -> NDArray[Any]:
    if stream.stored_bytes < 2 * count - 1:
        log.reject("N1", f"truncated: {stream.stored_bytes} characters cannot hold {count} numbers")
    if stream.stored_bytes > _TEXT_BYTES_PER_VOXEL * count + MAX_HEADER_BYTES:
        log.reject("N8", f"{stream.stored_bytes} characters for {count} numbers; write it anew")
    words = stream.read(stream.stored_bytes).split()
    if len(words) < count:
        log.reject("N1", f"truncated: {len(words)} numbers where {count} are declared")
    try:
        values = np.array(words[:count], dtype=np.float64)
    except ValueError:
        log.reject("N2", "damaged: the text data hold something that is no number")
    return values.astype(dtype)
