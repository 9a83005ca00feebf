"""Strict MetaImage reading: .mha, and .mhd with its data file. Own decoder, nothing zero-filled."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.io.findings import FindingLog
from textseg3d.io.options import ReadOptions
from textseg3d.io.raster import RasterFacts, data_file, read_raster, text_header
from textseg3d.io.streams import GZIP_MAGIC
from textseg3d.io.volume import Volume

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_KEY = re.compile(rb"^\s*(ObjectType|NDims|Comment|ObjectSubType|TransformType)\s*=", re.M)


def looks_like_metaimage(head: bytes) -> bool:
    """Whether the first bytes of a file are a MetaImage header."""
    return _KEY.match(head) is not None


def read_metaimage(path: Path, log: FindingLog, options: ReadOptions) -> Volume:
    """Read a MetaImage.

    Raises:
        InputError: a rule rejects (GeometryError where it is about the frame).
    """
    raw = _header_bytes(path, log)
    fields = _fields(raw, log)
    facts = _facts(path, fields, len(raw), log)
    return read_raster(path, facts, log, options, "mha", "")


def _header_bytes(path: Path, log: FindingLog) -> bytes:
    """Everything up to and with the line "ElementDataFile = …"."""
    data = text_header(path, log, b"ElementDataFile", False)
    start = len(data) - len(b"ElementDataFile")
    if start > 0 and data[start - 1 : start] not in (b"\n", b"\r"):
        log.reject("N9", "ElementDataFile is not on a line of its own; write the file anew")
    with open(path, "rb") as file:
        file.seek(start)
        return data[:start] + file.readline(4096)


def _fields(raw: bytes, log: FindingLog) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in raw.decode("utf-8", "replace").splitlines():
        key, equals, value = line.partition("=")
        if not line.strip():
            continue
        if not equals:
            log.reject("N9", f"MetaImage header line {line[:40]!r} has no '='")
        fields[key.strip()] = value.strip()
    return fields


def _numbers(fields: dict[str, str], keys: tuple[str, ...], log: FindingLog) -> list[float] | None:
    for key in keys:
        if key in fields:
            try:
                return [float(word) for word in fields[key].split()]
            except ValueError:
                log.reject("N9", f"{key} = {fields[key][:40]!r} are not numbers")
    return None


def _integer(fields: dict[str, str], key: str, default: int, log: FindingLog) -> int:
    try:
        return int(fields.get(key, default))
    except ValueError:
        log.reject("N9", f"{key} = {fields[key][:40]!r} is not a whole number")


def _flag(fields: dict[str, str], *keys: str) -> bool:
    return any(fields.get(key, "").lower() in ("true", "1", "t") for key in keys)


def _facts(path: Path, fields: dict[str, str], header_bytes: int, log: FindingLog) -> RasterFacts:
    if fields.get("ObjectType", "Image").lower() != "image":
        log.reject("N9", f"ObjectType is {fields['ObjectType']!r}, expected Image")
    dimension = _integer(fields, "NDims", 0, log)
    sizes = [int(n) if abs(n) < 2**62 else -1 for n in _numbers(fields, ("DimSize",), log) or []]
    if dimension not in (3, 4) or len(sizes) != dimension:
        log.reject("N7", f"NDims is {dimension} with {len(sizes)} sizes, expected 3 or 4 of each")
    spacing = _numbers(fields, ("ElementSpacing", "ElementSize"), log)
    if spacing is None or len(spacing) != dimension:
        log.reject("N13", f"ElementSpacing must give {dimension} numbers; correct the header")
    affine, problem = _affine(fields, dimension, spacing, log)
    channels = _integer(fields, "ElementNumberOfChannels", 1, log)
    type_name = fields.get("ElementType", "")
    code = _TYPES.get(type_name.upper())
    order = ">" if _flag(fields, "BinaryDataByteOrderMSB", "ElementByteOrderMSB") else "<"
    first = 0
    if channels != 1:
        sizes, first = [channels, *sizes], 1
    data, offset, stored = _data_place(path, fields, header_bytes, log)
    return RasterFacts(
        sizes=tuple(sizes),
        spatial=(first, first + 1, first + 2),
        type_name=type_name,
        dtype=None if code is None else np.dtype(order + code),
        refusal="",
        affine_lps=affine,
        spacing_mm=(spacing[0], spacing[1], spacing[2]),
        no_orientation=problem,
        unit="",
        encoding=_encoding(fields, data, max(0, offset)),
        data=data,
        offset=offset,
        stored_bytes=stored,
    )


def _encoding(fields: dict[str, str], data: Path, offset: int) -> str:
    if not _flag(fields, "CompressedData"):
        return "raw" if _flag(fields, "BinaryData") else "text"
    with open(data, "rb") as file:
        file.seek(offset)
        return "gzip" if file.read(2) == GZIP_MAGIC else "zlib"


def _data_place(
    path: Path, fields: dict[str, str], header_bytes: int, log: FindingLog
) -> tuple[Path, int, int | None]:
    """File, offset and stored length of the numbers."""
    name = fields.get("ElementDataFile", "")
    compressed = _flag(fields, "CompressedData")
    stored = _integer(fields, "CompressedDataSize", -1, log) if compressed else -1
    if name.upper() == "LOCAL":
        data, offset = path, header_bytes
    elif not name or name.upper().startswith("LIST") or "%" in name:
        log.reject("N9", f"ElementDataFile = {name!r}: one data file is expected")
    else:
        data = data_file(path, name, log)
        offset = _integer(fields, "HeaderSize", 0, log)
        if offset < -1 or (offset == -1 and compressed):
            log.reject("N6", f"HeaderSize is {offset}, expected 0 or more (-1 for raw data only)")
    if compressed and stored > data.stat().st_size - offset:
        log.reject(
            "N1",
            f"truncated: CompressedDataSize is {stored}, but {data.stat().st_size - offset} bytes "
            "are there; copy or download it again",
        )
    return data, offset, stored if stored > 0 else None


def _affine(
    fields: dict[str, str], dimension: int, spacing: list[float], log: FindingLog
) -> tuple[NDArray[np.float64] | None, str]:
    """affine_lps, or None and what is missing. MetaImage rows are the axes; space is LPS."""
    matrix = _numbers(fields, ("TransformMatrix", "Rotation", "Orientation"), log)
    origin = _numbers(fields, ("Offset", "Position", "Origin"), log)
    if matrix is None:
        return None, "the header has no TransformMatrix"
    if len(matrix) != dimension**2 or origin is None or len(origin) != dimension:
        return None, f"TransformMatrix or Offset do not fit {dimension} dimensions"
    axes: NDArray[Any] = np.asarray(matrix).reshape(dimension, dimension)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = axes.T * np.asarray(spacing[:3])
    affine[:3, 3] = origin[:3]
    return affine, ""
