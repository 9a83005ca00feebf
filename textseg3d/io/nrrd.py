"""Strict NRRD reading, with the header in the file (.nrrd) or beside the data (.nhdr)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.io.findings import FindingLog
from textseg3d.io.options import ReadOptions
from textseg3d.io.raster import RasterFacts, data_file, read_raster, text_header
from textseg3d.io.volume import Volume
from textseg3d.io.writer import NRRD_SPACES

MAGIC = b"NRRD000"
# numpy code -> the names that the format knows for it
_TYPE_NAMES = {
    "i1": "signed char,int8,int8_t",
    "u1": "uchar,unsigned char,uint8,uint8_t",
    "i2": "short,short int,signed short,signed short int,int16,int16_t",
    "u2": "ushort,unsigned short,unsigned short int,uint16,uint16_t",
    "i4": "int,signed int,int32,int32_t",
    "u4": "uint,unsigned int,uint32,uint32_t",
    "i8": "longlong,long long,long long int,signed long long,signed long long int,int64,int64_t",
    "u8": "ulonglong,unsigned long long,unsigned long long int,uint64,uint64_t",
    "f4": "float",
    "f8": "double",
}
_TYPE_CODES = {name: code for code, names in _TYPE_NAMES.items() for name in names.split(",")}
_ENCODINGS = {
    "raw": "raw",
    "gzip": "gzip",
    "gz": "gzip",
    "bzip2": "bzip2",
    "bz2": "bzip2",
    "txt": "text",
    "text": "text",
    "ascii": "text",
}
_UNITS_MM = {"mm": 1.0, "millimeter": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001, "µm": 0.001}
_COLOURS = {"rgb-color", "rgba-color", "hsv-color", "xyz-color", "complex"}


def read_nrrd(path: Path, log: FindingLog, options: ReadOptions) -> Volume:
    """Read an NRRD file.

    Raises:
        InputError: a rule rejects (GeometryError where it is about the frame).
    """
    raw, detached = _header_bytes(path, log)
    fields = _parse(raw, log)
    facts = _facts(path, fields, len(raw), detached, log)
    return read_raster(path, facts, log, options, "nrrd", str(fields.get("space", "")))


def _header_bytes(path: Path, log: FindingLog) -> tuple[bytes, bool]:
    """Header with its empty line, and whether the data are in another file."""
    raw = text_header(path, log, b"\n", True)
    end = b"\r\n\r\n" if raw.endswith(b"\r\n") else b"\n\n"
    whole = text_header(path, log, end, True)
    names = [line.split(b":")[0].strip().lower() for line in whole.split(b"\n")]
    detached = b"data file" in names or b"datafile" in names
    if not detached and not whole.endswith(end):
        log.reject("N9", "the header has no end; copy or download the file again")
    return whole, detached


def _parse(raw: bytes, log: FindingLog) -> dict[str, Any]:
    import nrrd

    try:
        lines = raw.decode("utf-8", "replace").splitlines()
        fields = dict(nrrd.read_header(lines))
        size_list = [int(n) for n in fields["sizes"]]
        if int(fields["dimension"]) != len(size_list):
            raise ValueError(f"dimension {fields['dimension']} but {len(size_list)} sizes")
    except Exception as error:  # the parser meets arbitrary text and has no one error class
        log.reject("N9", f"NRRD header cannot be understood ({type(error).__name__}: {error})")
    return {**fields, "sizes": size_list}


def _facts(
    path: Path, fields: dict[str, Any], header_bytes: int, detached: bool, log: FindingLog
) -> RasterFacts:
    sizes = tuple(fields["sizes"])
    encoding = _ENCODINGS.get(str(fields.get("encoding", "")).lower())
    if encoding is None:
        log.reject("N9", f"encoding {fields.get('encoding')!r} is not read; use raw or gzip")
    if int(fields.get("line skip", fields.get("lineskip", 0))):
        log.reject("N9", "'line skip' is not read; write the file anew without it")
    skip = int(fields.get("byte skip", fields.get("byteskip", 0)))
    if skip < -1 or (skip == -1 and encoding != "raw"):
        log.reject("N6", f"'byte skip' is {skip}, expected 0 or more (-1 for raw data only)")
    data = path
    if detached:
        name = str(fields.get("data file", fields.get("datafile", "")))
        if name.upper().startswith("LIST") or "%" in name:
            log.reject("N9", "data spread over several files are not read; join them into one")
        data = data_file(path, name, log)
    spatial, affine, problem, unit = _geometry(fields, len(sizes), log)
    dtype, refusal = _dtype(fields)
    spacing = _spacing(fields, affine, spatial)
    return RasterFacts(
        sizes=sizes,
        spatial=spatial,
        type_name=str(fields.get("type", "")),
        dtype=dtype,
        refusal=refusal,
        affine_lps=affine,
        spacing_mm=spacing,
        no_orientation=problem,
        unit=unit,
        encoding=encoding,
        data=data,
        offset=(-1 if skip == -1 else 0) if detached else header_bytes,
        skip=max(0, skip),
    )


def _dtype(fields: dict[str, Any]) -> tuple[np.dtype[Any] | None, str]:
    code = _TYPE_CODES.get(" ".join(str(fields.get("type", "")).split()))
    if code is None:
        return None, "is no real number"
    kinds = {str(k).lower() for k in fields.get("kinds", [])}
    if kinds & _COLOURS:
        return None, f"is colour or complex (kinds {' '.join(sorted(kinds & _COLOURS))})"
    dtype = np.dtype(code)
    if dtype.itemsize > 1:
        endian = str(fields.get("endian", "")).lower()
        if endian not in ("little", "big"):
            if _ENCODINGS.get(str(fields.get("encoding", "")).lower()) != "text":
                return None, "needs the field 'endian', which is missing"
            return dtype, ""
        dtype = dtype.newbyteorder("<" if endian == "little" else ">")
    return dtype, ""


def _geometry(
    fields: dict[str, Any], dimension: int, log: FindingLog
) -> tuple[tuple[int, int, int], NDArray[np.float64] | None, str, str]:
    """Spatial axes, affine_lps or None, what is missing, unit if it is not mm."""
    directions = fields.get("space directions")
    rows: list[NDArray[np.float64] | None] = []
    for row in directions if directions is not None else []:
        values = None if row is None else np.asarray(row, dtype=np.float64)
        rows.append(None if values is None or np.all(np.isnan(values)) else values)
    inside = [n for n, row in enumerate(rows) if row is not None][:3]
    if len(inside) != 3:
        inside = [0, 1, 2]
        if dimension < 3:
            log.reject("N7", f"{dimension} dimensions, expected 3 or more")
    spatial = (inside[0], inside[1], inside[2])
    signs = NRRD_SPACES.get(str(fields.get("space", "")).strip().lower())
    if signs is None:
        return spatial, None, f"the space is {fields.get('space', 'not stated')!r}", ""
    origin = fields.get("space origin")
    if len(rows) != dimension or sum(r is not None for r in rows) != 3:
        return spatial, None, "'space directions' do not give three axes in space", ""
    affine = np.eye(4)
    columns = [rows[n] for n in spatial]
    if any(c is None or len(c) != 3 for c in columns) or origin is None or len(origin) != 3:
        return spatial, None, "'space directions' or 'space origin' lack three numbers each", ""
    affine[:3, :3] = np.stack([c for c in columns if c is not None], axis=1)
    affine[:3, 3] = np.asarray(origin, dtype=np.float64)
    units = {str(u).strip('"').lower() for u in fields.get("space units", [])} - {"", "none"}
    factor = {_UNITS_MM.get(u) for u in units}
    if len(factor) > 1 or None in factor:
        log.reject("N17", f"space units {sorted(units)} are not understood; use mm")
    scale = next(iter(factor), 1.0) or 1.0
    affine[:3] *= scale
    affine[:3] *= np.asarray(signs)[:, None]
    return spatial, affine, "", "" if scale == 1.0 else next(iter(units))


def _spacing(
    fields: dict[str, Any], affine: NDArray[np.float64] | None, spatial: tuple[int, int, int]
) -> tuple[float, float, float]:
    if affine is not None:
        steps = np.linalg.norm(affine[:3, :3], axis=0)
        return float(steps[0]), float(steps[1]), float(steps[2])
    directions, spacings = fields.get("space directions"), fields.get("spacings")
    found = []
    for axis in spatial:
        if directions is not None and axis < len(directions) and directions[axis] is not None:
            found.append(float(np.linalg.norm(directions[axis])))
        elif spacings is not None and axis < len(spacings):
            found.append(float(spacings[axis]))
        else:
            found.append(float("nan"))
    return found[0], found[1], found[2]
