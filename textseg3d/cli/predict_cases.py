"""Which scans and prompts a `predict` command means: files, folders of scans, job lists."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textseg3d.errors import InputError, UsageError
from textseg3d.export.naming import SCAN_SUFFIXES, strip_suffix
from textseg3d.suggest import did_you_mean

_FILE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_PLANS_NAME = re.compile(r"(nnUNet\w*|\w+)?Plans(_\w+)?|\S+\.json", re.ASCII)


@dataclass(frozen=True)
class Job:
    """One scan and its prompts (texts as typed)."""

    scan: Path
    prompts: tuple[str, ...]


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


def read_jobs(path: Path) -> list[Job]:
    """Read a job list ``[{"image": path, "prompts": [text, …]}, …]``.

    Relative image paths start at the folder of the list.

    Raises:
        InputError: if it cannot be read.
        UsageError: if it is not such a list.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"the job list {path} cannot be read as JSON: {error}") from None
    if not isinstance(data, list) or not data:
        raise UsageError(f"{path}: expected a list of objects with 'image' and 'prompts'")
    jobs = []
    for number, item in enumerate(data, 1):
        image, prompts = _job_fields(item, f"{path}: job {number}")
        jobs.append(Job(path.parent / image, tuple(prompts)))
    return jobs


def _job_fields(item: Any, where: str) -> tuple[str, list[str]]:
    if not isinstance(item, dict):
        raise UsageError(f"{where}: expected an object with 'image' and 'prompts'")
    for key in item:
        if key not in ("image", "prompts"):
            raise UsageError(
                f"{where}: unknown key {key!r}{did_you_mean(key, ('image', 'prompts'))}"
            )
    image, prompts = item.get("image"), item.get("prompts")
    if not isinstance(image, str) or not image:
        raise UsageError(f"{where}: 'image' is {image!r}, expected a path")
    if isinstance(prompts, str):
        prompts = [prompts]
    if not isinstance(prompts, list) or not prompts or not all(isinstance(p, str) for p in prompts):
        raise UsageError(f"{where}: 'prompts' is {prompts!r:.60}, expected a list of texts")
    return image, prompts


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
