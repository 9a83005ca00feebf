"""Masks and volumes on the grid of the scan that they belong to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from textseg3d.errors import GeometryError, UsageError
from textseg3d.io.atomic import atomic_path
from textseg3d.io.volume import LPS_FROM_RAS, Volume

GZIP_LEVEL = 1
_BLOCK_BYTES = 8 << 20
_NIFTI_DTYPES = {"u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"}
# NRRD space -> sign of its axes in LPS
NRRD_SPACES = {
    "left-posterior-superior": (1.0, 1.0, 1.0),
    "lps": (1.0, 1.0, 1.0),
    "right-anterior-superior": (-1.0, -1.0, 1.0),
    "ras": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (1.0, -1.0, 1.0),
    "las": (1.0, -1.0, 1.0),
}
_NRRD_TYPES = {
    "u1": "uint8",
    "i1": "int8",
    "u2": "uint16",
    "i2": "int16",
    "u4": "uint32",
    "i4": "int32",
    "u8": "uint64",
    "i8": "int64",
    "f4": "float",
    "f8": "double",
}


def write_volume_like(
    path: str | os.PathLike[str],
    array_zyx: NDArray[Any],
    volume: Volume,
    *,
    dtype: Any = None,
    intent: str = "",
) -> Path:
    """Write a canonical array on the grid of the file that `volume` was read from.

    Args:
        path: ``.nii.gz``, ``.nii`` or ``.nrrd``; appears whole or not at all.
        array_zyx: [D, H, W] on the volume's grid; bool becomes uint8.
        volume: the scan; a NIfTI source gives its sform, qform, codes and units, an NRRD source
            its space and directions, any other source the LPS frame it was read with.
        dtype: numpy type on disk (default: the array's).
        intent: short name that is stored with the voxels (``intent_name``, ``content``).

    Returns:
        the path that was written.

    Raises:
        GeometryError: the array is not on the volume's grid.
        UsageError: unknown suffix, type that the format lacks, path of the scan itself, or a
            folder that cannot be written to.
    """
    target = Path(path)
    if array_zyx.shape != volume.shape:
        raise GeometryError(
            f"array has shape {array_zyx.shape}, the scan {volume.shape}; "
            "give it on the scan's grid"
        )
    name = target.name.lower()
    writers = {".nii.gz": _write_nifti, ".nii": _write_nifti, ".nrrd": _write_nrrd}
    suffix = next((s for s in writers if name.endswith(s)), None)
    if suffix is None:
        raise UsageError(f"cannot write {target.name}: expected a name in .nii.gz, .nii or .nrrd")
    _refuse_input(target, volume)
    on_disk = _disk_dtype(array_zyx, dtype)
    with atomic_path(target) as temporary, open(temporary, "wb") as file:
        writers[suffix](file, array_zyx, volume, on_disk, intent, suffix != ".nii")
    return target


def source_view(array_zyx: NDArray[Any], volume: Volume) -> NDArray[Any]:
    """A canonical array as a view [k, j, i] in file order (i fastest), without copying."""
    xyz = array_zyx.transpose(2, 1, 0)
    xyz = xyz[tuple(slice(None, None, -1) if f else slice(None) for f in volume.source.flips)]
    return xyz.transpose(np.argsort(volume.source.permutation)).transpose(2, 1, 0)


def _blocks(array_zyx: NDArray[Any], volume: Volume, dtype: np.dtype[Any]) -> Iterator[memoryview]:
    """Little-endian bytes in file order, some slices at a time."""
    view = source_view(array_zyx, volume)
    step = max(1, _BLOCK_BYTES // max(1, view[0].size * dtype.itemsize))
    for first in range(0, len(view), step):
        block = np.ascontiguousarray(view[first : first + step].astype(dtype, copy=False))
        yield block.reshape(-1).view(np.uint8).data


def _refuse_input(target: Path, volume: Volume) -> None:
    source = volume.source.path
    if source is None or not target.exists() or not source.exists():
        return
    if os.path.samefile(target, source):
        raise UsageError(f"{target} is the scan itself and is never overwritten; name another file")


def _disk_dtype(array: NDArray[Any], dtype: Any) -> np.dtype[Any]:
    wanted = np.dtype(array.dtype if dtype is None else dtype)
    if wanted == np.bool_:
        wanted = np.dtype(np.uint8)
    elif wanted == np.float16:
        wanted = np.dtype(np.float32)
    wanted = wanted.newbyteorder("<")
    if wanted.str[1:] not in _NIFTI_DTYPES:
        raise UsageError(f"cannot write voxels of type {wanted}; use an integer or float type")
    if wanted.kind in "iu" and array.dtype.kind in "iuf" and wanted != array.dtype and array.size:
        low, high = array.min(), array.max()
        info = np.iinfo(wanted)
        if not (np.isfinite(low) and info.min <= low and high <= info.max):
            raise UsageError(f"values from {low} to {high} do not fit {wanted.name}")
    return wanted


class _Sink:
    """A file, with gzip on the way if asked for."""

    def __init__(self, file: BinaryIO, packed: bool) -> None:
        self._file = file
        self._packer = isal_zlib.compressobj(GZIP_LEVEL, wbits=31) if packed else None

    def write(self, data: bytes | memoryview) -> None:
        self._file.write(self._packer.compress(data) if self._packer else data)

    def close(self) -> None:
        if self._packer:
            self._file.write(self._packer.flush())


def _write_nifti(
    file: BinaryIO,
    array: NDArray[Any],
    volume: Volume,
    dtype: np.dtype[Any],
    intent: str,
    packed: bool,
) -> None:
    header = nifti_header_like(volume, dtype, intent)
    sink = _Sink(file, packed)
    sink.write(header.binaryblock + b"\0\0\0\0")
    for block in _blocks(array, volume, dtype):
        sink.write(block)
    sink.close()


def nifti_header_like(volume: Volume, dtype: np.dtype[Any], intent: str = "") -> Any:
    """A little-endian NIfTI header (nibabel's) for voxels on the grid of a scan's source.

    Frame, codes, units and version are the source's where that was NIfTI; free text of the
    source, which may name a patient, is left out.
    """
    import nibabel as nib

    source = volume.source
    if source.format == "nifti" and source.header is not None:
        header = source.header.as_byteswapped("<")
        header.set_data_dtype(dtype)
        fields = header.structarr
        fields["dim"] = [3, *source.shape, 1, 1, 1, 1]
        fields["pixdim"][4:] = 1
        for text in ("aux_file", "intent_name"):
            fields[text] = b""
        for number in ("intent_code", "intent_p1", "intent_p2", "intent_p3", "slice_code"):
            fields[number] = 0
        for number in ("slice_start", "slice_end", "slice_duration", "toffset", "dim_info"):
            fields[number] = 0
        if "db_name" in (fields.dtype.names or ()):
            fields["data_type"], fields["db_name"] = b"", b""
            fields["glmin"], fields["glmax"] = 0, 0
    else:
        header = nib.Nifti1Header(endianness="<")
        header.set_data_dtype(dtype)
        header.set_data_shape(source.shape)
        affine = LPS_FROM_RAS @ source.affine_lps
        header.set_sform(affine, code=1)
        header.set_qform(affine, code=1)
        header.set_xyzt_units("mm")
        fields = header.structarr
    fields["descrip"] = b"textseg3d"
    fields["intent_name"] = intent.encode("ascii", "replace")[:15]
    fields["cal_min"], fields["cal_max"] = 0, 0
    fields["scl_slope"], fields["scl_inter"] = 1, 0
    second = isinstance(header, nib.Nifti2Header)
    fields["magic"] = b"n+2" if second else b"n+1"
    fields["vox_offset"] = 544 if second else 352
    return header


def _write_nrrd(
    file: BinaryIO,
    array: NDArray[Any],
    volume: Volume,
    dtype: np.dtype[Any],
    intent: str,
    packed: bool,
) -> None:
    source = volume.source
    space, affine = "left-posterior-superior", source.affine_lps
    if source.format == "nrrd" and source.header is not None:
        space = source.header["space"]
        affine = affine.copy()
        affine[:3] *= np.asarray(NRRD_SPACES[space.strip().lower()])[:, None]

    def vector(values: Any) -> str:
        return "(" + ",".join(repr(float(v)) for v in values) + ")"

    lines = [
        "NRRD0004",
        f"type: {_NRRD_TYPES[dtype.str[1:]]}",
        "dimension: 3",
        f"space: {space}",
        f"sizes: {source.shape[0]} {source.shape[1]} {source.shape[2]}",
        "space directions: " + " ".join(vector(affine[:3, n]) for n in range(3)),
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {vector(affine[:3, 3])}",
    ]
    if intent:
        printable = "".join(c if c.isascii() and c.isprintable() else "?" for c in intent)
        lines.append(f"content: {printable}")
    file.write(("\n".join(lines) + "\n\n").encode("ascii"))
    sink = _Sink(file, packed)
    for block in _blocks(array, volume, dtype):
        sink.write(block)
    sink.close()
