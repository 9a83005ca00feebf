"""NIfTI bytes made by hand, so that a test can put anything into any field."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np

AFFINE_RAS = np.array(
    [[-1.5, 0, 0, 80.0], [0, 1.25, 0, -60.0], [0, 0, 3.0, -200.0], [0, 0, 0, 1.0]]
)
SHAPE = (18, 20, 24)
# field -> (offset, struct code) in a NIfTI-1 header
FIELDS = {
    "sizeof_hdr": (0, "i"),
    "dim0": (40, "h"),
    "dim1": (42, "h"),
    "dim2": (44, "h"),
    "dim3": (46, "h"),
    "dim4": (48, "h"),
    "dim5": (50, "h"),
    "datatype": (70, "h"),
    "bitpix": (72, "h"),
    "pixdim0": (76, "f"),
    "pixdim1": (80, "f"),
    "pixdim2": (84, "f"),
    "pixdim3": (88, "f"),
    "vox_offset": (108, "f"),
    "scl_slope": (112, "f"),
    "scl_inter": (116, "f"),
    "xyzt_units": (123, "B"),
    "qform_code": (252, "h"),
    "sform_code": (254, "h"),
    "quatern_b": (256, "f"),
    "quatern_c": (260, "f"),
    "quatern_d": (264, "f"),
    "qoffset_x": (268, "f"),
    "srow_x0": (280, "f"),
    "srow_x1": (284, "f"),
    "srow_x2": (288, "f"),
    "srow_y0": (296, "f"),
    "srow_y1": (300, "f"),
    "srow_z1": (316, "f"),
    "srow_z2": (320, "f"),
    "magic": (344, "4s"),
}


def voxels(shape=SHAPE, dtype=np.int16, seed=0):
    """HU-like voxels, different everywhere."""
    return np.random.default_rng(seed).integers(-1000, 1500, shape).astype(dtype)


def nifti_bytes(array=None, affine=AFFINE_RAS, extension=b"\0\0\0\0", **fields) -> bytearray:
    """A valid single-file NIfTI-1, then `fields` overwritten."""
    array = voxels() if array is None else array
    image = nib.Nifti1Image(array, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm")
    header = image.header.copy()
    header["magic"], header["vox_offset"] = b"n+1", 348 + len(extension)
    header["scl_slope"], header["scl_inter"] = 1, 0
    data = bytearray(header.binaryblock)
    for name, value in fields.items():
        offset, code = FIELDS[name]
        struct.pack_into("<" + code, data, offset, value)
    return data + extension + np.asarray(array, order="F").tobytes("F")


def write(folder: Path, data: bytes, name="scan.nii.gz") -> Path:
    path = Path(folder) / name
    path.write_bytes(gzip.compress(bytes(data), 1) if name.endswith(".gz") else bytes(data))
    return path
