"""Labelled scans as folders: ``ct.nii.gz`` or ``mr.nii.gz``, ``seg.nii.gz``, ``info.json``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from textseg3d.errors import InputError
from textseg3d.evaluation.protocols.folders import read_json

IMAGES = ("ct.nii.gz", "mr.nii.gz")


@dataclass(frozen=True)
class CaseFolder:
    """One labelled scan.

    Attributes:
        name: of the case.
        image: the scan.
        truth: its label map, on the scan's grid.
        labels: label id → name. Labels are partial: what has none is not background.
        labels_by: who drew the truth, in words.
        split: "train", "val" or what info.json says.
        licence: of the scan.
        more_images: further channels of the scan.
        targets: name → label ids, where names overlap ("lungs", "left lung"); scored instead of
            the labels one by one.
        absent: prompts for what the scan certainly does not show.
    """

    name: str
    image: Path
    truth: Path
    labels: dict[int, str]
    labels_by: str
    split: str
    licence: str
    more_images: tuple[Path, ...] = ()
    targets: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    absent: tuple[str, ...] = ()


def read_case(folder: Path) -> CaseFolder:
    """Read ``info.json`` of a case folder.

    Raises:
        InputError: if a file is missing or info.json has no usable ``labels``.
    """
    image = next((n for n in IMAGES if (folder / n).is_file()), IMAGES[0])
    for name in (image, "seg.nii.gz", "info.json"):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder} has no {name}; a case folder holds ct.nii.gz (or mr.nii.gz), seg.nii.gz "
                "and info.json"
            )
    info = read_json(folder / "info.json")
    labels = info.get("labels") if isinstance(info, dict) else None
    if not isinstance(labels, dict) or not labels:
        raise InputError(
            f'{folder / "info.json"} has no `labels`; expected names by id, as in {{"1": "liver"}}'
        )
    return CaseFolder(
        name=str(info.get("case", folder.name)),
        image=folder / image,
        truth=folder / "seg.nii.gz",
        labels={_label_id(folder, key): str(value) for key, value in labels.items()},
        labels_by=str(info.get("labels_by", "not stated")),
        split=str(info.get("split", "not stated")),
        licence=str(info.get("licence", "not stated")),
        targets=_targets(folder, info.get("targets", {})),
        absent=tuple(_texts(folder, info.get("absent", []))),
    )


def find_cases(paths: Iterable[Path]) -> list[CaseFolder]:
    """Case folders among ``paths``, or directly below them, each once, by name.

    Raises:
        InputError: if a path holds no case folder, or two cases have one name.
    """
    folders: dict[Path, None] = {}
    for path in paths:
        if (path / "info.json").is_file():
            found = [path]
        elif path.is_dir():
            found = sorted(
                p
                for p in path.iterdir()
                if p.name[0] != "." and (p / "info.json").is_file() and _has_labels(p)
            )
        else:
            found = []
        if not found:
            raise InputError(
                f"{path} is no case folder and holds none; expected ct.nii.gz or mr.nii.gz, "
                "seg.nii.gz and info.json in it or in its sub-folders"
            )
        folders.update(dict.fromkeys(found))
    cases = sorted((read_case(folder) for folder in folders), key=lambda case: case.name)
    names = [case.name for case in cases]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two cases are called {name!r}; give them different `case` names")
    return cases


def _has_labels(folder: Path) -> bool:
    """Whether a sub-folder is meant to be scored: an unlabelled scan beside others is passed by."""
    info: Any = read_json(folder / "info.json")
    return bool(isinstance(info, dict) and info.get("labels")) and (folder / "seg.nii.gz").exists()


def _label_id(folder: Path, key: Any) -> int:
    try:
        return int(key)
    except ValueError:
        raise InputError(
            f"{folder / 'info.json'}: label id {key!r} is not an integer; write the voxel value"
        ) from None


def _targets(folder: Path, data: Any) -> dict[str, tuple[int, ...]]:
    where = folder / "info.json"
    if not isinstance(data, dict):
        raise InputError(f'{where}: expected `targets` as in {{"lungs": [1, 2]}}, got {data!r:.60}')
    for name, ids in data.items():
        if not isinstance(ids, list) or not ids or any(type(i) is not int for i in ids):
            raise InputError(f"{where}: target {name!r} is {ids!r:.60}, expected its label ids")
    return {name: tuple(ids) for name, ids in data.items()}


def _texts(folder: Path, data: Any) -> list[str]:
    if not isinstance(data, list) or not all(isinstance(text, str) for text in data):
        raise InputError(
            f"{folder / 'info.json'}: expected `absent` as a list of prompts, got {data!r:.60}"
        )
    return data
