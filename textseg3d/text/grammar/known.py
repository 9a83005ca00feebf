"""What a model knows, and whether it covers a target."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from textseg3d.errors import PromptError
from textseg3d.text.grammar.model import PromptTarget
from textseg3d.text.knowledge import KnowledgeTree, Side, Target


@dataclass(frozen=True)
class KnownConcepts:
    """The concepts of a model, with their sides."""

    tree: KnowledgeTree
    targets: frozenset[Target]
    names: frozenset[str]

    @classmethod
    def of(cls, tree: KnowledgeTree, known: Iterable[str | Target] | None) -> KnownConcepts | None:
        """From canonical names, preferred names or targets; None stays None."""
        if known is None:
            return None
        targets: set[Target] = set()
        names: set[str] = set()
        for entry in known:
            if isinstance(entry, Target):
                targets.add(entry)
                continue
            names.add(entry)
            try:
                targets.update(
                    Target(concept.name, side) for concept, side in tree.lookup(entry)[:1]
                )
            except PromptError:
                continue
        return cls(tree, frozenset(targets), frozenset(names))

    def covers(self, target: PromptTarget) -> bool:
        """Whether the model knows the target, its two sides, or all that it consists of."""
        names = (target.concept, *((target.broader,) if target.broader else ()))
        return any(self._covers(name, target.side) for name in names)

    def _covers(self, name: str, side: Side | None) -> bool:
        if name not in self.tree:
            return name in self.names
        concept = self.tree.concept(name)
        if concept.side_rule == "any":
            return any(own.concept == concept.name for own in self.targets)
        return self._knows(name, side)

    def _knows(self, name: str, side: Side | None) -> bool:
        concept = self.tree.concept(name)
        side = concept.fixed_side or side
        if any(Target(name, own) in self.targets for own in _same(side)):
            return True
        if concept.side_rule == "paired" and side in (None, "both"):
            return self._knows(name, "left") and self._knows(name, "right")
        if side not in (None, "midline") and concept.side_rule != "paired":
            return Target(name) in self.targets
        parts = self.tree.parts(Target(name, side)) if concept.contains else []
        return bool(parts) and all(
            part.concept != name and self._knows(part.concept, part.side) for part in parts
        )


def _same(side: Side | None) -> tuple[Side | None, ...]:
    if side in ("left", "right"):
        return (side,)
    return (side, None, "both", "midline")
