"""Names that say the same thing twice: "right ACA (anterior cerebral artery)".

A later target that adds nothing to an earlier one (the same concept, or the plain head of its
name: "parotid mass" and "mass") gives it what it knows, a size or a side, and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar.model import PromptTarget
from textseg3d.text.grammar.refine import Refiner

_NUMBERED = re.compile(
    r"\b([CTLS]\d{1,2}(-[CTLS]\d{1,2})?(?= vertebra| disc)|\d{1,2}(st|nd|rd|th)(?= rib))"
)


def without_repeats(targets: Sequence[PromptTarget], refiner: Refiner) -> list[PromptTarget]:
    """The targets, those that mean the same thing made one."""
    kept: list[PromptTarget] = []
    wide: set[int] = set()  # those whose places were a row of vertebrae or ribs
    for target in targets:
        for at in range(len(kept) - 1, -1, -1):
            if at in wide or _siblings(kept[at], target):
                places = tuple(dict.fromkeys((*kept[at].places, *target.places)))
                merged = _merged(kept[at].lying_in(()), target.lying_in(()), refiner)
                merged = merged.lying_in(places) if merged is not None else None
                wide |= {at} if merged is not None else set()
            else:
                merged = _merged(kept[at], target, refiner)
            if merged is not None:
                kept[at] = merged
                break
        else:
            kept.append(target)
    return _pairs(kept, refiner)


def _pairs(targets: Sequence[PromptTarget], refiner: Refiner) -> list[PromptTarget]:
    """The targets, a structure that is listed left and right ("lens L, lens R") made one."""
    kept: list[PromptTarget] = []
    for target in targets:
        known = target.concept in refiner.tree
        if known and refiner.tree.concept(target.concept).side_rule == "paired":
            whole = replace(target, side="both")
            other = next((at for at, t in enumerate(kept) if _other_side(t, target)), None)
            if other is not None:
                kept[other] = whole
                continue
        kept.append(target)
    return kept


def _other_side(one: PromptTarget, other: PromptTarget) -> bool:
    sides = {one.side, other.side} == {"left", "right"}
    return sides and replace(one, side=other.side) == other


def _merged(one: PromptTarget, other: PromptTarget, refiner: Refiner) -> PromptTarget | None:
    """Both as one target, or None if they may be two things."""
    if one.certainty != other.certainty or not _may_be_one(one, other, refiner):
        return None
    name = one.concept
    if name != other.concept:
        if _is_kind(other.concept, name, refiner):
            name = other.concept
        elif not _is_kind(name, other.concept, refiner):
            return None
    first, second = (one, other) if name == one.concept else (other, one)
    # A second part that has its own place, size or order speaks of further instances.
    own_place = other.container and one.container and other.container != one.container
    own_size = other.size_mm and one.size_mm and other.size_mm != one.size_mm
    if own_place or own_size or (one.order and other.order and one.order != other.order):
        return None
    place = one if one.container else other
    return replace(
        first,
        side=one.side if one.side is not None else other.side,
        container=place.container,
        container_place=place.container_place,
        further_places=place.further_places,
        size_mm=one.size_mm or other.size_mm,
        dimensions_mm=one.dimensions_mm or other.dimensions_mm,
        volume_ml=one.volume_ml or other.volume_ml,
        order=one.order,
        count=one.count or second.count,
        attributes=tuple(dict.fromkeys((*one.attributes, *other.attributes))),
        near=tuple(dict.fromkeys((*one.near, *other.near))),
        exclusions=tuple(dict.fromkeys((*one.exclusions, *other.exclusions))),
    )


def _siblings(one: PromptTarget, other: PromptTarget) -> bool:
    """Whether two places are members of a numbered row, as vertebrae, discs and ribs are."""
    places = [t.places[-1].concept for t in (one, other) if t.places]
    if one.concept != other.concept:
        return False
    kinds = {_NUMBERED.sub("", place) for place in places}
    return len(places) == 2 and len(kinds) == 1 and all(_NUMBERED.search(p) for p in places)


def _may_be_one(one: PromptTarget, other: PromptTarget, refiner: Refiner) -> bool:
    """Whether sides and places do not tell them apart."""
    if one.side is not None and other.side is not None:
        return one.side == other.side
    if one.side is None and other.side is None:
        return True
    sided = one if one.side is not None else other
    return sided is one or sided.concept == other.concept or one.container is None


def _is_kind(narrow: str, wide: str, refiner: Refiner) -> bool:
    """Whether ``narrow`` is named as a kind of ``wide``: "parotid mass" of "mass"."""
    tree = refiner.tree
    if narrow not in tree or tree.concept(narrow).kind != "finding":
        return False
    if wide in tree and tree.concept(wide).kind != "finding":
        return False
    return narrow.endswith(f" {wide}")
