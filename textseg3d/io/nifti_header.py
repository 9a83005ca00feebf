"""The NIfTI header as facts, and the rules that look at it before any voxel is read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.io.findings import Finding, rule
from textseg3d.io.frames import (
    Frame,
    assumed_affine,
    axis_letters,
    check_volume_index,
    orientation_missing,
)
from textseg3d.io.options import ReadOptions
from textseg3d.io.volume import LPS_FROM_RAS

# NIfTI datatype code -> numpy type. Binary, complex, RGB and float128 have no place in a scan.
DTYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_REFUSED = {1: "1-bit", 32: "complex", 128: "RGB", 1536: "float128", 1792: "complex", 2304: "RGBA"}
UNIT_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
UNIT_NAMES = {0: "unknown", 1: "metre", 2: "millimetre", 3: "micrometre"}
HEADER_BYTES = {1: 348, 2: 540}
_MAGIC = {1: (b"n+1\0", b"ni1\0"), 2: (b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n")}


@dataclass(frozen=True)
class NiftiFacts:
    """What the header bytes say.

    Attributes:
        version: 1 or 2.
        endian: "<" or ">".
        header: nibabel's header object over the same bytes (unchecked).
        magic: the magic bytes.
        dim: dim[0..7].
        pixdim: pixdim[0..7].
        datatype: NIfTI code.
        bitpix: bits per voxel as stated.
        vox_offset: where the voxels start.
        slope: scl_slope.
        inter: scl_inter.
        codes: qform_code, sform_code.
        unit: spatial unit code (0 unknown, 1 m, 2 mm, 3 um).
        sform: float64 [4, 4] RAS in file units.
        qform: float64 [4, 4] RAS in file units (NaN where the quaternion is no rotation).
        pair: voxels are in an .img beside this .hdr.
    """

    version: int
    endian: str
    header: Any
    magic: bytes
    dim: tuple[int, ...]
    pixdim: tuple[float, ...]
    datatype: int
    bitpix: int
    vox_offset: float
    slope: float
    inter: float
    codes: tuple[int, int]
    unit: int
    sform: NDArray[np.float64]
    qform: NDArray[np.float64]
    pair: bool

    @property
    def spatial(self) -> tuple[int, int, int]:
        """Voxels along i, j, k; axes that the header leaves out count 1."""
        ndim = self.dim[0]
        i, j, k = (self.dim[n] if n <= ndim else 1 for n in (1, 2, 3))
        return i, j, k

    @property
    def extra(self) -> tuple[int, ...]:
        """Sizes of the axes after the third."""
        return self.dim[4 : self.dim[0] + 1] if self.dim[0] > 3 else ()


def header_version(start: bytes) -> tuple[int, str] | None:
    """(version, endianness) from the first four bytes, None if this is no NIfTI header."""
    for version, size in HEADER_BYTES.items():
        for endian, order in (("<", "little"), (">", "big")):
            if start[:4] == size.to_bytes(4, order):  # type: ignore[arg-type]
                return version, endian
    return None


def parse_header(data: bytes, version: int, endian: str) -> NiftiFacts:
    """Facts from 348 or 540 header bytes; never raises, whatever they hold."""
    import nibabel as nib

    cls = nib.Nifti1Header if version == 1 else nib.Nifti2Header
    header = cls(data, endianness=endian, check=False)
    get = header.structarr
    sform = np.eye(4)
    sform[:3] = [get["srow_x"], get["srow_y"], get["srow_z"]]
    magic = data[344:348] if version == 1 else data[4:12]
    return NiftiFacts(
        version=version,
        endian=endian,
        header=header,
        magic=magic,
        dim=tuple(int(n) for n in get["dim"]),
        pixdim=tuple(float(p) for p in get["pixdim"]),
        datatype=int(get["datatype"]),
        bitpix=int(get["bitpix"]),
        vox_offset=float(get["vox_offset"]),
        slope=float(get["scl_slope"]),
        inter=float(get["scl_inter"]),
        codes=(int(get["qform_code"]), int(get["sform_code"])),
        unit=int(get["xyzt_units"]) & 7,
        sform=sform,
        qform=_qform(get),
        pair=magic[:2] == b"ni",
    )


def _qform(get: Any) -> NDArray[np.float64]:
    """Affine of the quaternion, as section "METHOD 2" of nifti1.h gives it."""
    b, c, d = (float(get[f"quatern_{n}"]) for n in "bcd")
    square = 1.0 - (b * b + c * c + d * d)
    affine = np.eye(4)
    if not math.isfinite(square) or square < -1e-4:
        affine[:3] = np.nan
        return affine
    a = math.sqrt(max(0.0, square))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * b * c - 2 * a * d, 2 * b * d + 2 * a * c],
            [2 * b * c + 2 * a * d, a * a + c * c - b * b - d * d, 2 * c * d - 2 * a * b],
            [2 * b * d - 2 * a * c, 2 * c * d + 2 * a * b, a * a + d * d - c * c - b * b],
        ]
    )
    norm = math.sqrt(a * a + b * b + c * c + d * d)
    pixdim = [float(p) for p in get["pixdim"]]
    handed = -1.0 if pixdim[0] < 0 else 1.0
    affine[:3, :3] = rotation / norm**2 * (np.array(pixdim[1:4]) * (1.0, 1.0, handed))
    affine[:3, 3] = [float(get[f"qoffset_{n}"]) for n in "xyz"]
    return affine


def nifti_frame(facts: NiftiFacts, options: ReadOptions) -> Frame:
    """The frame in LPS mm: sform, else qform, else what the user says."""
    qcode, scode = facts.codes
    to_mm = UNIT_MM.get(facts.unit, 1.0)
    if scode > 0:
        ras = facts.sform
    elif qcode > 0:
        ras = facts.qform
    else:
        steps = np.abs(np.array(facts.pixdim[1:4])) * to_mm
        return Frame(facts.spatial, assumed_affine(options.assume_orientation or "LPS", steps))
    with np.errstate(all="ignore"):
        affine = LPS_FROM_RAS @ np.where(np.isfinite(ras), ras, np.nan)
        affine[:3] *= to_mm
    return Frame(facts.spatial, affine)


@rule("N9", "nifti-magic", "magic bytes of NIfTI-1 or NIfTI-2")
def _n9(facts: NiftiFacts, options: ReadOptions) -> Iterator[Finding]:
    if facts.magic not in _MAGIC[facts.version]:
        what = "an Analyze 7.5 file (which states no orientation)" if facts.version == 1 else "?"
        yield Finding(
            "N9", "reject", f"magic bytes are {facts.magic!r}, not NIfTI's; {what}: convert it"
        )


@rule("N7", "nifti", "dimensions are positive, no more than seven, and within --max-voxels")
def _n7(facts: NiftiFacts, options: ReadOptions) -> Iterator[Finding]:
    dim, ndim = facts.dim, facts.dim[0]
    if not 1 <= ndim <= 7:
        yield Finding("N7", "reject", f"dim[0] is {ndim}, not 1 to 7; correct the header")
        return
    sizes = dim[1 : ndim + 1]
    if any(n < 1 for n in sizes):
        yield Finding("N7", "reject", f"dimensions {sizes} must all be 1 or more")
    elif math.prod(facts.spatial) > options.max_voxels:
        yield Finding(
            "N7",
            "reject",
            f"{math.prod(facts.spatial)} voxels {sizes} are more than {options.max_voxels}; "
            "raise --max-voxels if the scan really is that large",
        )


@rule("N6", "nifti", "voxels start after the header, within the file")
def _n6(facts: NiftiFacts, options: ReadOptions) -> Iterator[Finding]:
    offset, least = facts.vox_offset, 0 if facts.pair else HEADER_BYTES[facts.version] + 4
    if not math.isfinite(offset) or offset != int(offset) or offset < least or offset > 2**31:
        yield Finding(
            "N6", "reject", f"vox_offset is {offset:g}, expected {least} or a little more"
        )


@rule("N19", "nifti", "one real number per voxel")
def _n19(facts: NiftiFacts, options: ReadOptions) -> Iterator[Finding]:
    if facts.datatype not in DTYPES:
        what = _REFUSED.get(facts.datatype, "unknown")
        yield Finding(
            "N19", "reject", f"datatype {facts.datatype} ({what}) is no scan; export it as int16"
        )
    elif facts.bitpix != 8 * np.dtype(DTYPES[facts.datatype]).itemsize:
        yield Finding(
            "N19",
            "reject",
            f"bitpix {facts.bitpix} does not fit datatype {facts.datatype}; correct the header",
        )


@rule("N18", "nifti", "one volume, or --volume says which")
def _n18(facts: NiftiFacts, options: ReadOptions) -> Iterator[Finding]:
    yield from check_volume_index(facts.extra, options)


@rule("N12", "nifti", "pixdim is not negative")
def _n12(facts: NiftiFacts, options: ReadOptions) -> Iterator[Finding]:
    steps = facts.pixdim[1:4]
    if any(p < 0 for p in steps):
        yield Finding(
            "N12",
            "reject",
            f"pixdim {steps} is negative; readers disagree on what that flips: correct the header",
        )


@rule("N13", "nifti", "pixdim is not zero")
def _n13(facts: NiftiFacts, options: ReadOptions) -> Iterator[Finding]:
    steps = facts.pixdim[1 : min(3, max(1, facts.dim[0])) + 1]
    if any(p == 0 for p in steps) and facts.codes[1] > 0:
        yield Finding("N13", "warn", f"pixdim {steps} has a zero; the sform is used")


@rule("N10", "nifti", "the file states its orientation")
def _n10(facts: NiftiFacts, options: ReadOptions) -> Iterator[Finding]:
    if max(facts.codes) > 0 and min(facts.codes) >= 0:
        return
    if min(facts.codes) < 0:
        yield Finding("N10", "reject", f"qform and sform code are {facts.codes}; correct them")
    else:
        yield orientation_missing("sform_code and qform_code are both 0", options)


@rule("N11", "nifti", "sform and qform agree")
def _n11(facts: NiftiFacts, options: ReadOptions) -> Iterator[Finding]:
    qform, sform = facts.qform, facts.sform
    if min((*facts.codes, *facts.pixdim[1:4])) <= 0:
        return
    if not np.all(np.isfinite(np.stack([qform, sform]))):
        return
    if not Frame(facts.spatial, qform).usable or not Frame(facts.spatial, sform).usable:
        return
    q_letters, s_letters = (axis_letters(LPS_FROM_RAS @ m) for m in (qform, sform))
    q_sided, s_sided = ("".join(c if c in "LR" else "." for c in x) for x in (q_letters, s_letters))
    if q_sided != s_sided or (np.linalg.det(qform) < 0) != (np.linalg.det(sform) < 0):
        yield Finding(
            "N11",
            "reject",
            f"sform ({s_letters}) and qform ({q_letters}) disagree about left and right; "
            "set one of their codes to 0 after looking at the scan",
        )
        return
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in facts.spatial], indexing="ij"))
    gap = (sform - qform)[:3, :3] @ corners.reshape(3, -1) + (sform - qform)[:3, 3:]
    distance = float(np.linalg.norm(gap, axis=0).max())
    if distance > 0.25 * float(np.linalg.norm(sform[:3, :3], axis=0).min()):
        yield Finding(
            "N11",
            "warn",
            f"sform ({s_letters}) and qform ({q_letters}) lie up to {distance:.1f} apart; "
            "the sform is used",
        )


@rule("N17", "nifti", "spatial unit known")
def _n17(facts: NiftiFacts, options: ReadOptions) -> Iterator[Finding]:
    if facts.unit not in UNIT_MM:
        yield Finding("N17", "warn", f"spatial unit code {facts.unit} is unknown, taken as mm")
    elif UNIT_MM[facts.unit] != 1.0:
        yield Finding("N17", "fix", f"{UNIT_NAMES[facts.unit]}s converted to mm")


@rule("N21", "nifti", "scl_slope and scl_inter are usable (slope 0 means no scaling)")
def _n21(facts: NiftiFacts, options: ReadOptions) -> Iterator[Finding]:
    slope, inter = facts.slope, facts.inter
    if not math.isfinite(slope) or not math.isfinite(inter):
        yield Finding("N21", "warn", f"scl_slope {slope:g}, scl_inter {inter:g}: not scaled")
    elif slope == 0 and inter != 0:
        yield Finding("N21", "warn", f"scl_slope is 0, so scl_inter {inter:g} is ignored")


def scaling(facts: NiftiFacts) -> tuple[float, float] | None:
    """(slope, inter) where voxels must be scaled, None where they are values already."""
    slope, inter = facts.slope, facts.inter
    if not math.isfinite(slope) or not math.isfinite(inter) or slope == 0:
        return None
    return None if (slope, inter) == (1.0, 0.0) else (slope, inter)


def check_extensions(block: bytes, endian: str) -> Iterator[Finding]:
    """N25 for the bytes between the header and the voxels (first four: the extension flag)."""
    order = "little" if endian == "<" else "big"
    position = 4
    if len(block) < 4 or block[0] == 0:
        return
    while position + 8 <= len(block):
        size = int.from_bytes(block[position : position + 4], order, signed=True)  # type: ignore[arg-type]
        if size == 0 and not any(block[position:]):
            return
        if size < 8 or position + size > len(block):
            yield Finding(
                "N25",
                "reject",
                f"header extension of {size} bytes where {len(block) - position} fit; "
                "write the file anew without extensions",
            )
            return
        if size % 16:
            yield Finding("N25", "warn", f"header extension of {size} bytes, not a multiple of 16")
        position += size
