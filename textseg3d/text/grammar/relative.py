"""Sides that are told by another one: "the contralateral kidney", "on the same side"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar.items import Item

_OTHER = {"left": "right", "right": "left"}


def with_sides(items: Sequence[Item]) -> list[Item]:
    """The items with "same" and "opposite" as the side that they mean after the last one said.

    Without a side before it such a word says nothing.
    """
    last: str | None = None
    result: list[Item] = []
    for item in items:
        if item.kind == "relative":
            side = _OTHER.get(last or "") if item.value == "opposite" else last
            item = replace(item, kind="side" if side else "filler", value=side)
        elif item.kind == "side":
            last = item.value if item.value in _OTHER else last
        elif item.kind == "mention":
            said = [*item.value.sides, item.value.forms[0].side]
            last = next((side for side in said if side in _OTHER), last)
        result.append(item)
    return result
