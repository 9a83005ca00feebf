"""The training set on disk: `training.json`, and one `.npz` per case on the network's grid.

Labels are partial. A case lists, per target, the label ids that make it up; an empty list says
"looked for, not there"; a target that is not listed is unknown in that case and is never asked.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import InputError
from textseg3d.plans.jsonio import from_json, to_json
from textseg3d.synthesis.findings import FINDINGS

INDEX = "training.json"
Modality = Literal["CT", "MR"]


@dataclass(frozen=True)
class TargetEntry:
    """A thing that prompts can ask for.

    Attributes:
        name: canonical wording ("left kidney"); the key of the embedding bank.
        wordings: other phrasings that training draws from.
        opposite: canonical name of the same structure on the other side, if any.
        weight: how often it is asked, relative to others.
    """

    name: str
    wordings: tuple[str, ...] = ()
    opposite: str | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class TrainingCase:
    """One scan or atlas.

    Attributes:
        name: file stem; ``<name>.npz`` holds ``labels`` uint8 [D, H, W] and, for a scan,
            ``image`` int16 [D, H, W] in HU.
        kind: "scan" is re-lit and deformed, "atlas" is rendered from its labels.
        weight: how often it is drawn.
        targets: target name → label ids (empty: known to be absent).
        tissue: label id → tissue (atlas only).
        veins, arms: label ids (atlas only), see :class:`textseg3d.synthesis.render.Tissues`.
        insert: finding (a target of this case) → label ids of what samples may show it in, see
            :mod:`textseg3d.training.insertion`.
        unknown: label ids of voxels that may be anything: no target is scored there (crops only,
            see :mod:`textseg3d.training.crops`).
    """

    name: str
    kind: Literal["scan", "atlas"]
    weight: float
    targets: dict[str, tuple[int, ...]]
    tissue: dict[str, str] | None = None
    veins: tuple[int, ...] = ()
    arms: tuple[int, ...] = ()
    insert: dict[str, tuple[int, ...]] = field(default_factory=dict)
    unknown: tuple[int, ...] = ()


@dataclass(frozen=True)
class TrainingSet:
    """All cases and targets, at one spacing (z, y, x) in mm.

    Of ``modality`` MR, cases are atlases alone, and show no findings: those are drawn in HU.
    """

    spacing_mm: tuple[float, float, float]
    targets: tuple[TargetEntry, ...]
    cases: tuple[TrainingCase, ...]
    modality: Modality = "CT"

    @classmethod
    def load(cls, folder: Path) -> TrainingSet:
        """Read ``training.json`` of a folder.

        Raises:
            InputError: if the folder has none or one that is no JSON, or a case names an
                unknown target, or the set is of MR and has more than atlases.
        """
        path = Path(folder) / INDEX
        if not path.is_file():
            raise InputError(f"{folder}: no {INDEX}; prepare the training set first")
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(
                f"{path} is no JSON ({error}); prepare the training set again"
            ) from None
        loaded = from_json(cls, data, f"{path}: ")
        names = {t.name for t in loaded.targets}
        for case in loaded.cases:
            unknown = sorted(set(case.targets) - names)
            if unknown:
                raise InputError(f"{path}: case {case.name!r} names unknown target {unknown[0]!r}")
            unready = sorted(n for n in case.insert if n not in case.targets or n not in FINDINGS)
            if unready:
                raise InputError(
                    f"{path}: case {case.name!r} can't show {unready[0]!r}; findings that can be "
                    f"inserted into a case that lists them as targets: {', '.join(FINDINGS)}"
                )
        for case in loaded.cases:
            if loaded.modality == "MR" and (case.kind != "atlas" or case.insert):
                raise InputError(
                    f"{path}: case {case.name!r} is a scan or shows findings; a set of MR is made "
                    "of atlases alone"
                )
        return loaded

    def as_mr(self) -> TrainingSet:
        """The atlases of this set, to be rendered as MR, without findings.

        Raises:
            InputError: if it has no atlas.
        """
        if self.modality == "MR":
            return self
        cases = tuple(
            replace(c, insert={}, targets={n: v for n, v in c.targets.items() if n not in FINDINGS})
            for c in self.cases
            if c.kind == "atlas"
        )
        if not cases:
            raise InputError("the training set has no atlas; only atlases can be rendered as MR")
        targets = tuple(t for t in self.targets if t.name not in FINDINGS)
        return replace(self, targets=targets, cases=cases, modality="MR")

    def save(self, folder: Path) -> None:
        """Write ``training.json``."""
        text = json.dumps(to_json(self), indent=1)
        (Path(folder) / INDEX).write_text(text + "\n", encoding="utf-8")


def save_case_arrays(
    folder: Path, name: str, labels: NDArray[np.uint8], image: NDArray[np.int16] | None
) -> None:
    """Write ``<name>.npz`` (compressed); labels and image are [D, H, W] on one grid."""
    arrays = {"labels": labels} if image is None else {"labels": labels, "image": image}
    np.savez_compressed(Path(folder) / f"{name}.npz", **arrays)


def load_case_arrays(folder: Path, name: str) -> tuple[NDArray[np.uint8], NDArray[np.int16] | None]:
    """Labels and (for a scan) image of a case.

    Raises:
        InputError: if the file is missing or damaged.
    """
    path = Path(folder) / f"{name}.npz"
    try:
        with np.load(path) as data:
            return data["labels"], data.get("image")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} cannot be read ({error}); prepare the training set again"
        ) from error
