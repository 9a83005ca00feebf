"""What prompts may ask of a dataset: its labels, under their names in the knowledge tree."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from textseg3d.dataset.case_notes import CaseNotes
from textseg3d.dataset.description import Description, Label
from textseg3d.errors import InputError, PromptError
from textseg3d.text.knowledge import KnowledgeTree, Target, load_tree
from textseg3d.training.cases import TargetEntry

MAX_WORDINGS = 12
MAX_LABEL = 255
_FLIPPED = {"left": "right", "right": "left"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetTargets:
    """What can be asked of a dataset.

    Attributes:
        entries: names and wordings.
        values: target name → label values that make it up.
        labels: target name → its name in dataset.json.
        ignore: label value of voxels whose truth is not known.
        notes: what ``cases.json`` says of single cases; a case without a note was searched for
            every label.
    """

    entries: tuple[TargetEntry, ...]
    values: dict[str, tuple[int, ...]]
    labels: dict[str, str]
    ignore: int | None = None
    notes: Mapping[str, CaseNotes] = field(default_factory=dict)

    def known(self, case: str) -> dict[str, tuple[int, ...]]:
        """Target → label values, for the targets that were looked for in a case."""
        note = self.notes.get(case, CaseNotes())
        return {n: v for n, v in self.values.items() if note.looked_for(self.labels[n])}

    def incomplete(self, case: str) -> frozenset[str]:
        """Targets of a case whose voxels may be more than those that were drawn."""
        note = self.notes.get(case, CaseNotes())
        return frozenset(n for n, label in self.labels.items() if not note.complete(label))


def dataset_targets(
    description: Description,
    tree: KnowledgeTree | None = None,
    notes: Mapping[str, CaseNotes] | None = None,
) -> DatasetTargets:
    """Targets of a dataset's labels.

    A label is looked up in the tree by its name, then by its wordings (key ``prompts``); the
    canonical name and all wordings of the concept are taken, the dataset's own first. What the
    tree does not know keeps its own name.

    Raises:
        InputError: for label values above 255.
    """
    tree = load_tree() if tree is None else tree
    entries: list[TargetEntry] = []
    values: dict[str, tuple[int, ...]] = {}
    labels: dict[str, str] = {}
    found = [(label, _resolve(label, tree)) for label in description.labels]
    names: dict[Target, str] = {}
    for label, target in found:
        if max(label.values) > MAX_LABEL:
            raise InputError(
                f"{description.path}: label {label.name!r} has the value {max(label.values)}; "
                f"training takes values up to {MAX_LABEL}"
            )
        if target is None or target in names:
            logger.info("label %r keeps its name: not in the knowledge tree", label.name)
            continue
        names[target] = tree.canonical_name(target)
    for label, target in found:
        own = [w for w in label.wordings if w.strip()]
        name, more = label.name.replace("_", " "), []
        opposite = None
        if target is not None and names.get(target) not in (None, *values):
            name, more = names[target], tree.wordings(target)
            if target.side in _FLIPPED:
                other = Target(target.concept, _FLIPPED[target.side])  # type: ignore[arg-type]
                opposite = names.get(other)
        wordings = tuple(dict.fromkeys(w for w in (*own, *more) if w != name))[:MAX_WORDINGS]
        entries.append(TargetEntry(name, wordings, opposite))
        values[name], labels[name] = label.values, label.name
    return DatasetTargets(tuple(entries), values, labels, description.ignore, notes or {})


def _resolve(label: Label, tree: KnowledgeTree) -> Target | None:
    for text in (label.name, *label.wordings):
        try:
            return tree.resolve_label(text)
        except PromptError:
            continue
    return None
