"""`read_volume` and `check_scan`: find out what a path holds, and read it strictly."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from textseg3d.errors import InputError
from textseg3d.io.findings import Finding, FindingLog, enforced
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
) -> list[Finding]:
    """Run every reading rule on a scan; options as in `read_volume`.

    Returns:
        findings by rule number; rules that come after a rejection were not looked at and are
        left out.
    """
    options = ReadOptions(
        series, volume_index, assume_orientation, allow_missing_slices, resample_shear, max_voxels
    )
    log = FindingLog(path)
    try:
        read_logged(Path(path), log, options)
    except InputError:
        log.findings = log.findings or []
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
    if not stat.S_ISREG(mode):
        log.reject("N26", "is neither a file nor a folder; give a scan")
    with ByteStream(path, log) as stream:
        head = stream.peek(min(512, stream.stored_bytes))
        packed = stream.encoding == "gzip"
    found = _sniff(head, packed)
    if found is None:
        log.reject("N5", _what_is_it(head))
    log.passed("sniff")
    return found


def _sniff(head: bytes, packed: bool) -> Reader | None:
    if header_version(head) is not None:
        return read_nifti
    if packed:
        return None
    if head.startswith(NRRD_MAGIC):
        return read_nrrd
    if looks_like_metaimage(head):
        return read_metaimage
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
        b"PK\x03\x04": "a zip archive",
    }.items():
        if head.startswith(magic):
            return f"is {name}; {known}"
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return f"is a web page or XML (a failed download?); {known}"
    if all(b in b"\t\n\r" or 32 <= b < 127 for b in head):
        return f"is a text file; {known}"
    return f"starts with {head[:8]!r}, no known format; {known}"
