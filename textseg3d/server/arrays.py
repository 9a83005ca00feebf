"""Arrays with geometry in blosc2's frame format: the quick way for programs, up and down.

A frame holds one array [z, y, x] and the meta-data ``spacing_mm`` (z, y, x), ``direction`` (3×3,
column n is the LPS unit vector of x, y, z) and ``origin_mm`` (LPS x, y, z).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import InputError

if TYPE_CHECKING:
    from textseg3d.inference.result import Prediction
    from textseg3d.io import Volume

MAGIC, MAGIC_AT = b"b2frame\0", 2
SUFFIX = ".b2nd"


def is_array(path: Path) -> bool:
    """Whether a file is a blosc2 frame."""
    with open(path, "rb") as file:
        return file.read(MAGIC_AT + len(MAGIC))[MAGIC_AT:] == MAGIC


def pack(array: NDArray[Any], meta: dict[str, Any]) -> bytes:
    """A frame of an array [z, y, x] with meta-data that JSON knows."""
    import blosc2

    packed = blosc2.asarray(np.ascontiguousarray(array))
    for name, value in meta.items():
        packed.schunk.vlmeta[name] = value
    return bytes(packed.to_cframe())


def read_array(path: Path, max_voxels: int) -> Volume:
    """A volume of an uploaded frame.

    Raises:
        InputError: if it is damaged, too large, or its geometry is missing or no rigid frame.
    """
    import blosc2

    from textseg3d.inference.scans import as_volume

    try:
        packed = blosc2.ndarray_from_cframe(path.read_bytes())
        shape, kind = packed.shape, packed.dtype
        meta = packed.schunk.vlmeta
        geometry = {key: meta[key] for key in ("spacing_mm", "direction", "origin_mm")}
    except Exception as error:  # blosc2 raises whatever comes first
        raise InputError(
            f"{path}: is no blosc2 array with spacing_mm, direction and origin_mm "
            f"({type(error).__name__})"
        ) from None
    if len(shape) != 3 or np.prod(shape, dtype=object) > max_voxels or kind.kind not in "iuf":
        raise InputError(
            f"{path}: is an array of shape {shape} and type {kind}; expected numbers [z, y, x] "
            f"and at most {max_voxels} voxels"
        )
    try:
        array = np.asarray(packed[:])
        spacing = tuple(float(v) for v in geometry["spacing_mm"])
        direction = np.array(geometry["direction"], dtype=np.float64)
        origin = tuple(float(v) for v in geometry["origin_mm"])
        if len(spacing) != 3 or len(origin) != 3:
            raise ValueError("three numbers each")
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be used ({type(error).__name__})") from None
    return as_volume(array, spacing, direction, origin)  # type: ignore[arg-type]


def masks_as_arrays(files: tuple[Path, ...], prediction: Prediction) -> tuple[Path, ...]:
    """Put frames of uint8 [k, j, i], in the file order of the scan, in the place of mask files.

    Args:
        files: what `save_prediction` wrote with the format "nrrd", the record last.
        prediction: the same.
    """
    record = json.loads(files[-1].read_text(encoding="utf-8"))
    kept = {path.name: path for path in files}
    source = prediction.volume.source
    for entry in record["prompts"]:
        if entry["mask"] is None:
            continue
        old = kept.pop(entry["mask"])
        new = old.with_suffix(SUFFIX)
        mask = prediction[entry["text"]].source_array.transpose(2, 1, 0)
        new.write_bytes(pack(mask, {"affine_lps": source.affine_lps.tolist()}))
        old.unlink()
        entry["mask"] = new.name
        kept[new.name] = new
    text = json.dumps(record, indent=1, ensure_ascii=False)
    files[-1].write_text(text, encoding="utf-8")
    others = [path for path in kept.values() if path != files[-1]]
    return (*others, files[-1])
