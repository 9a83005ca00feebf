"""Whose a measure is: "with a maximum gap of 38 mm" is the finding's, "diameter of the canal" not.

A measure with a name of the tree in it ("diameter of the aorta 45 mm") is read as everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar.items import Item
from textseg3d.text.grammar.words import is_everyday

_MEASURES = frozenset(("gap", "length", "width", "depth", "diameter", "thickness", "height"))
_MEASURES |= {"span", "separation", "distance", "extent", "dimension", "caliber", "calibre"}
_MEASURES |= {"axis", "circumference", "size"}
_WORDS = frozenset(("unknown", "filler", "determiner", "attr", "order", "tail"))
_LINKING = frozenset(("filler", "determiner", "unknown"))
_PARTS = frozenset(("wall", "rim", "septum", "septal", "septation", "cap", "cortical"))
_SHORTER = ("short axis", "shortest axis", "minor axis", "short-axis")
_REACH = 6
_DISTANT = frozenset(("above", "below", "from", "away from", "distal to", "proximal to"))
_DISTANT |= {"superior to", "inferior to", "caudal to", "cranial to", "anterior to"}
_DISTANT |= {"posterior to", "lateral to", "medial to"}  # behind a length: how far away
_OWN = frozenset(("measuring", "measures", "measured", "sized"))  # no distance follows
_SCANNING = frozenset(("slices", "slice", "slice thickness", "sections", "cuts", "intervals"))
_MARGINS = frozenset(("margin", "margins", "expansion", "expanded", "isotropic", "setup"))
_CHANGED = frozenset(("expand", "grow", "dilate", "shrink", "erode", "enlarge", "inflate", "pad"))
_QUALIFYING = frozenset(("attr", "side", "filler", "determiner", "count", "mention"))
_MEASURED = frozenset(("measured", "sized", "extruded", "surrounded", "followed"))
_MOVING = ("sion", "tion", "ment", "shift", "listhesis", "offset", "descent")


def with_measures(items: Sequence[Item]) -> list[Item]:
    """The items of a sentence, those that only say what was measured made fillers."""
    result = list(items)
    for at, item in enumerate(result):
        if item.kind != "size":
            continue
        following = result[at + 1] if at + 1 < len(result) else item
        if following.kind == "near" and following.text.lower() == "across":  # "31 mm across"
            result[at + 1] = replace(following, kind="filler", value=None)
        whole = _hanging(result, at)
        if whole is not None:
            for place in range(whole, at):
                result[place] = replace(result[place], kind="filler", value=None)
        elif (
            _distance(result, at)
            or _of_other(result, at)
            or _of_part(result, at)
            or _of_change(result, at)
            or _apart(result, at)
            or _of_margin(result, at)
            or _of_place(result, at)
            or _across(result, at)
            or _of_component(result, at)
        ):
            result[at] = replace(item, kind="filler", value=None)
    return result


def _of_component(items: Sequence[Item], at: int) -> bool:
    """Whether a size is that of a part of a finding: "with a 5 mm solid component"."""
    near = (*items[max(0, at - 2) : at], *items[at + 1 : at + 3])
    return any("component" in item.text.lower().split(" ") for item in near)


def _across(items: Sequence[Item], at: int) -> bool:
    """Whether a size is the shorter one of two: "long axis 12 mm, short axis 8 mm"."""
    before = items[at - 1].text.lower() if at else ""
    behind = items[at + 1].text.lower() if at + 1 < len(items) else ""
    if not any(word in before or behind == f"in {word}" for word in _SHORTER):
        return False
    kinds = [item.kind for item in items]
    names = [n for n, kind in enumerate(kinds) if kind in ("mention", "generic", "stop")]
    start = max((n for n in names if n < at), default=0)
    end = min((n for n in names if n > at), default=len(items))
    return "size" in kinds[start:at] or "size" in kinds[at + 1 : end]


def _measure(item: Item) -> bool:
    return item.kind in _WORDS and not _MEASURES.isdisjoint(item.text.lower().split(" "))


def _hanging(items: Sequence[Item], at: int) -> int | None:
    """Where "with a tract length of" before the size at ``at`` begins, behind a name."""
    measured = False
    for place in range(at - 1, max(-1, at - 1 - _REACH), -1):
        item = items[place]
        if item.kind == "with":
            named = any(other.kind in ("mention", "generic") for other in items[:place])
            return place if measured and named else None
        if item.kind not in _WORDS and not (item.kind == "in" and item.text.lower() == "of"):
            return None
        measured |= _measure(item)
        if item.text.lower() in _PARTS:
            return None
    return None


def _distance(items: Sequence[Item], at: int) -> bool:
    """Whether a size is a distance between other things: "aortomesenteric distance 5 mm"."""
    told = items[max(0, at - 3) : at]
    while told and told[-1].kind in ("be", "in", "filler") and told[-1].text != "distance":
        told = told[:-1]
    between = len(told) > 1 and told[-2].kind == "unknown"
    return between and told[-1].text.lower() == "distance"


def _of_part(items: Sequence[Item], at: int) -> bool:
    """Whether a size is that of a part that every finding may have: "with a wall thickness of"."""
    words = [word for item in items[max(0, at - 4) : at] for word in item.text.lower().split(" ")]
    named = any(item.kind in ("mention", "generic") for item in items[max(0, at - 4) : at])
    measured = not _MEASURES.isdisjoint(words[-2:])
    return measured and not named and not _PARTS.isdisjoint(words[-4:])


def _of_change(items: Sequence[Item], at: int) -> bool:
    """Whether a size is that of a movement: "displaced by 4 mm", "with 5 mm retropulsion"."""
    before, behind = items[max(0, at - 2) : at], items[at + 1 : at + 3]
    if before and before[-1].text.lower().split(" ")[-1] == "by":
        verb = (before[-1].text.lower().split(" ")[:-1] or [before[0].text.lower()])[-1]
        return verb.endswith("ed") and verb not in _MEASURED and " to " not in items[at].text
    if not before or before[-1].kind not in ("with", "has") or not behind:
        return False
    noun = behind[0].text.lower()
    named = behind[1:] and behind[1].kind in ("mention", "generic", "tail", "unknown", "attr")
    moved = noun.endswith(_MOVING) and behind[0].kind in ("unknown", "attr", "tail")
    return moved and not named


def _of_other(items: Sequence[Item], at: int) -> bool:
    """Whether a size is said to be that of an unknown thing: "AP diameter of the canal 8 mm"."""
    strange = False
    for place in range(at - 1, max(0, at - 1 - _REACH), -1):
        item = items[place]
        if (item.kind == "in" and item.text.lower() == "of") or item.text.lower().endswith(" of"):
            return strange and (_measure(items[place - 1]) or _measure(item))
        if item.kind not in _LINKING and item.kind != "be":
            return False
        strange |= item.kind == "unknown" and not is_everyday(item.text.lower())
    return False


def _apart(items: Sequence[Item], at: int) -> bool:
    """Whether a size is how far away something is, or that of the scan: "5 mm slices"."""
    behind = {item.text.lower() for item in items[at + 1 : at + 2]}
    before = items[at - 1].text.lower().split(" ") if at else []
    told = before[-1:] == ["of"] and _MEASURES.isdisjoint(before) and _named_before(items, at)
    told |= not _OWN.isdisjoint(before)
    if (told or items[at].value.extents[1:]) and not behind & {"from", "away from"}:
        return False  # "swelling of 14 mm anterior to C3"
    return bool(behind & (_DISTANT | _SCANNING))


def _named_before(items: Sequence[Item], at: int) -> bool:
    """Whether nothing but "of" stands between a name and the size at ``at``."""
    return at > 1 and items[at - 2].kind in ("mention", "generic", "tail")


def _of_margin(items: Sequence[Item], at: int) -> bool:
    """Whether a size is what is to be added around a thing: "with a margin of 5 mm"."""
    words = [word for item in items[max(0, at - 3) : at] for word in item.text.lower().split(" ")]
    while words and words[-1] in ("of", "by", "a", "an", "with"):
        words.pop()
    behind = [item.text.lower() for item in items[at + 1 : at + 2]]
    said = {item.text.lower() for item in items[:at]}
    if said & _CHANGED and items[at - 1].text.lower().split(" ")[-1] == "by":
        return True  # "expand the left kidney by 5 mm"
    return not _MARGINS.isdisjoint((*words[-1:], *behind))


def _of_place(items: Sequence[Item], at: int) -> bool:
    """Whether a size is that of what the finding lies in: "thrombus in the 4 cm aneurysm"."""
    place = at - 1
    while place > 0 and items[place].kind in ("filler", "determiner", "side", "attr"):
        place -= 1
    inside = place > 0 and items[place].text.lower() in ("in", "within", "inside")
    if not inside or not any(item.kind in ("mention", "generic") for item in items[:place]):
        return False
    place = at + 1
    while place < len(items) and items[place].kind in _QUALIFYING:
        place += 1
    named = [item for item in items[at + 1 : place + 1] if item.kind in ("mention", "generic")]
    return bool(named) and items[at + 1].kind != "filler"
