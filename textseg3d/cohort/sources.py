"""Which scans and prompts a command means: files, folders of scans, job lists, BIDS datasets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from textseg3d.cohort.bids import bids_scans, is_bids
from textseg3d.errors import InputError, UsageError
from textseg3d.export.naming import SCAN_SUFFIXES, strip_suffix

_FILE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_PLANS_NAME = re.compile(r"(nnUNet\w*|\w+)?Plans(_\w+)?|\S+\.json", re.ASCII)


@dataclass(frozen=True)
class Job:
    """Scans and their prompts.

    Attributes:
        scan: file, DICOM folder, folder of scans or BIDS dataset.
        prompts: texts as typed; none stand for every concept of the model.
        case: name of the outputs instead of the scan's.
        folder: sub-folder of the output folder, "" for none.
        dataset: the BIDS dataset that the scan belongs to.
    """

    scan: Path
    prompts: tuple[str, ...]
    case: str | None = None
    folder: str = ""
    dataset: Path | None = None


def refuse_plans(prompts: Sequence[str]) -> None:
    """`-p` names plans in other commands; here it is a prompt, and a plans file is a slip.

    Raises:
        UsageError: if a prompt is the name of a plans file.
    """
    for text in prompts:
        if _PLANS_NAME.fullmatch(text.strip()):
            raise UsageError(
                f"-p {text!r} looks like a plans file, but in `predict` -p takes prompts such as "
                "'left lung'; choose the model with --model"
            )


def expand(job: Job, modalities: Sequence[str] = ()) -> list[Job]:
    """One job for each scan that a job means.

    Args:
        modalities: of the model; of a BIDS dataset only scans of these are taken.

    Raises:
        InputError: if the path does not exist or holds no scan.
        UsageError: if ``case`` is given for several scans.
    """
    if is_bids(job.scan):
        found = [
            replace(job, scan=scan, folder=scan.parent.relative_to(job.scan).as_posix(),
                    dataset=job.scan)
            for scan in bids_scans(job.scan, modalities)
        ]  # fmt: skip
    else:
        found = [replace(job, scan=scan) for scan in find_scans([job.scan])]
    if job.case is not None and len(found) > 1:
        raise UsageError(f"{job.scan} holds {len(found)} scans, but 'case' {job.case!r} names one")
    return found


def find_scans(paths: Sequence[Path]) -> list[Path]:
    """Every scan that ``paths`` name; a folder is a DICOM series or a folder of scans.

    A folder with NIfTI, NRRD or MetaImage files stands for those files, without the outputs of
    earlier runs; a folder with other files is one DICOM series; a folder with nothing but
    folders stands for those.

    Raises:
        InputError: if a path does not exist or holds nothing.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: there is no such file or folder")
        found += _scans_in(path) if path.is_dir() else [path]
    return found


def _scans_in(folder: Path) -> list[Path]:
    entries = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    files = [p for p in entries if p.is_file()]
    scans = [p for p in files if p.name.lower().endswith(_FILE_SUFFIXES)]
    scans = [p for p in scans if not is_output(p)]
    if scans:
        return scans
    if files:
        return [folder]
    folders = [p for p in entries if p.is_dir()]
    if not folders:
        raise InputError(f"{folder}: the folder is empty; give a scan or a folder of scans")
    return [scan for inner in folders for scan in _scans_in(inner)]


def is_output(path: Path) -> bool:
    """Whether a file was written by an earlier run, by its name and the record beside it."""
    stem = strip_suffix(path.name, SCAN_SUFFIXES)
    for mark in ("__", ".labels", ".probability", ".rex", ".seg"):
        case, found, _ = stem.rpartition(mark)
        if found and case and _is_record(path.with_name(f"{case}.json")):
            return True
    return _is_record(path.with_name(f"{stem}.json"), path.name)


def _is_record(path: Path, mask: str | None = None) -> bool:
    """Whether ``path`` is a record, and (if given) one that wrote ``mask``."""
    from textseg3d.export.record import read_record

    record = read_record(path) if path.is_file() else None
    if record is None:
        return False
    return mask is None or any(p.get("mask") == mask for p in record.get("prompts", ()))
