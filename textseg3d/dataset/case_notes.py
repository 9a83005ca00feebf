"""`cases.json` beside dataset.json: what is known of single cases, where a label map is too little.

nnU-Net ignores the file. It says which labels somebody looked for in a case (only those are
verified negatives), and lists findings in free text with a mask each. Training, its validation and
the scores of a fold go by it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from textseg3d.errors import InputError
from textseg3d.plans.jsonio import from_json, to_json
from textseg3d.suggest import did_you_mean

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
        annotated: labels that were looked for; any other is unknown, not absent. None: all were.
        findings: texts with masks.
        modality: "CT", "MR" or "PET", in a dataset that mixes them; None: that of the channels.
    """

    annotated: tuple[str, ...] | None = None
    findings: tuple[Finding, ...] = ()
    modality: Literal["CT", "MR", "PET"] | None = None

    def looked_for(self, label: str) -> bool:
        """Whether the case's label map says anything about a label."""
        return self.annotated is None or label in self.annotated

    def complete(self, label: str) -> bool:
        """Whether it says all: no finding of the label has instances that may be missing."""
        return all(f.exhaustive for f in self.findings if f.label == label)

    def unknown(self, labels: Iterable[str]) -> frozenset[str]:
        """Labels whose truth the case's label map does not tell, or not in full."""
        return frozenset(n for n in labels if not (self.looked_for(n) and self.complete(n)))


@dataclass(frozen=True)
class _Content:
    cases: dict[str, CaseNotes]


def load_case_notes(folder: Path, labels: Sequence[str] | None = None) -> dict[str, CaseNotes]:
    """Notes by case name; empty for a dataset that has none.

    Args:
        folder: of the dataset.
        labels: names that the notes may use; None takes any.

    Raises:
        InputError: if the file is damaged, or names another label.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from None
    notes = from_json(_Content, {"cases": data}, f"{path}: ").cases
    for case, note in notes.items():
        used = [*(note.annotated or ()), *(f.label for f in note.findings if f.label is not None)]
        unknown = [name for name in used if labels is not None and name not in labels]
        if unknown:
            hint = did_you_mean(unknown[0], labels or ())
            raise InputError(f"{path}: case {case} names {unknown[0]!r}, no label{hint}")
    return notes


def case_notes_text(notes: dict[str, CaseNotes]) -> str:
    """The file's content."""
    return json.dumps(to_json(notes), indent=1, ensure_ascii=False) + "\n"
