"""One finding that is said to lie in several places: "emphysema in both upper and lower lobes"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar.model import PromptTarget
from textseg3d.text.grammar.refine import Refiner, Spot
from textseg3d.text.knowledge import Side

_COUNTED = ("mass", "calcification")
_WIDE = frozenset(("region", "limb", "bone", "muscle"))


def together(targets: Sequence[PromptTarget], refiner: Refiner) -> list[PromptTarget]:
    """The targets of one name, those in parts of one structure made one in that structure.

    Things that are counted stay apart where they lie on different sides ("nodules in the left
    lower lobe and the right middle lobe") or in different structures.
    """
    kept: list[PromptTarget] = []
    for target in targets:
        for at, other in enumerate(kept):
            one = _one(other, target, refiner)
            if one is not None:
                kept[at] = one
                break
        else:
            kept.append(target)
    return kept


def _one(one: PromptTarget, other: PromptTarget, refiner: Refiner) -> PromptTarget | None:
    places = one.container_place, other.container_place
    if places[0] is None or places[1] is None or one.concept not in refiner.tree:
        return None
    same = replace(one, side=None, container=None, container_place=None) == replace(
        other, side=None, container=None, container_place=None
    )
    if not same or one.container == other.container:
        return None
    first, second = (refiner.tree.concept(place.concept) for place in places if place is not None)
    if None in (one.side, other.side) and refiner.related(first, second):
        return one if other.side is None else other  # "mass of lung, right lung"
    counted = refiner.tree.concept(one.concept).category in _COUNTED
    if one.side != other.side and (counted or None in (one.side, other.side)):
        return None
    side: Side | None = one.side if one.side == other.side else "both"
    for name in refiner.family(first):
        whole = refiner.tree.concept(name)
        if refiner.narrower(second, whole):
            if whole.category in _WIDE or len(refiner.family(whole)) < 2:
                break
            sided = side if whole.allows(side) else None
            place = refiner.place(Spot(whole, sided, sided is not None))
            return replace(one, side=side, container=place.name, container_place=place)
    return None if counted else replace(one, side=side, container=None, container_place=None)
