"""One finding that is said to lie in several places: "emphysema in both upper and lower lobes".

It is one target, whose place is exactly the union of the places that were named: never what they
have in common, which could be more ("lungs" for two lobes of five).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar.model import Place, PromptTarget
from textseg3d.text.grammar.refine import Refiner, Spot
from textseg3d.text.knowledge import Concept, Side, Target

_COUNTED = ("mass", "calcification")
_WIDE = frozenset(("region", "limb", "bone", "muscle"))


def together(
    targets: Sequence[PromptTarget], refiner: Refiner, spread: bool = False
) -> list[PromptTarget]:
    """The targets of one name, those in several places made one in their union.

    Things that are counted stay apart where they lie on different sides ("nodules in the left
    lower lobe and the right middle lobe") or in different structures.

    Args:
        targets: of one node.
        refiner: knows the concepts.
        spread: whether the text says that one thing is in all places ("mass involving …").
    """
    kept: list[PromptTarget] = []
    for target in targets:
        for at, other in enumerate(kept):
            one = _one(other, target, refiner, spread)
            if one is not None:
                kept[at] = one
                break
        else:
            kept.append(target)
    return [target.lying_in(_whole(target.places, refiner)) for target in kept]


def _one(
    one: PromptTarget, other: PromptTarget, refiner: Refiner, spread: bool
) -> PromptTarget | None:
    if not one.places or not other.places or one.concept not in refiner.tree:
        return None
    same = alike(one, other)
    if not same or one.container == other.container:
        return None
    first, second = (refiner.tree.concept(t.places[-1].concept) for t in (one, other))
    if None in (one.side, other.side) and refiner.related(first, second):
        return one if other.side is None else other  # "mass of lung, right lung"
    counted = refiner.tree.concept(one.concept).category in _COUNTED and not spread
    if one.side != other.side and counted:
        return None
    if counted and not _in_common(first, second, refiner):
        return None
    return union(one, other)


def alike(one: PromptTarget, other: PromptTarget) -> bool:
    """Whether two targets differ in their sides and places alone."""
    plain = (replace(target.lying_in(()), side=None) for target in (one, other))
    return next(plain) == next(plain)


def union(one: PromptTarget, other: PromptTarget) -> PromptTarget:
    """The first of two targets in the places of both, on the sides of both."""
    sides = {one.side, other.side} - {None}
    side: Side | None = next(iter(sides)) if len(sides) == 1 else "both" if sides else None
    places = tuple(dict.fromkeys((*one.places, *other.places)))
    return replace(one.lying_in(places), side=side)


def _in_common(one: Concept, other: Concept, refiner: Refiner) -> bool:
    """Whether two structures are parts of one that is no mere region."""
    for name in refiner.family(one):
        whole = refiner.tree.concept(name)
        if refiner.narrower(other, whole):
            return whole.category not in _WIDE and len(refiner.family(whole)) >= 2
    return False


def _whole(places: tuple[Place, ...], refiner: Refiner) -> tuple[Place, ...]:
    """A structure in place of all its parts: the left lung for both of its lobes."""
    named = {(place.concept, place.side) for place in places}
    for place in places if places[1:] else ():
        for whole in refiner.tree.ancestors(Target(place.concept, place.side))[:1]:
            parts = refiner.tree.parts(whole)
            if len(parts) > 1 and {(part.concept, part.side) for part in parts} == named:
                concept = refiner.tree.concept(whole.concept)
                return (refiner.place(Spot(concept, whole.side, whole.side is not None)),)
    return places
