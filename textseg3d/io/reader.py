"""`read_volume` and `check_scan`: find out what a path holds, and read it strictly."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from textseg3d.errors import InputError
from textseg3d.io.dicom import looks_like_dicom, read_dicom, read_dicom_zip
from textseg3d.io.dicom_index import starts_like_a_data_set
from textseg3d.io.findings import Finding, FindingLog, enforced
from textseg3d.io.isolated import check_in_child
from textseg3d.io.metaimage import looks_like_metaimage, read_metaimage
from textseg3d.io.nifti import read_nifti
from textseg3d.io.nifti_header import header_version
from textseg3d.io.nrrd import MAGIC as NRRD_MAGIC
from textseg3d.io.nrrd import read_nrrd
from textseg3d.io.options import DEFAULT_MAX_VOXELS, ReadOptions
from textseg3d.io.streams import GZIP_MAGIC, ByteStream, describe_unreadable
from textseg3d.io.volume import Volume

enforced("N5", "sniff", "the file holds a scan in a known format")
enforced("N26", "sniff", "the path can be opened")
ZIP_MAGIC = b"PK\x03\x04"
Reader = Callable[[Path, FindingLog, ReadOptions], Volume]


def read_volume(
    path: str | os.PathLike[str],
    *,
    series: str | None = None,
    volume_index: int | None = None,
    assume_orientation: str | None = None,
    allow_missing_slices: bool = False,
    resample_shear: bool = False,
    max_voxels: int = DEFAULT_MAX_VOXELS,
) -> Volume:
    """Read a scan strictly: every rule of `check_scan`, and nothing guessed.

    Compressed DICOM pixels are decoded in a child process, as native decoders can crash on
    damaged data (D12); everything else is read here.

    Args:
        path: NIfTI, NRRD or MetaImage file, DICOM file, folder or zip.
        series: DICOM SeriesInstanceUID, or ``UID#n`` for a stack inside a series.
        volume_index: which volume (from 0) of a file that holds several.
        assume_orientation: axes i, j, k point towards these letters, for files without any.
        allow_missing_slices: fill gaps of a DICOM series by linear interpolation.
        resample_shear: resample a sheared frame onto a perpendicular grid.
        max_voxels: refuse larger scans before anything is allocated.

    Returns:
        the scan in canonical order, in its own integer type unless the file scales it (then
        float32); repairs and oddities are in `Volume.warnings`.

    Raises:
        InputError: a rule rejects the scan; one line with file, rule and remedy.
        GeometryError: the same, where the rule is about the frame.
        UsageError: an option that cannot be meant.
    """
    options = ReadOptions(
        series, volume_index, assume_orientation, allow_missing_slices, resample_shear, max_voxels
    )
    return read_logged(Path(path), FindingLog(path), options)


def check_scan(
    path: str | os.PathLike[str],
    *,
    series: str | None = None,
    volume_index: int | None = None,
    assume_orientation: str | None = None,
    allow_missing_slices: bool = False,
    resample_shear: bool = False,
    max_voxels: int = DEFAULT_MAX_VOXELS,
    isolate: bool = False,
) -> list[Finding]:
    """Run every reading rule on a scan.

    Args:
        path: as in `read_volume`, like the options that are not listed here.
        series: see `read_volume`.
        volume_index: see `read_volume`.
        assume_orientation: see `read_volume`.
        allow_missing_slices: see `read_volume`.
        resample_shear: see `read_volume`.
        max_voxels: see `read_volume`.
        isolate: look at DICOM in a child process with a time and memory limit, so that a
            decoder that crashes on damaged data becomes a finding (D12).

    Returns:
        findings by rule number; rules that come after a rejection were not looked at and are
        left out.

    Raises:
        UsageError: an option that cannot be meant.
    """
    options = ReadOptions(
        series, volume_index, assume_orientation, allow_missing_slices, resample_shear, max_voxels
    )
    log = FindingLog(path)
    try:
        reader = _reader(Path(path), log)
        if isolate and reader in (read_dicom, read_dicom_zip):
            return check_in_child(Path(path), log, options)
        reader(Path(path), log, options)
    except InputError as error:
        if not any(f.verdict == "reject" for f in log.findings):
            log.add("N9", "reject", str(error))
    return log.complete()


def read_logged(path: Path, log: FindingLog, options: ReadOptions) -> Volume:
    """Read a scan, with all findings in `log`.

    Raises:
        InputError: a rule rejects.
    """
    return _reader(path, log)(path, log, options)


def _reader(path: Path, log: FindingLog) -> Reader:
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        log.reject("N26", describe_unreadable(error))
    if stat.S_ISDIR(mode):
        log.passed("sniff")
        return read_dicom
    if not stat.S_ISREG(mode):
        log.reject("N26", "is neither a file nor a folder; give a scan")
    with ByteStream(path, log) as stream:
        head = stream.peek(min(512, stream.stored_bytes))
        packed = stream.encoding == "gzip"
    found = _sniff(path, head, packed)
    if found is None:
        log.reject("N5", _what_is_it(head))
    log.passed("sniff")
    return found


def _sniff(path: Path, head: bytes, packed: bool) -> Reader | None:
    if header_version(head) is not None or path.name.lower().endswith((".img", ".img.gz")):
        return read_nifti
    if packed:
        return None
    if head.startswith(NRRD_MAGIC):
        return read_nrrd
    if looks_like_metaimage(head):
        return read_metaimage
    if looks_like_dicom(head):
        return read_dicom
    if head.startswith(ZIP_MAGIC):
        return read_dicom_zip
    if path.suffix.lower() in (".dcm", ".ima") and starts_like_a_data_set(head):
        return read_dicom
    return None


def _what_is_it(head: bytes) -> str:
    """A guess at a file that holds no scan, with a hint."""
    known = "expected NIfTI, NRRD, MHA/MHD or DICOM"
    if not head:
        return f"is empty; {known}"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the data; run 'git lfs pull'"
    for magic, name in {
        GZIP_MAGIC: "doubly gzipped data",
        b"BZh": "bzip2 data; decompress it first",
        b"\x28\xb5\x2f\xfd": "zstd data; decompress it first",
        b"\x89PNG": "a PNG picture",
        b"\xff\xd8\xff": "a JPEG picture",
        b"\x93NUMPY": "a numpy array, which has no geometry",
    }.items():
        if head.startswith(magic):
            return f"is {name}; {known}"
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return f"is a web page or XML (a failed download?); {known}"
    if all(b in b"\t\n\r" or 32 <= b < 127 for b in head):
        return f"is a text file; {known}"
    return f"starts with {head[:8]!r}, no known format; {known}"
