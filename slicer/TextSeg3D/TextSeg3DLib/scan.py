"""A volume as a file that the server reads, and the segments in the file that comes back."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import ServerError, TextSegError

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_TYPES = {
    "i1": "int8", "u1": "uint8", "i2": "int16", "u2": "uint16", "i4": "int32", "u4": "uint32",
    "f4": "float", "f8": "double",
}  # fmt: skip


@dataclass(frozen=True)
class Scan:
    """A volume, taken out of Slicer.

    Attributes:
        array: [k, j, i].
        ijk_to_ras: [4, 4], to where the patient is: with the transforms that the volume is under.
        key: changes whenever the volume does.
    """

    array: np.ndarray
    ijk_to_ras: np.ndarray
    key: tuple[Any, ...] = ()

    def encode(self) -> bytes:
        """The content of a NRRD file, in the order of the volume's voxels.

        Raises:
            TextSegError: if the voxels are of a type that no scan has.
        """
        values = self.array
        if values.dtype.kind in "iu" and values.dtype.itemsize == 8:
            values = _smaller(values)
        kind = values.dtype.newbyteorder("<")
        if values.ndim != 3 or kind.str[1:] not in _TYPES:
            raise TextSegError(f"voxels of type {values.dtype} are not those of a scan")
        affine = RAS_TO_LPS @ np.asarray(self.ijk_to_ras, dtype=np.float64)
        header = [
            "NRRD0004",
            f"type: {_TYPES[kind.str[1:]]}",
            "dimension: 3",
            "space: left-posterior-superior",
            f"sizes: {' '.join(str(n) for n in values.shape[::-1])}",
            f"space directions: {' '.join(_vector(affine[:3, n]) for n in range(3))}",
            "kinds: domain domain domain",
            "endian: little",
            "encoding: gzip",
            f"space origin: {_vector(affine[:3, 3])}",
        ]
        voxels = np.ascontiguousarray(values, dtype=kind)
        return ("\n".join(header) + "\n\n").encode() + gzip.compress(voxels.data.cast("B"), 1)


def _smaller(values: np.ndarray) -> np.ndarray:
    """Integers of 64 bits in 32, if they fit."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low < -(2**31) or high >= 2**31:
        raise TextSegError(f"voxel values from {low} to {high} are not those of a scan")
    return values.astype(np.int32)


def _vector(values: np.ndarray) -> str:
    return f"({','.join(repr(float(v)) for v in values)})"


@dataclass(frozen=True)
class Segment:
    """One mask that came back.

    Attributes:
        name: the prompt.
        colour: red, green, blue from 0 to 1.
        terminology: Slicer's one-line entry, with the side where the prompt says one.
        coded: whether that entry is a published code, not just words.
        offset: (i, j, k) of the voxels' first corner in the volume.
        voxels: uint8 [k, j, i], 0 or 1, cropped; empty if nothing was found.
    """

    name: str
    colour: tuple[float, float, float]
    terminology: str
    coded: bool
    offset: tuple[int, int, int]
    voxels: np.ndarray


def read_segments(content: bytes, record: Mapping[str, Any]) -> list[Segment]:
    """The segments of a `.seg.nrrd` file, named by the prompts of the record beside it.

    Raises:
        ServerError: if it is no such file.
    """
    head, found, data = content.partition(b"\n\n")
    fields, pairs = {}, {}
    for line in head.decode("utf-8", "replace").split("\n"):
        if ":=" in line:
            key, _, value = line.partition(":=")
            pairs[key] = value
        elif ": " in line:
            key, _, value = line.partition(": ")
            fields[key] = value
    if not found or fields.get("encoding") != "gzip" or "sizes" not in fields:
        raise ServerError("the server sent no segmentation; is it of another version?")
    dtype = {"uint8": np.uint8, "uint16": np.dtype("<u2")}[fields["type"]]
    shape = [int(n) for n in fields["sizes"].split()][::-1]
    layers = np.frombuffer(gzip.decompress(data), dtype).reshape(shape)
    layers = layers[..., None] if layers.ndim == 3 else layers  # [k, j, i, layer]
    segments = []
    for entry in record["prompts"]:
        if entry.get("segment"):
            prefix = f"Segment{entry['segment'] - 1}_"
            mine = {k[len(prefix) :]: v for k, v in pairs.items() if k.startswith(prefix)}
            segments.append(_segment(entry["text"], mine, layers))
    return segments


def _segment(name: str, fields: Mapping[str, str], layers: np.ndarray) -> Segment:
    tags = dict(tag.split(":", 1) for tag in fields["Tags"].split("|") if ":" in tag)
    i0, i1, j0, j1, k0, k1 = (int(n) for n in fields["Extent"].split())
    crop = layers[k0 : k1 + 1, j0 : j1 + 1, i0 : i1 + 1, int(fields["Layer"])]
    red, green, blue = (float(c) for c in fields["Color"].split())
    return Segment(
        name,
        (red, green, blue),
        tags.get("TerminologyEntry", ""),
        tags.get("textseg3d.coded") == "yes",
        (i0, j0, k0),
        np.ascontiguousarray(crop == int(fields["LabelValue"])).view(np.uint8),
    )
