"""Sides and sizes that no name took, in a sentence with one finding that can be theirs alone.

"String-of-beads appearance of the right renal artery due to fibromuscular dysplasia" says where
the dysplasia is, though the words between are not known. Nothing is given where a second target,
a second side, a comparison or an earlier state could be what the word is about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar.items import Item
from textseg3d.text.grammar.model import PromptTarget
from textseg3d.text.grammar.refine import Refiner, spreads
from textseg3d.text.knowledge import Side

_OTHERS = frozenset(("exclude", "compare", "but", "change"))
_APART = _OTHERS | {"historical", "after", "relative"}
_RELATIVE = frozenset(("contralateral", "contralaterally", "opposite", "same", "ipsilateral"))
_SOUND = frozenset(("normal", "unremarkable", "intact", "preserved", "patent", "clear", "unlike"))
_SOUND |= {"normally", "shift", "shifted", "spared", "sparing", "away", "remote", "distant"}
_PAST = frozenset(("prior", "previous", "previously", "before", "than", "earlier", "was", "were"))
_SOUND |= _PAST
_SOUND |= {"displacing", "displaces", "compressing", "compresses", "pushing", "pushes", "indenting"}
_FROM = frozenset(("above", "below", "slice", "slices", "sections", "cuts"))
_HEALTHY = frozenset(("normal", "unremarkable", "intact", "preserved"))
_POST = ("status post", "s/p", "s / p", "post ")  # "status post left mastectomy for cancer"
_NO_SIDE = frozenset(("midline shift",))


def completed(
    targets: Sequence[PromptTarget], items: Sequence[Item], refiner: Refiner
) -> list[PromptTarget]:
    """The targets of one sentence, a single finding with the side and the size left over.

    Args:
        targets: what the sentence asks for.
        items: its items.
        refiner: knows the concepts.
    """
    if len(targets) != 1:
        return list(targets)
    target = targets[0]
    concept = refiner.tree.concept(target.concept) if target.concept in refiner.tree else None
    if concept is not None and concept.kind != "finding":
        return [target]
    words = {word for item in _unbracketed(items) for word in item.text.lower().split(" ")}
    kinds = {item.kind for item in items}
    past = any(item.kind == "mention" and item.text.lower().startswith(_POST) for item in items)
    sides = set() if past or kinds & _APART or words & _SOUND else _sides(items)
    takes = concept is None or concept.side_rule in ("paired", "any")
    takes = takes and target.concept not in _NO_SIDE
    if target.side is None and takes and len(sides) == 1:
        side = sides.pop()
        if concept is None or concept.allows(side) or spreads(concept):
            target = replace(target, side=side)
    if target.size_mm is None and not (kinds & _OTHERS or words & _FROM or _distant(items)):
        target = _sized(target, items)
    return [target]


def _distant(items: Sequence[Item]) -> bool:
    """Whether a size is a distance: "8 mm from the renal ostium", "from the carina 2 cm"."""
    for at, item in enumerate(items):
        if item.text.lower().split(" ")[-1] == "from" and item.kind != "filler":
            ahead = any(other.kind == "size" for other in items[at + 1 :])
            listed = any(other.kind in ("comma", "but") for other in items[at + 1 :])
            behind = any(other.kind == "size" for other in items[max(0, at - 2) : at])
            if behind or (ahead and not listed):
                return True
    return False


def _unbracketed(items: Sequence[Item]) -> list[Item]:
    """The items without those in brackets: "26 mm (prior exam 26 mm)"."""
    kept: list[Item] = []
    depth = 0
    for item in items:
        depth += item.text in ("(", "[")
        if not depth:
            kept.append(item)
        depth -= item.text in (")", "]") and depth > 0
    return kept


def _sized(target: PromptTarget, items: Sequence[Item]) -> PromptTarget:
    """The target with the one size of a sentence, if that is not "with 5 mm of depression"."""
    sizes = [at for at, item in enumerate(items) if item.kind == "size"]
    if len(sizes) != 1:
        return target
    behind = items[sizes[0] + 1 : sizes[0] + 2]
    other = any(i.kind in ("unknown", "tail") and not i.text.endswith("ing") for i in behind)
    if other or any(item.text.lower() == "of" for item in behind):
        return target
    size = items[sizes[0]].value
    return replace(target, size_mm=size.bounds, dimensions_mm=size.extents)


def _sides(items: Sequence[Item]) -> set[Side]:
    """Every side that a sentence names, save those told by another one."""
    sides: set[Side] = set()
    for item in items:
        if item.kind == "side" and not _RELATIVE & set(item.text.lower().split(" ")):
            sides.add(item.value)
        elif item.kind == "mention":
            named = {form.side for form in item.value.forms}
            sides.update(item.value.sides)
            if len(named) == 1:
                sides.update(side for side in named if side in ("left", "right"))
    return sides


def without_sound(targets: Sequence[PromptTarget], refiner: Refiner) -> list[PromptTarget]:
    """The targets without structures that a report only calls normal beside a finding."""

    def finding(target: PromptTarget) -> bool:
        known = target.concept in refiner.tree
        return not known or refiner.tree.concept(target.concept).kind == "finding"

    if not any(finding(target) for target in targets):
        return list(targets)
    return [
        target
        for target in targets
        if finding(target) or all(a.value not in _HEALTHY for a in target.attributes)
    ]
