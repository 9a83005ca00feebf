"""Reads safetensors headers strictly, without any other package, before weights are loaded.

A file is an unsigned 64-bit little-endian header length N, N bytes of JSON (tensor name →
dtype, shape, [begin, end] in the data part) and the data part.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textseg3d.errors import ModelError

MAX_HEADER_BYTES = 16 * 2**20
_ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip
# Floating-point numbers whose exponent bits are all ones are NaN or infinite.
_EXPONENT = {
    "F16": (np.uint16, 0x7C00),
    "BF16": (np.uint16, 0x7F80),
    "F32": (np.uint32, 0x7F800000),
    "F64": (np.uint64, 0x7FF0000000000000),
}
_BLOCK = 2**20


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a file: dtype name, shape, first and last byte + 1 in the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(path: str | Path) -> dict[str, TensorEntry]:
    """Header of a safetensors file, every size checked against the file's own length.

    Raises:
        ModelError: if the file is truncated or its header is too long, not JSON, or describes
            tensors that overlap, leave gaps or do not end where the file ends.
    """
    size = Path(path).stat().st_size
    with open(path, "rb") as stream:
        prefix = stream.read(8)
        if len(prefix) < 8:
            raise ModelError(f"{path} has {size} bytes, too few for a safetensors file")
        (length,) = struct.unpack("<Q", prefix)
        if length > MAX_HEADER_BYTES:
            raise ModelError(
                f"{path} announces a header of {length} bytes (at most {MAX_HEADER_BYTES} are "
                "read); it is not a safetensors file of ours"
            )
        if 8 + length > size:
            raise ModelError(
                f"{path} is truncated: {size} bytes, its header alone ends at {8 + length}"
            )
        raw = stream.read(length)
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} has a damaged header: {error}") from None
    if not isinstance(header, dict):
        raise ModelError(f"{path} has a header that is no JSON object")
    header.pop("__metadata__", None)
    entries = {name: _entry(path, name, item, 8 + length) for name, item in header.items()}
    _check_layout(path, entries, 8 + length, size)
    return entries


def find_non_finite(path: str | Path, entries: dict[str, TensorEntry]) -> str | None:
    """Name of the first tensor of the file that holds a NaN or an infinite number, or None."""
    with open(path, "rb") as stream:
        for name, entry in entries.items():
            if entry.dtype not in _EXPONENT:
                continue
            integer, mask = _EXPONENT[entry.dtype]
            stream.seek(entry.begin)
            left = entry.end - entry.begin
            while left > 0:
                block = stream.read(min(_BLOCK, left))
                bits = np.frombuffer(block, dtype=np.dtype(integer).newbyteorder("<"))
                if np.any(bits & integer(mask) == integer(mask)):
                    return name
                left -= len(block)
    return None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result


def _entry(path: str | Path, name: str, item: Any, start: int) -> TensorEntry:
    """Check one header item against the format; offsets become positions in the file."""
    damaged = ModelError(f"{path}: the header's entry of tensor {name!r} is damaged: {item!r:.200}")
    if not isinstance(item, dict) or set(item) != {"dtype", "shape", "data_offsets"}:
        raise damaged
    dtype, shape, offsets = item["dtype"], item["shape"], item["data_offsets"]
    if not _whole_numbers(shape) or not _whole_numbers(offsets) or len(offsets) != 2:
        raise damaged
    if dtype not in _ITEM_BYTES:
        raise ModelError(
            f"{path}: tensor {name!r} has the dtype {dtype!r}, known are {', '.join(_ITEM_BYTES)}"
        )
    if offsets[1] - offsets[0] != math.prod(shape) * _ITEM_BYTES[dtype]:
        raise ModelError(
            f"{path}: tensor {name!r} of shape {shape} and dtype {dtype} "
            f"cannot fill bytes {offsets}"
        )
    return TensorEntry(dtype, tuple(shape), start + offsets[0], start + offsets[1])


def _whole_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 2**63 for v in values
    )


def _check_layout(path: str | Path, entries: dict[str, TensorEntry], start: int, size: int) -> None:
    """Tensors must follow each other without gaps and end with the file."""
    position = start
    for name, entry in sorted(entries.items(), key=lambda pair: (pair[1].begin, pair[1].end)):
        if entry.begin != position:
            raise ModelError(f"{path}: tensor {name!r} overlaps another or leaves a gap before it")
        position = entry.end
    if position > size:
        raise ModelError(f"{path} is truncated: {size} bytes, its tensors need {position}")
    if position < size:
        raise ModelError(f"{path} has {size - position} bytes more than its tensors")
