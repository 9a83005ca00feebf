"""A zip archive from anywhere, unpacked with limits: count, size, ratio, names, no links."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from textseg3d.io.findings import FindingLog, enforced

enforced("D13", "zip", "the archive is within limits, and all its members lie inside it")

MAX_MEMBERS = 100_000
MAX_TOTAL_BYTES = 16 << 30
MAX_RATIO = 200
_RATIO_FLOOR_BYTES = 64 << 20
_MAX_DIRECTORY_BYTES = 64 << 20
_END_RECORD = b"PK\x05\x06"
_CHUNK = 1 << 20


def extract(path: Path, folder: Path, log: FindingLog) -> int:
    """Unpack an archive into an empty private folder, under names of our own.

    Args:
        path: the zip file.
        folder: where members go, flat, as ``000000``, ``000001``, … in archive order.
        log: where D13 goes.

    Returns:
        how many files were unpacked.

    Raises:
        InputError: D13 for anything unsafe, damaged or encrypted.
    """
    _check_directory(path, log)
    try:
        with zipfile.ZipFile(path) as archive:
            members = _safe_members(archive, path, folder, log)
            left = MAX_TOTAL_BYTES
            for number, member in enumerate(members):
                left = _unpack(archive, member, folder / f"{number:06d}", left, log)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        log.reject("D13", f"damaged or encrypted zip archive ({error}); pack the folder anew")
    except (OSError, ValueError, struct.error) as error:
        log.reject("D13", f"zip archive cannot be unpacked ({error}); unpack it yourself")
    log.passed("zip")
    return len(members)


def _check_directory(path: Path, log: FindingLog) -> None:
    """Counts in the end record, before the whole directory is loaded."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 65_557))
        tail = file.read()
    found = tail.rfind(_END_RECORD)
    if found < 0 or len(tail) < found + 22:
        log.reject("D13", "truncated zip archive: it has no directory; copy it again")
    count, directory = struct.unpack("<H", tail[found + 10 : found + 12])[0], 0
    directory = struct.unpack("<I", tail[found + 12 : found + 16])[0]
    if count == 0xFFFF or directory == 0xFFFFFFFF:
        log.reject("D13", f"zip archive of more than {0xFFFE} files; unpack it yourself")
    if directory > _MAX_DIRECTORY_BYTES:
        log.reject("D13", f"zip directory of {directory} bytes; unpack it yourself")


def _safe_members(
    archive: zipfile.ZipFile, path: Path, folder: Path, log: FindingLog
) -> list[zipfile.ZipInfo]:
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) > MAX_MEMBERS:
        log.reject("D13", f"zip archive of {len(members)} files, at most {MAX_MEMBERS}")
    for member in members:
        name = member.filename
        pure = PurePosixPath(name.replace("\\", "/"))
        if pure.is_absolute() or ".." in pure.parts or ":" in name[:3]:
            log.reject("D13", f"zip member {name[:60]!r} leads out of the archive; not unpacked")
        if stat.S_ISLNK(member.external_attr >> 16):
            log.reject("D13", f"zip member {name[:60]!r} is a link; not unpacked")
        if member.flag_bits & 1:
            log.reject("D13", "zip archive is encrypted; unpack it yourself")
    total = sum(member.file_size for member in members)
    stored = max(1, path.stat().st_size)
    if total > MAX_TOTAL_BYTES or (total > _RATIO_FLOOR_BYTES and total > MAX_RATIO * stored):
        log.reject(
            "D13", f"zip archive of {stored} bytes declares {total} (bomb?); unpack it yourself"
        )
    if total > shutil.disk_usage(folder).free:
        log.reject("D13", f"no room in the temporary folder for {total} bytes; unpack it yourself")
    return members


def _unpack(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, left: int, log: FindingLog
) -> int:
    """Write one member; what is written counts, not what the directory says."""
    written = 0
    with archive.open(member) as source, open(target, "xb") as file:
        while data := source.read(_CHUNK):
            written += len(data)
            if written > member.file_size or written > left:
                log.reject("D13", "zip member is larger than declared (bomb?); not unpacked")
            file.write(data)
    return left - written
