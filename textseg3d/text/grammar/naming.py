"""One thing that is told by two names: "the thing in the left orbit is a clip"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from textseg3d.text.grammar.items import Item, end_of

_ENDS = ("comma", "but", "stop", "colon", "question_mark")
_NAMES = ("mention", "generic", "tail")
_IT_IS = (["it", "is", "a"], ["it", "is", "an"], ["this", "is", "a"], ["this", "is", "an"])
_BACK = frozenset(("it", "its", "this", "they", "size", "diameter", "measurement", "dimensions"))
_PROVED = (["proved", "to", "be"], ["turned", "out", "to"], ["proves", "to", "be"])


def _named(items: Sequence[Item]) -> bool:
    return any(item.kind in _NAMES for item in items)


def _words(items: Sequence[Item]) -> list[str]:
    return [word for item in items for word in item.text.lower().split(" ")]


def _goes_on(items: Sequence[Item], at: int) -> bool:
    """Whether "It measures 7 mm." begins here: a size of what was named before."""
    part = items[at : end_of(items, at, ("stop", "but", "question_mark"))]
    back = bool(part) and part[0].text.lower().split(" ")[0] in _BACK
    return back and any(item.kind == "size" for item in part) and not _named(part)


def _identified(items: Sequence[Item]) -> list[Item]:
    """Reads "a lump in the thigh. It is a lipoma" and "a cyst proved to be …" as one finding."""
    result: list[Item] = []
    at, named = 0, False
    while at < len(items):
        words = _words(items[at : at + 4])
        if named and items[at].kind in ("stop", "but") and words[1:4] in _IT_IS:
            result.append(Item("reading", None, "it is"))
            at += 3
        elif named and items[at].kind == "stop" and _goes_on(items, at + 1):
            result.append(Item("but", None, ";"))
            at += 1
        elif named and words[:3] in _PROVED and items[at].kind != "mention":
            result.append(Item("reading", None, "proved to be"))
            at += 3
        else:
            named |= items[at].kind in _NAMES
            result.append(items[at])
            at += 1
    return result


def by_name(items: Sequence[Item], introduces: Callable[[Sequence[Item], int], int]) -> list[Item]:
    """Reads "the thing in the left orbit is a clip" as "a clip in the left orbit".

    ``introduces`` tells how long "structure that I need is" is at an item; that names nothing.
    """
    items = _identified(items)
    result = list(items)
    for at, item in enumerate(items):
        strange = item.kind in ("unknown", "mention") and items[at + 1 : at + 2] != [] and at < 4
        strange = strange and items[at + 1].kind == "in" and items[0].text.lower() == "that"
        vague = item.kind == "generic" and item.value == "structure"
        if item.kind != "tail" and not strange and not vague:
            continue
        end = end_of(items, at, _ENDS)
        be = end_of(items[:end], at, ("be",))
        article = be + 1 < end and items[be + 1].text.lower() in ("a", "an", "the")
        if not article or not _named(items[be:end]) or introduces(items, at):
            continue
        if be == at + 1 or items[at + 1].kind == "in":
            gone = replace(item, kind="filler", value=None)
            result[at:end] = [gone, *items[be + 1 : end], *items[at + 1 : be], gone]
    return result
