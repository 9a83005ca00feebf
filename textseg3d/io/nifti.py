"""Strict NIfTI-1 and NIfTI-2 reading: rules on the bytes first, then one pass over the voxels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.io.findings import FindingLog, enforced
from textseg3d.io.frames import settle
from textseg3d.io.nifti_header import (
    DTYPES,
    HEADER_BYTES,
    NiftiFacts,
    check_extensions,
    header_version,
    nifti_frame,
    parse_header,
    scaling,
)
from textseg3d.io.options import ReadOptions
from textseg3d.io.streams import ByteStream
from textseg3d.io.volume import Volume, volume_from_array
from textseg3d.io.voxels import check_voxels

enforced("N4", "nifti-name", "compression is what the name says")
enforced("N25", "extensions", "header extensions fit between header and voxels")
MAX_EXTENSION_BYTES = 64 << 20


def read_nifti(path: Path, log: FindingLog, options: ReadOptions) -> Volume:
    """Read one NIfTI file, or the .hdr of a pair.

    Raises:
        InputError: a rule rejects (GeometryError where it is about the frame).
    """
    path, image = _pair(path, log)
    with ByteStream(path, log) as stream:
        _check_name(path, stream, log)
        start = stream.peek(4)
        kind = header_version(start)
        if kind is None:
            log.reject("N9", f"starts with {start!r}, which is no NIfTI header")
        data = stream.read(HEADER_BYTES[kind[0]])
        facts = parse_header(data, *kind)
        log.run("nifti-magic", facts, options)
        log.run("nifti", facts, options)
        frame = nifti_frame(facts, options)
        log.run("frame", frame, options)
        if not facts.pair:
            array = _read_voxels(facts, stream, log, options, lead=len(data))
        else:
            stream.finish()
            if image is None:
                log.reject("N1", f"the voxels should be in an .img beside {path.name}, not there")
            with ByteStream(image, log) as voxels:
                array = _read_voxels(facts, voxels, log, options, lead=0)
    check_voxels(array, log, options)
    array, affine, resampled = settle(array, frame, log, options)
    return volume_from_array(
        array,
        affine,
        path=path,
        format="nifti",
        header=None if resampled else facts.header,
        warnings=log.warnings(),
    )


def _pair(path: Path, log: FindingLog) -> tuple[Path, Path | None]:
    """(.hdr, .img) from either name; (path, None) for a single file."""
    name = path.name
    packed = ".gz" if name.lower().endswith(".gz") else ""
    stem, suffix = name[: len(name) - len(packed)], ""
    if stem.lower().endswith((".hdr", ".img")):
        stem, suffix = stem[:-4], stem[-4:]
    if not suffix:
        return path, None
    upper = suffix.isupper()

    def sibling(wanted: str) -> Path | None:
        wanted = wanted.upper() if upper else wanted
        for tail in (packed, "" if packed else ".gz"):
            candidate = path.with_name(stem + wanted + tail)
            if candidate.exists():
                return candidate
        return None

    if suffix.lower() == ".hdr":
        return path, sibling(".img")
    header = sibling(".hdr")
    if header is None:
        log.reject("N9", f"an .img needs its .hdr beside it, and {stem}.hdr is not there")
    return header, path


def _check_name(path: Path, stream: ByteStream, log: FindingLog) -> None:
    named, packed = path.name.lower().endswith(".gz"), stream.encoding == "gzip"
    if named and not packed:
        log.add("N4", "fix", "named .gz but not compressed, read as it is")
    elif packed and not named:
        log.add("N4", "fix", "compressed but not named .gz, read as gzip")
    log.passed("nifti-name")


def _read_voxels(
    facts: NiftiFacts, stream: ByteStream, log: FindingLog, options: ReadOptions, lead: int
) -> NDArray[Any]:
    """Voxels [i, j, k] in values (scaled where the header says so), native byte order."""
    dtype = np.dtype(facts.endian + DTYPES[facts.datatype])
    gap = int(facts.vox_offset) - lead
    volumes = math.prod(facts.extra)
    size = math.prod(facts.spatial) * dtype.itemsize
    if gap > MAX_EXTENSION_BYTES:
        stream.expect(gap)
        log.reject("N25", f"{gap} bytes of header extensions, at most {MAX_EXTENSION_BYTES} read")
    block = stream.peek(gap)
    if len(block) < gap:
        log.reject("N6", f"vox_offset {gap + lead} is beyond the {lead + len(block)} bytes there")
    stream.expect(gap + size * volumes)
    stream.skip(gap)
    for finding in check_extensions(block if lead else b"", facts.endian):
        log.add(finding.rule, finding.verdict, finding.message)
    log.passed("extensions")
    log.stop_if_rejected()

    index = options.volume_index or 0
    stream.skip(index * size)
    flat = np.empty(math.prod(facts.spatial), dtype)
    stream.readinto(flat.view(np.uint8).data)
    stream.skip((volumes - 1 - index) * size)
    if extra := stream.finish():
        log.add("N1", "warn", f"{extra} bytes after the last voxel, ignored")
    if not dtype.isnative:
        flat = flat.byteswap(inplace=True).view(dtype.newbyteorder())
    return _scaled(flat, facts).reshape(facts.spatial, order="F")


def _scaled(flat: NDArray[Any], facts: NiftiFacts) -> NDArray[Any]:
    factors = scaling(facts)
    if factors is None:
        return flat
    values: NDArray[Any] = flat.astype(
        np.float64 if flat.dtype == np.float64 else np.float32, copy=False
    )
    np.multiply(values, factors[0], out=values)
    np.add(values, factors[1], out=values)
    return values
