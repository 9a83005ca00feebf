"""How a target is written: its one canonical name, and the ways people phrase it."""

from __future__ import annotations

from collections.abc import Iterable

from textseg3d.text.knowledge.concept import Concept
from textseg3d.text.knowledge.forms import pluralise

_SHORT = {"left": ("L", "LT", "Lt"), "right": ("R", "RT", "Rt")}


def canonical_name(concept: Concept, side: str | None) -> str:
    """The one name of a concept with a side, for example "lower lobe of left lung"."""
    side = concept.fixed_side or side
    if side in ("left", "right") and concept.side_rule not in ("midline", "unpaired"):
        return (concept.sided_name or "{side} " + concept.name).format(side=side)
    if side == "both" and concept.side_rule == "paired":
        return concept.plural or pluralise(concept.name)
    if side == "both" and concept.side_rule == "any":
        return f"bilateral {concept.plural or pluralise(concept.name)}"
    return concept.name


def wordings(concept: Concept, side: str | None) -> list[str]:
    """English phrasings of a concept with a side, the canonical name first, without repeats."""
    fixed = concept.fixed_side
    names = [concept.name, *concept.synonyms]
    phrases = [canonical_name(concept, side)]
    if fixed is not None:
        phrases += [*names, *concept.abbreviations, *_one_side(concept, fixed, names)]
    elif side in ("left", "right") and concept.allows(side):
        phrases += _one_side(concept, side, [*names, *concept.abbreviations])
    elif side == "both" and concept.allows(side):
        phrases += _both_sides(concept, names)
    else:
        phrases += [*names, *concept.abbreviations]
        phrases += [f"the {concept.name}"]
    return list(dict.fromkeys(phrases))


def _one_side(concept: Concept, side: str, names: Iterable[str]) -> list[str]:
    phrases = [template.format(side=side) for template in concept.sided_synonyms]
    phrases += concept.sided_forms.get(side, ())
    for name in names:
        phrases += [f"{side} {name}", f"{name}, {side}", f"{side}-sided {name}"]
    canonical = canonical_name(concept, side)
    phrases += [canonical.replace(side, short, 1) for short in _SHORT[side]]
    phrases += [f"the {canonical}", f"{concept.name} on the {side}", f"{concept.name} ({side})"]
    phrases += [f"{concept.name} {side}", f"{side} side {concept.name}"]
    return phrases


def _both_sides(concept: Concept, names: Iterable[str]) -> list[str]:
    group = concept.plural == concept.name
    phrases: list[str] = []
    for name in names:
        plural = pluralise(name)
        if name == concept.name and concept.plural:
            plural = concept.plural
        if group or plural != name:  # a mass noun ("parenchyma") alone would not say both
            phrases.append(plural)
        phrases += [f"both {plural}", f"bilateral {plural}"]
        phrases += [f"left and right {plural}", f"right and left {plural}"]
        if not group:
            phrases.append(f"left and right {name}")
    return phrases
