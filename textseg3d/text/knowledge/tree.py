"""The tree itself: look-up by name, phrase and dataset label, wordings, wholes and parts."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator
from functools import cached_property, lru_cache
from pathlib import Path

from textseg3d.errors import InputError, PromptError
from textseg3d.suggest import did_you_mean
from textseg3d.text.knowledge import wording
from textseg3d.text.knowledge.concept import Concept, Side, Target
from textseg3d.text.knowledge.forms import Form, bag, build_index, normalise, split_sides

_DATA = Path(__file__).resolve().parent / "data"


class KnowledgeTree:
    """All concepts, indexed.

    Args:
        concepts: the concepts; names must be unique.

    Raises:
        InputError: for two concepts of one name.
    """

    def __init__(self, concepts: Iterable[Concept]) -> None:
        self._concepts: dict[str, Concept] = {}
        for concept in concepts:
            if concept.name in self._concepts:
                raise InputError(
                    f"knowledge tree: the name {concept.name!r} is given twice; rename one of them"
                )
            self._concepts[concept.name] = concept

    def __iter__(self) -> Iterator[Concept]:
        return iter(self._concepts.values())

    def __len__(self) -> int:
        return len(self._concepts)

    def __contains__(self, name: object) -> bool:
        return name in self._concepts

    def concept(self, name: str) -> Concept:
        """The concept whose preferred name is ``name``.

        Raises:
            PromptError: if there is none.
        """
        try:
            return self._concepts[name]
        except KeyError:
            raise PromptError(
                f"the knowledge tree has no concept {name!r}{did_you_mean(name, self._concepts)}"
            ) from None

    @cached_property
    def forms(self) -> dict[str, tuple[Form, ...]]:
        """Every surface form, keyed by its normalised text (see ``normalise``)."""
        return build_index(self)

    @cached_property
    def labels(self) -> dict[str, Target]:
        """TotalSegmentator's label names (lower case) and what they stand for."""
        return {
            label.lower(): Target(concept.name, side)  # type: ignore[arg-type]
            for concept in self
            for label, side in concept.totalsegmentator.items()
        }

    @cached_property
    def _bags(self) -> dict[frozenset[str], tuple[Form, ...]]:
        index: dict[frozenset[str], dict[str, Form]] = {}
        for text, forms in self.forms.items():
            for form in forms:
                if form.source not in ("adjective", "translation"):
                    index.setdefault(bag(text), {}).setdefault(form.concept, form)
        return {words: tuple(forms.values()) for words, forms in index.items()}

    def lookup(self, phrase: str) -> list[tuple[Concept, Side | None]]:
        """Concepts that a whole phrase names, with the side that it carries, best first.

        The phrase is taken as written first ("left atrium", "LLL"), then without its side words
        ("left kidney"). An empty list means that the phrase is not a known name.

        Raises:
            PromptError: if it says left and right at once.
        """
        text = normalise(phrase)
        found = self._sided(self.forms.get(text, ()), None)
        if not found:
            side, rest = split_sides(text)
            if side is not None and rest:
                found = self._sided(self.forms.get(rest, ()), side)
        return [(self._concepts[target.concept], target.side) for target in found]

    def _sided(self, forms: Iterable[Form], side: Side | None) -> list[Target]:
        """Targets of ``forms`` when ``side`` was said; forms that contradict it are dropped."""
        targets = []
        for form in forms:
            concept = self._concepts[form.concept]
            said = side or form.side
            if form.side in ("left", "right") and side not in (None, form.side):
                continue
            if concept.allows(said):
                targets.append(Target(form.concept, said))
        return targets

    def resolve_label(self, label: str) -> Target:
        """What a dataset's label name stands for ("kidney_left", "left_kidney", "rib_6_left").

        Raises:
            PromptError: if no concept, or more than one, fits, or the side does not fit it.
        """
        known = self.labels.get(label.strip().lower())
        if known is not None:
            return known
        text = normalise(label)
        side, rest = split_sides(text)
        for forms, said in (
            (self.forms.get(text), None),
            (self.forms.get(rest), side),
            (self._bags.get(bag(text)), None),
            (self._bags.get(bag(rest)), side),
        ):
            targets = self._sided(forms or (), said)
            if targets:
                return self._only(label, targets)
        if side is not None and self.forms.get(rest):
            name = self.forms[rest][0].concept
            raise PromptError(
                f"the label {label!r} says {side}, but {name!r} is not a structure with that "
                f"side; remove the side or check the label"
            )
        raise PromptError(
            f"the label {label!r} is not in the knowledge tree"
            f"{did_you_mean(rest or text, self.forms)}; rename it, or give its prompts "
            f"under 'prompts' in dataset.json"
        )

    def _only(self, label: str, targets: list[Target]) -> Target:
        kinds = {self._concepts[target.concept].kind for target in targets}
        if len(kinds) > 1:
            targets = [t for t in targets if self._concepts[t.concept].kind == "anatomy"]
        if len(targets) > 1 and len({target.concept for target in targets}) > 1:
            names = " or ".join(repr(self.canonical_name(target)) for target in targets)
            raise PromptError(f"the label {label!r} could mean {names}; write out which")
        return targets[0]

    def canonical_name(self, target: Target) -> str:
        """The one name of a target: "left kidney", "kidneys", "lower lobe of left lung"."""
        return wording.canonical_name(self.concept(target.concept), target.side)

    def wordings(self, target: Target) -> list[str]:
        """English phrasings of a target, the canonical name first, without repeats."""
        return wording.wordings(self.concept(target.concept), target.side)

    def parts(self, target: Target, known: Container[Target] | None = None) -> list[Target]:
        """The targets whose union makes up ``target``.

        Without ``known``, groups are taken apart down to what is usually labelled: "lungs" gives
        five lobes, "left ribs" twelve ribs, "liver" itself. With ``known``, every division that
        the tree has is followed down to members of ``known``; branches without any are left out,
        so an empty list means that ``known`` cannot make up the target.
        """
        concept = self.concept(target.concept)
        side = concept.fixed_side or target.side
        if concept.side_rule == "paired" and side in (None, "both"):
            if known is not None:
                whole = [Target(concept.name, "both"), Target(concept.name, None)]
                known_whole = [candidate for candidate in whole if candidate in known]
                if known_whole:
                    return known_whole[:1]
            return _merged(self.parts(Target(concept.name, s), known) for s in ("left", "right"))
        target = Target(concept.name, side)
        if known is not None and target in known:
            return [target]
        if concept.contains and (concept.union or known is not None):
            return _merged(
                self.parts(child, known)
                for child in (self._child(name, side) for name in concept.contains)
                if child is not None
            )
        return [] if known is not None else [target]

    def _child(self, name: str, side: Side | None) -> Target | None:
        """The part ``name`` of a whole on ``side``; None where it lies on the other side."""
        child = self.concept(name)
        if child.fixed_side is not None:
            fits = side in (None, "both", "midline", child.fixed_side)
            return Target(name, child.fixed_side) if fits else None
        return Target(name, side if child.side_rule == "paired" else None)

    def ancestors(self, target: Target | str) -> list[Target]:
        """Wholes that a target is part of, nearest first, with its side where they are paired."""
        start = Target(target) if isinstance(target, str) else target
        found: dict[Target, None] = {}
        queue = [start]
        while queue:
            current = queue.pop(0)
            side = self.concept(current.concept).fixed_side or current.side
            for name in self.concept(current.concept).part_of:
                paired = self.concept(name).side_rule == "paired"
                whole = Target(name, side if paired else None)
                if whole not in found:
                    found[whole] = None
                    queue.append(whole)
        return list(found)


def _merged(lists: Iterable[list[Target]]) -> list[Target]:
    """The lists one after another, without repeats."""
    return list(dict.fromkeys(target for targets in lists for target in targets))


def read_concepts(path: Path) -> list[Concept]:
    """The concepts of one JSON-lines file.

    Raises:
        InputError: for a line that is not a concept; the message names file and line.
    """
    concepts = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            concepts.append(Concept.from_json(json.loads(line)))
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{path.name}, line {number}: expected one JSON object per line, got {error}"
            ) from None
    return concepts


@lru_cache(maxsize=1)
def load_tree() -> KnowledgeTree:
    """The bundled tree; read once per process.

    Raises:
        InputError: if the data of the installation is missing or damaged.
    """
    paths = sorted(_DATA.glob("*.jsonl"))
    if not paths:
        raise InputError("the knowledge tree's data files are missing; reinstall textseg3d")
    return KnowledgeTree(concept for path in paths for concept in read_concepts(path))
