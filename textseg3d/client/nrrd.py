"""Just enough NRRD for a client: an array to a file that is sent, a mask that came back."""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from textseg3d.errors import GeometryError, InputError

_TYPES = {
    "i1": "int8", "u1": "uint8", "i2": "int16", "u2": "uint16", "i4": "int32", "u4": "uint32",
    "f4": "float", "f8": "double",
}  # fmt: skip


def encode(
    array: NDArray[Any],
    spacing_mm: tuple[float, float, float],
    direction: ArrayLike | None = None,
    origin_mm: tuple[float, float, float] | None = None,
) -> bytes:
    """A scan as a NRRD file.

    Args:
        array: [z, y, x].
        spacing_mm: (z, y, x).
        direction: [3, 3], column n is the LPS unit vector of the array's x, y, z axis; default:
            x to the Left, y to Posterior, z to Superior.
        origin_mm: LPS (x, y, z) of voxel [0, 0, 0]; default 0.

    Raises:
        InputError: for another shape or a type that is no scan's.
        GeometryError: for a spacing that is not positive.
    """
    check_scan_array(array, spacing_mm)
    values = np.ascontiguousarray(array)
    kind = values.dtype.newbyteorder("<")
    axes = np.eye(3) if direction is None else np.asarray(direction, dtype=np.float64)
    steps = axes * np.asarray(spacing_mm[::-1], dtype=np.float64)
    header = [
        "NRRD0004",
        f"type: {_TYPES[kind.str[1:]]}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(str(n) for n in values.shape[::-1])}",
        f"space directions: {' '.join(_vector(steps[:, n]) for n in range(3))}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(np.zeros(3) if origin_mm is None else np.asarray(origin_mm))}",
    ]
    data = gzip.compress(values.astype(kind, copy=False).tobytes(), 1, mtime=0)
    return ("\n".join(header) + "\n\n").encode() + data


def check_scan_array(array: NDArray[Any], spacing_mm: tuple[float, float, float]) -> None:
    """Refuse what no server takes as a scan.

    Raises:
        InputError: for another shape or a type that is no scan's.
        GeometryError: for a spacing that is not positive.
    """
    if array.ndim != 3 or array.dtype.newbyteorder("<").str[1:] not in _TYPES:
        raise InputError(
            f"array of shape {array.shape} and type {array.dtype}; expected [z, y, x] of integers "
            "of up to 32 bits, float32 or float64"
        )
    if len(spacing_mm) != 3 or not all(0 < s < np.inf for s in spacing_mm):
        raise GeometryError(
            f"spacing_mm is {spacing_mm}; expected three positive numbers (z, y, x)"
        )


def decode_mask(content: bytes) -> NDArray[np.bool_]:
    """A mask that the server wrote, bool [k, j, i]: [z, y, x] of an array that was sent.

    Raises:
        InputError: if it is no NRRD file of uint8 in gzip.
    """
    head, found, data = content.partition(b"\n\n")
    lines = [line for line in head.decode("utf-8", "replace").split("\n") if ": " in line]
    fields = dict(line.split(": ", 1) for line in lines)
    if not found or fields.get("encoding") not in ("gzip", "gz"):
        raise InputError("the server sent no NRRD file in gzip; is it of another version?")
    if fields.get("type") not in ("uint8", "unsigned char", "uchar"):
        raise InputError(f"the server sent a mask of type {fields.get('type')}; expected uint8")
    shape = [int(n) for n in fields["sizes"].split()][::-1]
    return np.frombuffer(gzip.decompress(data), np.uint8).reshape(shape) != 0


def _vector(values: NDArray[np.float64]) -> str:
    return f"({','.join(repr(float(v)) for v in values)})"
