"""Claims and commit records: who works on a case, and whether it is done.

A case is committed when its record `<case>.json` says "ok" or "bad_input" with the fingerprint of
this very work. The record is renamed into place after all other files, so a process that dies at
any moment leaves either a committed case or one that is done again.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import textseg3d
from textseg3d.cohort.case import Case, Outcome, Work
from textseg3d.errors import STORAGE_ERRORS, TextSegError, UsageError
from textseg3d.export.files import staging_folder
from textseg3d.export.record import path_sha256, read_record, write_json

COMMITTED = ("ok", "bad_input")
_HIDDEN = re.compile(r"\.textseg3d-([0-9a-f]{16})(\.lock|-\w+)")
log = logging.getLogger(__name__)


def lock_path(folder: Path, key: str) -> Path:
    """The file that whoever works on a case holds locked."""
    return folder / f".textseg3d-{key}.lock"


def staging_prefix(case: Case) -> str:
    """Of the hidden folder in which the claim's holder collects the case's files."""
    return f".textseg3d-{case.key}-"


@contextmanager
def claim(case: Case) -> Iterator[bool]:
    """Hold a case for the block; gives False if somebody else holds it.

    The system frees the lock when its holder dies. Where a file system knows no locks, two
    holders write the same files, each by a rename, so that no file is ever half of one.

    Raises:
        UsageError: if nothing can be written into the folder.
        TextSegError: if the disk is full or fails.
    """
    from filelock import FileLock, Timeout

    folder = case.names.folder
    lock = FileLock(lock_path(folder, case.key), timeout=0)
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        yield False
        return
    except NotImplementedError:
        log.debug("%s knows no locks", folder)
        yield True
        return
    except OSError as error:
        if error.errno in STORAGE_ERRORS:
            raise TextSegError(f"writing into {folder} failed: {error.strerror}") from error
        raise UsageError(f"cannot write into {folder}: {error.strerror}") from None
    try:
        yield True
    finally:
        # The name goes while the lock is held. Who had opened the file before gets a lock that
        # nobody else sees, and finds the case committed.
        lock_path(folder, case.key).unlink(missing_ok=True)
        lock.release()
        if made:
            with suppress(OSError):  # something lies in it, as it should
                folder.rmdir()


def sweep(folder: Path) -> None:
    """Remove what processes that were killed left in an output folder."""
    from filelock import FileLock, Timeout

    try:
        found = [e.name for e in os.scandir(folder) if _HIDDEN.fullmatch(e.name)]
    except OSError:
        return
    for key in {match.group(1) for name in found if (match := _HIDDEN.fullmatch(name))}:
        lock = FileLock(lock_path(folder, key), timeout=0)
        try:
            lock.acquire()
        except (Timeout, OSError, NotImplementedError):
            continue
        try:
            for name in found:
                if name.startswith(f".textseg3d-{key}-"):
                    log.debug("removing %s, left by a process that was killed", folder / name)
                    shutil.rmtree(folder / name, ignore_errors=True)
            lock_path(folder, key).unlink(missing_ok=True)
        finally:
            lock.release()


def scan_stat(scan: Path) -> dict[str, int]:
    """Size in bytes and latest change in ns of a scan; of a folder, over all its files.

    Raises:
        OSError: if it is not there.
    """
    files = [scan]
    if scan.is_dir():
        files = [p for p in scan.rglob("*") if p.is_file()]
    stats = [p.stat() for p in files]
    return {
        "files": len(stats),
        "bytes": sum(s.st_size for s in stats),
        "modified_ns": max((s.st_mtime_ns for s in stats), default=0),
    }


def committed(case: Case, work: Work, model: str) -> dict[str, Any] | None:
    """The record that says that this very work was done and whose files are there, or None.

    A scan whose number of files, size and time of change are those of the record is taken to be
    the same; else it is hashed.

    Args:
        model: see :func:`textseg3d.cohort.case.model_fingerprint`.
    """
    record = read_record(case.record)
    if record is None or record.get("status") not in COMMITTED:
        return None
    try:
        image = record["image"]
        now = scan_stat(case.scan)
        same = all(image.get(key) == value for key, value in now.items())
        digest = image["sha256"] if same else path_sha256(case.scan)
        if record["fingerprint"] != work.fingerprint(case.prompts, model, digest):
            return None
        there = all((case.names.folder / name).is_file() for name in record["files"])
    except (KeyError, TypeError, AttributeError, OSError):
        return None
    return record if there else None


def earlier_outcome(record: dict[str, Any]) -> Outcome:
    """The outcome of a case that was committed before, "skipped" or "rejected"."""
    if record["status"] != "bad_input":
        return Outcome("skipped")
    return Outcome("rejected", str((record.get("error") or {}).get("message", "")), 3)


def write_failure(
    case: Case, work: Work, model: str, message: str, *, rule: str | None, exit_code: int
) -> None:
    """Record that a case has no result; mask files that an earlier run recorded go.

    Args:
        model: see :func:`textseg3d.cohort.case.model_fingerprint`.
        message: one line.
        rule: of bad input, such as "N1".
        exit_code: 3 makes the record a commit ("bad_input"); others are tried again.

    Raises:
        UsageError: if nothing can be written there.
        TextSegError: if the disk is full or fails.
    """
    image: dict[str, Any] = {"path": case.shown, "sha256": None}
    try:
        image |= scan_stat(case.scan)
        image["sha256"] = path_sha256(case.scan)
    except OSError as error:
        log.debug("%s cannot be hashed: %s", case.shown, error.strerror)
    fingerprint = None
    if image["sha256"] is not None:
        fingerprint = work.fingerprint(case.prompts, model, image["sha256"])
    record = {
        "textseg3d": textseg3d.__version__,
        "status": "bad_input" if exit_code == 3 else "failed",
        "error": {"rule": rule, "message": message, "exit_code": exit_code},
        "image": {**image, "shape": None, "spacing_mm": None},
        "asked": list(case.prompts),
        "prompts": [],
        "files": [],
        "fingerprint": fingerprint,
        "warnings": [],
    }
    folder = case.names.folder
    before = read_record(case.record) or {}
    with staging_folder(folder, staging_prefix(case)) as staging:
        write_json(staging / case.names.record, record)
        for name in before.get("files", ()):
            if isinstance(name, str) and Path(name).name == name:
                (folder / name).unlink(missing_ok=True)
        os.replace(staging / case.names.record, case.record)
