"""Sides that are told by another one: "the contralateral kidney", "on the same side"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar.items import Item
from textseg3d.text.grammar.lexicon import Lexicon

_OTHER = {"left": "right", "right": "left"}
_EFFECTS = frozenset(("upstream", "downstream", "resulting", "resultant", "consequent"))

_AFTER = frozenset(("upstream", "downstream"))


def with_sides(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items with "same" and "opposite" as the side that they mean after the last one said.

    Without a side before it such a word means the only side that follows; without any it says
    nothing. An effect of what a side was said of ("with upstream hydroureter") is on that side.
    """
    items = list(items)
    for at, item in enumerate(items):
        if item.text.lower() in _EFFECTS and _paired(items[at + 1 : at + 2], lexicon):
            items[at] = replace(item, kind="relative", value="same")
        if (
            item.text.lower() == "its"
            and item.kind == "filler"
            and _sidable(items[at + 1 :], lexicon)
        ):
            items[at] = replace(item, kind="relative", value="same")  # "glioma and its edema"
        behind = items[at + 1] if at + 1 < len(items) else item
        if behind.text.lower() in _AFTER and _paired([item], lexicon):
            items[at : at + 2] = [replace(behind, kind="relative", value="same"), item]
    last: str | None = None
    result: list[Item] = []
    for at, item in enumerate(items):
        if item.kind == "relative":
            told = last or _only_side(items[at + 1 :])
            side = _OTHER.get(told or "") if item.value == "opposite" else last
            item = replace(item, kind="side" if side else "filler", value=side)
        elif item.kind == "side":
            last = item.value if item.value in _OTHER else last
        elif item.kind == "mention":
            last = next(iter(_sides(item)), last)
        result.append(item)
    return result


def _sides(item: Item) -> list[str]:
    """Left or right, as an item says it."""
    said = [item.value] if item.kind == "side" else []
    said += [*item.value.sides, item.value.forms[0].side] if item.kind == "mention" else []
    return [side for side in said if side in _OTHER]


def _only_side(items: Sequence[Item]) -> str | None:
    """The one side of the clauses that follow, if the present one has none itself."""
    ends = (at for at, item in enumerate(items) if item.kind in ("but", "stop"))
    if any(_sides(item) for item in items[: next(ends, len(items))]):
        return None  # "the contralateral (left) kidney"
    sides = {side for item in items for side in _sides(item)}
    return sides.pop() if len(sides) == 1 else None


def _sidable(items: Sequence[Item], lexicon: Lexicon) -> bool:
    """Whether a name that may lie on one side, and says none, comes first."""
    if not items or items[0].kind != "mention":
        return False
    form = items[0].value.forms[0]
    rule = lexicon.tree.concept(form.concept).side_rule
    return form.side is None and not items[0].value.sides and rule in ("any", "paired")


def _paired(items: Sequence[Item], lexicon: Lexicon) -> bool:
    """Whether the one item is a finding of structures that there are left and right."""
    if not items or items[0].kind != "mention" or not lexicon.is_finding(items[0].value):
        return False
    form = items[0].value.forms[0]
    concept = lexicon.tree.concept(form.concept)
    places = [lexicon.tree.concept(name) for name in concept.containers if name in lexicon.tree]
    free = form.side is None and concept.side_rule in ("any", "paired")
    return free and bool(places) and all(place.side_rule == "paired" for place in places)
