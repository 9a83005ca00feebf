"""What prompts may ask of a dataset: its labels, under their names in the knowledge tree."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from textseg3d.dataset.case_notes import CaseNotes
from textseg3d.dataset.description import Description, Label
from textseg3d.errors import InputError, PromptError
from textseg3d.text.knowledge import KnowledgeTree, Target, load_tree
from textseg3d.text.modality import common_modality
from textseg3d.text.normalise import normalise_text
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
        own: target name → texts of the dataset that mean it, for the model's card.
        ignore: label value of voxels whose truth is not known.
        notes: what ``cases.json`` says of single cases; a case without a note was searched for
            every label.
        channels: names of the dataset's channels.
    """

    entries: tuple[TargetEntry, ...]
    values: dict[str, tuple[int, ...]]
    labels: dict[str, str]
    own: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ignore: int | None = None
    notes: Mapping[str, CaseNotes] = field(default_factory=dict)
    channels: tuple[str, ...] = ()

    def modality(self, case: str) -> str | None:
        """What kind of scan a case is; None where its channels are of several kinds."""
        note = self.notes.get(case, CaseNotes())
        return note.modality or common_modality(self.channels)

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
    for label in description.labels:
        if max(label.values) > MAX_LABEL:
            raise InputError(
                f"{description.path}: label {label.name!r} has the value {max(label.values)}; "
                f"training takes values up to {MAX_LABEL}"
            )
    entries: list[TargetEntry] = []
    named = _names(description, tree)
    names = {target: name for name, (_, target) in named.items() if target is not None}
    texts = _own_texts(named, tree, description.path)
    own: dict[str, tuple[str, ...]] = {}
    for name, (label, target) in named.items():
        more, opposite = [], None
        if target is not None:
            more = tree.wordings(target)
            if target.side in _FLIPPED:
                other = Target(target.concept, _FLIPPED[target.side])  # type: ignore[arg-type]
                opposite = names.get(other)
        wordings = tuple(dict.fromkeys(w for w in (*texts[name], *more) if w != name))
        entries.append(TargetEntry(name, wordings[:MAX_WORDINGS], opposite))
        plain = label.name.replace("_", " ")
        kept = tuple(dict.fromkeys(w for w in (*texts[name], plain) if w not in (name, *more)))
        if kept or target is None:
            own[name] = kept
    return DatasetTargets(
        tuple(entries),
        {name: label.values for name, (label, _) in named.items()},
        {name: label.name for name, (label, _) in named.items()},
        own,
        description.ignore,
        notes or {},
        description.channel_names,
    )


def _names(description: Description, tree: KnowledgeTree) -> dict[str, tuple[Label, Target | None]]:
    """Label by label what it is called, and what it is in the tree; the second of two is not."""
    found: dict[str, tuple[Label, Target | None]] = {}
    seen: set[Target] = set()
    for label in description.labels:
        target = _resolve(label, tree)
        if target is None or target in seen:
            logger.info("label %r keeps its name: not in the knowledge tree", label.name)
            found[label.name.replace("_", " ")] = label, None
        else:
            seen.add(target)
            found[tree.canonical_name(target)] = label, target
    return found


def _own_texts(
    named: Mapping[str, tuple[Label, Target | None]], tree: KnowledgeTree, path: Path
) -> dict[str, list[str]]:
    """The dataset's texts by target; one that also means another target is left out."""
    users: dict[str, set[str]] = {}
    for name, (label, target) in named.items():
        more = [] if target is None else tree.wordings(target)
        for text in (name, *label.wordings, *more):
            users.setdefault(normalise_text(text), set()).add(name)
    texts: dict[str, list[str]] = {}
    for name, (label, _) in named.items():
        texts[name] = []
        for text in label.wordings:
            others = users[normalise_text(text)] - {name}
            if not others:
                texts[name].append(text)
            else:
                logger.warning(
                    "%s: %r is left out of the prompts of %r; it also means %r",
                    path, text, label.name, min(others),
                )  # fmt: skip
    return texts


def _resolve(label: Label, tree: KnowledgeTree) -> Target | None:
    for text in (label.name, *label.wordings):
        try:
            return tree.resolve_label(text)
        except PromptError:
            continue
    return None
