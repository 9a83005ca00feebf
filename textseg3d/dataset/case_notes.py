"""`cases.json` beside dataset.json: what is known of single cases, where a label map is too little.

nnU-Net ignores the file. It says which labels somebody looked for in a case (only those are
verified negatives), and lists findings in free text with a mask each.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from textseg3d.errors import InputError
from textseg3d.plans.jsonio import from_json, to_json

FILE_NAME = "cases.json"


@dataclass(frozen=True)
class Finding:
    """One text and its voxels.

    Attributes:
        text: as a person wrote it.
        mask: file relative to the dataset folder, on the grid of the case's image; each value
            but 0 is one instance.
        label: name under ``labels`` of dataset.json that the voxels belong to, if any.
        instances: number of instances in the mask.
        exhaustive: whether every instance was drawn; False: some may be missing.
    """

    text: str
    mask: str
    label: str | None = None
    instances: int = 0
    exhaustive: bool = True


@dataclass(frozen=True)
class CaseNotes:
    """One case.

    Attributes:
        annotated: labels that were looked for; any other is unknown, not absent.
        findings: texts with masks.
    """

    annotated: tuple[str, ...]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class _Content:
    cases: dict[str, CaseNotes]


def load_case_notes(folder: Path) -> dict[str, CaseNotes]:
    """Notes by case name; empty for a dataset that has none.

    Raises:
        InputError: if the file is damaged.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from None
    return from_json(_Content, {"cases": data}, f"{path}: ").cases


def case_notes_text(notes: dict[str, CaseNotes]) -> str:
    """The file's content."""
    return json.dumps(to_json(notes), indent=1, ensure_ascii=False) + "\n"
