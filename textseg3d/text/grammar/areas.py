"""The part of the body that only says on which side something is: "left hip: femoral neck"."""

from __future__ import annotations

from collections.abc import Sequence

from textseg3d.text.grammar.items import Item, blank
from textseg3d.text.grammar.lexicon import Lexicon
from textseg3d.text.knowledge import Concept, Target

_CATEGORIES = ("region", "joint")
_AREAS = frozenset(("hip bone", "ear", "orbit", "temporal bone", "cerebral hemisphere", "eyeball"))
_NEAR = ({"pelvis", "lower limb"}, {"thorax", "upper limb"}, {"head", "brain"})
_BEFORE = frozenset(("filler", "determiner", "colon", "comma", "stop"))
_BEHIND = frozenset(("filler", "determiner", "comma", "side", "in", "attr", "tail", "unknown"))
_PARTED = frozenset(("(", ")"))


def within_areas(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items; the one structure without a side takes that of the area beside it.

    Lists ("ACL and PCL of the left knee") have their sides from the links between their names.
    """
    result = list(items)
    named = [at for at, item in enumerate(items) if item.kind == "mention"]
    if len(named) != 2:
        return result
    first, second = named
    dangling = items[first].text.lower().endswith((" of the left", " of the right"))
    if dangling and second == first + 1 and _is_there(items[first], items[second], lexicon):
        blank(result, second, second + 1)  # "femoral head of the left" is a name, too
        return result
    for area, part in (named, named[::-1]):
        side = _side(items, area)
        between = items[named[0] + 1 : named[1]]
        kinds = _BEFORE if area < part else _BEHIND
        plain = all(i.kind in kinds and i.text not in _PARTED for i in between)
        if side is None or not plain or not _lies_in(items[part], items[area], lexicon):
            continue
        if any(i.kind == "side" for i in items[max(0, part - 2) : part]) and area < part - 1:
            continue
        start = area - 1 if items[area - 1].kind == "side" else area
        blank(result, max(0, start), area + 1)
        result.insert(part, Item("side", side, side))
        break
    return result


def _side(items: Sequence[Item], at: int) -> str | None:
    """The one side of a structure, as it is said just before its name or in it."""
    item = items[at]
    if at and items[at - 1].kind == "side":
        return items[at - 1].value if items[at - 1].value in ("left", "right") else None
    said = {*item.value.sides, item.value.forms[0].side} & {"left", "right"}
    return said.pop() if len(said) == 1 else None


def _lies_in(part: Item, area: Item, lexicon: Lexicon) -> bool:
    """Whether a paired structure, named without its side, lies in an area."""
    form, whole = part.value.forms[0], area.value.forms[0]
    if lexicon.is_finding(part.value) or lexicon.is_finding(area.value):
        return False
    one, there = lexicon.tree.concept(form.concept), lexicon.tree.concept(whole.concept)
    if form.side is not None or part.value.sides or one.side_rule != "paired" or _is_area(one):
        return False
    if form.source == "adjective" or one.name == there.name:
        return False
    return _is_there(part, area, lexicon)


def _is_there(part: Item, area: Item, lexicon: Lexicon) -> bool:
    tree = lexicon.tree
    one, there = (tree.concept(item.value.forms[0].concept) for item in (part, area))
    if _is_area(there):
        return one.region == there.region or any({one.region, there.region} <= p for p in _NEAR)
    words = {*(there.name, *there.adjectives)} & {*one.name.split(" ")}  # a renal vein, kidney
    return bool(words) or there.name in {t.concept for t in tree.ancestors(Target(one.name, None))}


def _is_area(concept: Concept) -> bool:
    return concept.category in _CATEGORIES or concept.name in _AREAS
