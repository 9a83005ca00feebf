"""What only says on which side something is: "left hip: femoral neck", "right side: A, B"."""

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
_NAMES = ("mention", "generic")
_MARKS = ("colon", "comma", "and")
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
        if part < area and part and items[part - 1].kind == "side":
            continue  # "right femur, left hip bone"
        if any(i.kind == "side" for i in items[max(0, part - 2) : part]) and area < part - 1:
            continue
        start = area - 1 if items[area - 1].kind == "side" else area
        blank(result, max(0, start), area + 1)
        result.insert(part, Item("side", side, side))
        break
    return result


def below_sides(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items; names in a list that are left and right take the side that is its heading."""
    result = list(items)
    for colon in (at for at, item in enumerate(items) if item.kind == "colon"):
        start = max((n for n in range(max(0, colon - 12), colon) if _ends(items[n])), default=-1)
        head = items[start + 1 : colon]
        sides = [n for n in range(start + 1, colon) if items[n].kind == "side"]
        end = next((n for n in range(colon + 1, len(items)) if _ends(items[n])), len(items))
        listed = [n for n in range(colon + 1, end) if _is_listed(items, n)]
        sided = any(i.kind == "side" or _own_side(i) for i in items[colon + 1 : end])
        named = any(i.kind in ("mention", "generic", "tail") for i in head)
        if named or len(sides) != 1 or len(listed) < 2 or sided:
            continue
        side = items[sides[0]].value
        free = [n for n in listed if side in ("left", "right") and _has_sides(items[n], lexicon)]
        for at in reversed(free):
            result.insert(at, Item("side", side, side))
        if free:
            blank(result, sides[0], sides[0] + 1)
            return result  # places behind it have moved
    return result


def _is_listed(items: Sequence[Item], at: int) -> bool:
    """Whether a name is the first of its part of a list."""
    if items[at].kind not in _NAMES:
        return False
    before = (n for n in range(at - 1, -1, -1) if items[n].kind in (*_NAMES, *_MARKS))
    return items[next(before)].kind in _MARKS


def _ends(item: Item) -> bool:
    return item.kind in ("stop", "but", "question_mark", "colon")


def _own_side(item: Item) -> bool:
    said = item.kind == "mention" and {*item.value.sides, item.value.forms[0].side}
    return bool(said and said & {"left", "right", "both"})


def _has_sides(item: Item, lexicon: Lexicon) -> bool:
    """Whether what an item names can be left or right."""
    if item.kind != "mention":
        return True
    return lexicon.tree.concept(item.value.forms[0].concept).side_rule in ("paired", "any")


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
