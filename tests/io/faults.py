"""Bad files, made one fault at a time. Each maker writes below a folder and returns the path.

`FAULTS` maps a name to (rule that must reject, maker). Nothing here uses the code under test.
"""

from __future__ import annotations

import bz2
import gzip
import os
import struct
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813

from tests.io.nifti_files import AFFINE_RAS, nifti_bytes, voxels, write

FAULTS = {}


def fault(rule, name=None):
    def register(maker):
        FAULTS[name or maker.__name__] = (rule, maker)
        return maker

    return register


def header_fault(rule, name, **fields):
    FAULTS[name] = (rule, lambda folder: write(folder, nifti_bytes(**fields)))


# N1 to N4: streams


@fault("N1")
def truncated_nii(folder):
    return write(folder, nifti_bytes()[:-1000], "scan.nii")


@fault("N1")
def truncated_in_header(folder):
    return write(folder, nifti_bytes()[:200], "scan.nii")


@fault("N1")
def truncated_gz(folder):
    path = write(folder, nifti_bytes())
    path.write_bytes(path.read_bytes()[:-2000])
    return path


@fault("N1")
def truncated_gz_trailer(folder):
    path = write(folder, nifti_bytes())
    path.write_bytes(path.read_bytes()[:-5])
    return path


@fault("N1")
def truncated_inside_intact_gz(folder):
    return write(folder, nifti_bytes()[:-3000])


@fault("N2")
def garbled_gz(folder):
    path = write(folder, nifti_bytes())
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(data)
    return path


@fault("N3")
def flipped_bit_gz(folder):
    """A flipped bit in a stored block: the stream decodes, one voxel is wrong."""
    packed = bytearray(gzip.compress(bytes(nifti_bytes()), 0))
    packed[len(packed) // 2] ^= 4
    path = Path(folder) / "scan.nii.gz"
    path.write_bytes(packed)
    return path


@fault("N3")
def wrong_crc(folder):
    path = write(folder, nifti_bytes())
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    return path


@fault("N3")
def wrong_isize(folder):
    path = write(folder, nifti_bytes())
    data = bytearray(path.read_bytes())
    data[-4] ^= 1
    path.write_bytes(data)
    return path


# N5, N9: other files


def other_file(name, content, rule="N5", file_name="scan.nii.gz"):
    def maker(folder):
        path = Path(folder) / file_name
        path.write_bytes(content)
        return path

    FAULTS[name] = (rule, maker)


other_file("empty", b"")
other_file("empty_gz", gzip.compress(b""))
other_file("text", b"patient list\nsecond line\n")
other_file("html", b"<!DOCTYPE html><html><body>404</body></html>")
other_file("xml", b"<?xml version='1.0'?><a/>")
other_file("lfs_pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n")
other_file("png", b"\x89PNG\r\n\x1a\n" + bytes(100))
other_file("bzip2", bz2.compress(b"x" * 1000))
other_file("zstd", b"\x28\xb5\x2f\xfd" + bytes(50))
other_file("npy", b"\x93NUMPY" + bytes(100))
other_file("zeros", bytes(5000))
other_file("doubly_gzipped", gzip.compress(gzip.compress(bytes(nifti_bytes()))))
other_file("four_bytes", b"\x5c\x01\x00\x00", "N1")


# headers

header_fault("N6", "offset_beyond_end", vox_offset=2.0e6)
header_fault("N6", "offset_in_header", vox_offset=0.0)
header_fault("N6", "offset_negative", vox_offset=-352.0)
header_fault("N6", "offset_nan", vox_offset=float("nan"))
header_fault("N6", "offset_fraction", vox_offset=352.5)
header_fault("N7", "dims_huge", dim1=32767, dim2=32767, dim3=32767)
header_fault("N7", "dim_negative", dim2=-20)
header_fault("N7", "dim_zero", dim3=0)
header_fault("N7", "ndim_zero", dim0=0)
header_fault("N7", "ndim_eight", dim0=8)
header_fault("N7", "ndim_negative", dim0=-3)
header_fault("N1", "dims_more_than_data", dim1=1000, dim2=1000, dim3=500)
header_fault("N9", "magic_analyze", magic=b"\0\0\0\0")
header_fault("N9", "magic_garbage", magic=b"abc\0")
header_fault("N10", "no_codes", qform_code=0, sform_code=0)
header_fault("N10", "codes_negative", qform_code=-1, sform_code=1)
header_fault("N11", "sform_mirrors_qform", srow_x0=1.5)
header_fault("N12", "pixdim_negative", pixdim1=-1.5)
header_fault("N13", "zero_column", srow_y1=0.0)
header_fault("N13", "zero_pixdim_with_qform", sform_code=0, pixdim3=0.0)
header_fault("N13", "equal_columns", srow_x1=-1.25, srow_x0=0.0, srow_y0=0.0, srow_y1=0.0)
header_fault("N14", "sform_nan", srow_z2=float("nan"))
header_fault("N14", "sform_inf", srow_x0=float("inf"))
header_fault("N14", "quaternion_nan", sform_code=0, quatern_b=float("nan"))
header_fault("N14", "quaternion_too_long", sform_code=0, quatern_b=0.9, quatern_c=0.9)
header_fault("N15", "sheared", srow_x1=0.4)
header_fault("N17", "unit_micron", xyzt_units=3)
header_fault("N17", "unit_metre", xyzt_units=1)
header_fault("N17", "spacing_tiny", srow_z2=0.001)
header_fault("N17", "spacing_huge", srow_z2=45.0)
header_fault("N19", "datatype_unknown", datatype=77)
header_fault("N19", "datatype_bits", datatype=1, bitpix=1)
header_fault("N19", "datatype_rgb", datatype=128, bitpix=24)
header_fault("N19", "bitpix_wrong", bitpix=32)


@fault("N8")
def bomb(folder):
    """A small scan with 64 MiB of zeros behind it."""
    return write(folder, nifti_bytes() + bytes(64 << 20))


@fault("N9")
def analyze_pair(folder):
    image = nib.Spm2AnalyzeImage(voxels(), np.eye(4))
    nib.save(image, Path(folder) / "scan.hdr")
    (Path(folder) / "scan.mat").unlink(missing_ok=True)
    return Path(folder) / "scan.hdr"


@fault("N1")
def pair_without_image(folder):
    nib.save(nib.Nifti1Pair(voxels(), AFFINE_RAS), Path(folder) / "scan.img")
    (Path(folder) / "scan.img").unlink()
    return Path(folder) / "scan.hdr"


@fault("N9")
def image_without_header(folder):
    nib.save(nib.Nifti1Pair(voxels(), AFFINE_RAS), Path(folder) / "scan.img")
    (Path(folder) / "scan.hdr").unlink()
    return Path(folder) / "scan.img"


@fault("N1")
def pair_truncated(folder):
    nib.save(nib.Nifti1Pair(voxels(), AFFINE_RAS), Path(folder) / "scan.img")
    path = Path(folder) / "scan.img"
    path.write_bytes(path.read_bytes()[:-10])
    return path


@fault("N18")
def four_volumes(folder):
    array = np.stack([voxels(seed=n) for n in range(4)], axis=-1)
    nib.save(nib.Nifti1Image(array, AFFINE_RAS), Path(folder) / "scan.nii.gz")
    return Path(folder) / "scan.nii.gz"


@fault("N18")
def five_dimensions(folder):
    array = np.zeros((18, 20, 24, 2, 3), np.int16)
    nib.save(nib.Nifti1Image(array, AFFINE_RAS), Path(folder) / "scan.nii.gz")
    return Path(folder) / "scan.nii.gz"


@fault("N19")
def rgb(folder):
    array = np.zeros((18, 20, 24), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(array, AFFINE_RAS), Path(folder) / "scan.nii.gz")
    return Path(folder) / "scan.nii.gz"


@fault("N19")
def complex_numbers(folder):
    array = np.zeros((18, 20, 24), np.complex64)
    nib.save(nib.Nifti1Image(array, AFFINE_RAS), Path(folder) / "scan.nii.gz")
    return Path(folder) / "scan.nii.gz"


@fault("N20")
def mostly_nan(folder):
    array = voxels(dtype=np.float32)
    array[:, :, :13] = np.nan
    return write(folder, nifti_bytes(array))


@fault("N20")
def all_inf(folder):
    return write(folder, nifti_bytes(np.full((18, 20, 24), np.inf, np.float32)))


@fault("N23")
def four_cubed(folder):
    return write(folder, nifti_bytes(voxels((4, 4, 4))))


@fault("N23")
def one_row(folder):
    return write(folder, nifti_bytes(voxels((1, 1, 200))))


@fault("N25")
def extension_negative(folder):
    return write(
        folder, nifti_bytes(extension=b"\1\0\0\0" + struct.pack("<ii", -32, 6) + bytes(24))
    )


@fault("N25")
def extension_too_long(folder):
    block = b"\1\0\0\0" + struct.pack("<ii", 2**31 - 16, 6) + bytes(24)
    return write(folder, nifti_bytes(extension=block))


@fault("N25")
def extension_area_huge(folder):
    data = nifti_bytes(vox_offset=float(100 << 20))
    return write(folder, data + bytes(101 << 20))


# N26: paths


@fault("N26")
def not_there(folder):
    return Path(folder) / "nothing.nii.gz"


@fault("N26")
def link_loop(folder):
    one, two = Path(folder) / "one.nii.gz", Path(folder) / "two.nii.gz"
    os.symlink(two, one)
    os.symlink(one, two)
    return one


@fault("N26")
def name_too_long(folder):
    return Path(folder) / ("x" * 300 + ".nii.gz")


@fault("N26")
def name_with_nul(folder):
    return Path(folder) / "a\0b.nii.gz"


@fault("N26")
def fifo(folder):
    os.mkfifo(Path(folder) / "scan.nii")
    return Path(folder) / "scan.nii"


# NRRD and MetaImage


def itk_image():
    image = sitk.GetImageFromArray(voxels((16, 20, 24)))
    image.SetSpacing((1.5, 1.25, 3.0))
    image.SetOrigin((-10.0, 20.0, -300.0))
    return image


def itk_fault(rule, name, file_name, change, compress=False):
    """`change(header bytes, data bytes)` gives the new header and data of a file ITK wrote."""

    def maker(folder):
        path = Path(folder) / file_name
        sitk.WriteImage(itk_image(), str(path), compress)
        content = path.read_bytes()
        end = b"LOCAL\n" if path.suffix == ".mha" else b"\n\n"
        cut = content.index(end) + len(end)
        head, data = change(content[:cut], content[cut:])
        path.write_bytes(head + data)
        return path

    FAULTS[name] = (rule, maker)


def replaced(old, new):
    def change(head, data):
        assert old in head
        return head.replace(old, new), data

    return change


def without(key):
    def change(head, data):
        lines = head.split(b"\n")
        kept = [line for line in lines if not line.startswith(key)]
        assert len(kept) < len(lines)
        return b"\n".join(kept), data

    return change


for suffix in ("nrrd", "mha"):
    for packed in (False, True):
        kind = f"{suffix}_{'packed' if packed else 'raw'}"
        itk_fault("N1", f"{kind}_truncated", f"scan.{suffix}", lambda h, d: (h, d[:-900]), packed)
    itk_fault("N1", f"{suffix}_no_data", f"scan.{suffix}", lambda h, d: (h, b""))
itk_fault("N2", "mha_garbled", "s.mha", lambda h, d: (h, d[:50] + b"\xff" * 300 + d[350:]), True)
itk_fault("N2", "nrrd_garbled", "s.nrrd", lambda h, d: (h, d[:50] + b"\xff" * 300 + d[350:]), True)
itk_fault("N3", "mha_adler", "s.mha", lambda h, d: (h, d[:-1] + bytes([d[-1] ^ 1])), True)
itk_fault("N3", "nrrd_crc", "s.nrrd", lambda h, d: (h, d[:-8] + bytes([d[-8] ^ 1]) + d[-7:]), True)
itk_fault("N7", "nrrd_huge", "s.nrrd", replaced(b"sizes: 24 20 16", b"sizes: 99999 99999 99999"))
itk_fault("N7", "nrrd_zero", "s.nrrd", replaced(b"sizes: 24 20 16", b"sizes: 24 0 16"))
itk_fault("N7", "nrrd_negative", "s.nrrd", replaced(b"sizes: 24 20 16", b"sizes: 24 -20 16"))
itk_fault("N9", "nrrd_two_sizes", "s.nrrd", replaced(b"sizes: 24 20 16", b"sizes: 24 320"))
itk_fault("N9", "nrrd_sizes_text", "s.nrrd", replaced(b"sizes: 24 20 16", b"sizes: a b c"))
itk_fault("N9", "nrrd_encoding", "s.nrrd", replaced(b"encoding: raw", b"encoding: zip"))
itk_fault("N9", "nrrd_no_end", "s.nrrd", lambda h, d: (h[:-2], b""))
itk_fault("N10", "nrrd_no_space", "s.nrrd", without(b"space: "))
itk_fault("N10", "nrrd_no_directions", "s.nrrd", without(b"space directions"))
itk_fault("N10", "nrrd_no_origin", "s.nrrd", without(b"space origin"))
itk_fault("N10", "nrrd_scanner", "s.nrrd", replaced(b"left-posterior-superior", b"scanner-xyz"))
itk_fault("N13", "nrrd_zero_axis", "s.nrrd", replaced(b"(0,0,3)", b"(0,0,0)"))
itk_fault("N14", "nrrd_inf_axis", "s.nrrd", replaced(b"(0,0,3)", b"(0,0,inf)"))
itk_fault("N15", "nrrd_sheared", "s.nrrd", replaced(b"(0,0,3)", b"(0,1,3)"))
itk_fault("N19", "nrrd_block", "s.nrrd", replaced(b"type: short", b"type: block"))
itk_fault("N19", "nrrd_no_endian", "s.nrrd", without(b"endian"))
itk_fault("N7", "mha_huge", "s.mha", replaced(b"DimSize = 24 20 16", b"DimSize = 99999 99999 9999"))
itk_fault("N7", "mha_negative", "s.mha", replaced(b"DimSize = 24 20 16", b"DimSize = 24 -20 16"))
itk_fault("N7", "mha_two_sizes", "s.mha", replaced(b"DimSize = 24 20 16", b"DimSize = 24 320"))
itk_fault("N7", "mha_no_sizes", "s.mha", without(b"DimSize"))
itk_fault("N9", "mha_dims_text", "s.mha", replaced(b"NDims = 3", b"NDims = three"))
itk_fault("N9", "mha_mesh", "s.mha", replaced(b"ObjectType = Image", b"ObjectType = Mesh"))
itk_fault("N10", "mha_no_matrix", "s.mha", without(b"TransformMatrix"))
itk_fault("N12", "mha_negative_spacing", "s.mha", replaced(b"1.5 1.25 3", b"-1.5 1.25 3"))
itk_fault("N13", "mha_no_spacing", "s.mha", without(b"ElementSpacing"))
itk_fault(
    "N14",
    "mha_nan",
    "s.mha",
    replaced(b"Matrix = 1 0 0 0 1 0 0 0 1", b"Matrix = nan 0 0 0 1 0 0 0 1"),
)
itk_fault(
    "N13",
    "mha_zero",
    "s.mha",
    replaced(b"Matrix = 1 0 0 0 1 0 0 0 1", b"Matrix = 0 0 0 0 1 0 0 0 1"),
)
itk_fault("N19", "mha_colours", "s.mha", replaced(b"MET_SHORT", b"MET_UCHAR_ARRAY"))
itk_fault("N26", "mha_data_elsewhere", "s.mha", replaced(b"LOCAL", b"/etc/passwd"))
itk_fault("N26", "mha_data_above", "s.mha", replaced(b"LOCAL", b"../../x.raw"))
itk_fault("N1", "mha_data_missing", "s.mha", replaced(b"LOCAL", b"x.raw"))
itk_fault("N9", "mha_data_list", "s.mha", replaced(b"LOCAL", b"LIST"))


@fault("N26")
def nhdr_data_elsewhere(folder):
    path = Path(folder) / "scan.nhdr"
    sitk.WriteImage(itk_image(), str(path))
    path.write_bytes(path.read_bytes().replace(b"data file: scan.raw", b"data file: /etc/passwd"))
    return path


@fault("N1")
def nhdr_data_truncated(folder):
    path = Path(folder) / "scan.nhdr"
    sitk.WriteImage(itk_image(), str(path))
    data = path.with_suffix(".raw")
    data.write_bytes(data.read_bytes()[:-2])
    return path


@fault("N1")
def mhd_data_truncated(folder):
    path = Path(folder) / "scan.mhd"
    sitk.WriteImage(itk_image(), str(path))
    data = path.with_suffix(".raw")
    data.write_bytes(data.read_bytes()[:-2])
    return path


@fault("N8")
def mha_bomb(folder):
    path = Path(folder) / "scan.mha"
    sitk.WriteImage(itk_image(), str(path), True)
    content = path.read_bytes()
    cut = content.index(b"LOCAL\n") + 6
    more = zlib.compress(zlib.decompress(content[cut:]) + bytes(64 << 20))
    lines = [x for x in content[:cut].split(b"\n") if not x.startswith(b"CompressedDataSize")]
    path.write_bytes(b"\n".join(lines) + more)
    return path
