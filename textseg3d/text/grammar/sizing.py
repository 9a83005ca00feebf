"""Sizes that are not those of a finding: distances, parts of it; and several sizes of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar.items import Item, blank, end_of
from textseg3d.text.grammar.lexicon import Lexicon

_LOOSE = ("filler", "determiner", "attr", "count", "unknown", "order", "size", "side")
_APART = ("from", "away from", "beyond", "off", "short of")
_BEHIND: tuple[str, ...] = (
    "behind",
    "above",
    "below",
    "deep to",
    "superficial to",
    "distal to",
    "proximal to",
)
_BEHIND += ("anterior to", "posterior to", "lateral to", "medial to", "caudal to", "cranial to")
_BEHIND += ("inferior to", "superior to")
_OPENINGS = ("neck", "orifice", "opening", "defect", "stalk", "pedicle")
_PARTS = ("neck", "orifice", "opening", "stalk", "pedicle", "lumen", "defect", "dome", "mouth")
_GROWN = ("thickening", "widening", "narrowing", "distension", "distention")
_EXTENDING = ("extending", "extends", "extend", "stretching", "spreading", "running")
_ALONG = frozenset(("diameter", "height", "length", "width", "thickness", "depth", "calibre"))
_ALONG |= {"caliber", "long", "wide", "high", "deep", "thick", "craniocaudal", "transverse"}
_ALONG |= {"craniocaudally", "transversely", "anteroposterior", "anteroposteriorly", "ap"}


def own_sizes(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items of a text with no sizes but those of what it names, one for each."""
    result = list(items)
    _over(result)
    _most(result)
    _of_parts(result)
    _distances(result, lexicon)
    return _largest(result)


def _over(items: list[Item]) -> None:
    """Reads "extending over 34 mm" as 34 mm, not as more."""
    for at, item in enumerate(items[1:], 1):
        before = items[at - 1].text.lower().split(" ")
        if item.kind != "size" or not item.text.lower().startswith("over "):
            continue
        low, high = item.value.bounds
        if before[-1] in _EXTENDING and low is not None and high is None:
            items[at] = replace(item, value=item.value._replace(bounds=(low, low)))


def _most(items: list[Item]) -> None:
    """Reads "11 mm max. thickness" as 11 mm, not as less."""
    for at, item in enumerate(items[:-1]):
        most = item.kind == "size" and item.text.lower().rstrip(".").endswith(("max", "maximum"))
        if most and set(items[at + 1].text.lower().split(" ")) & _ALONG:
            high = item.value.bounds[1]
            items[at] = replace(item, value=item.value._replace(bounds=(high, high)))


def _of_parts(items: list[Item]) -> None:
    """Leaves out "with a neck of 18 mm" and "with thickening of the fascia to 7 mm"."""
    for at, item in enumerate(items):
        if item.text.lower() == "narrowed" and [i.kind for i in items[at + 2 : at + 3]] == ["size"]:
            items[at + 2] = replace(items[at + 2], kind="filler", value=None)
        part = item.text.lower() in _PARTS and at > 0 and items[at - 1].kind == "comma"
        if part and [i.kind for i in items[at + 1 : at + 2]] == ["size"]:
            blank(items, at, at + 2)  # "hernia, fat containing, neck 12 mm"
        following = items[at + 1].text.lower() if at + 1 < len(items) else ""
        if item.kind == "size" and following in _OPENINGS and _mentioned(items, at):
            blank(items, at, at + 2)  # "hernia, 2 cm neck"
        if item.kind != "with":
            continue
        end = end_of(items, at)
        if end > at + 1 and items[at + 1].text.lower() in _GROWN and items[end - 1].kind == "size":
            blank(items, at, end)
            continue
        behind = [n for n in range(at + 1, end_of(items, at)) if items[n].kind != "determiner"]
        if not behind or items[behind[0]].text.lower() not in _PARTS:
            continue
        size = next((n for n in behind[1:4] if items[n].kind == "size"), None)
        between = items[behind[0] + 1 : size] if size is not None else []
        if size is not None and all(i.kind in ("in", "filler", "unknown") for i in between):
            blank(items, at, size + 1)


def _mentioned(items: Sequence[Item], at: int) -> bool:
    """Whether the item before a size, or before a comma or "with" there, is a name."""
    before = [
        item for item in items[:at] if item.kind not in ("comma", "with", "determiner", "size")
    ]
    return bool(before) and before[-1].kind == "mention"


def _distances(items: list[Item], lexicon: Lexicon) -> None:
    """Reads "5 mm from the pleura" as what the finding is near, without any size."""
    sized = False
    for at, item in enumerate(items[:-1]):
        if item.kind == "stop" or (item.kind == "mention" and lexicon.is_finding(item.value)):
            sized = sized and item.kind != "stop" and at > 0 and items[at - 1].kind == "size"
        if item.kind != "size":
            continue
        where = items[at + 1].text.lower()
        end = at + 2
        while end < len(items) and items[end].kind in _LOOSE:
            end += 1
        thing = items[end] if end < len(items) else item
        placed = thing.kind == "mention" and not lexicon.is_finding(thing.value)
        if (where in _APART and placed) or (where in _BEHIND and sized):
            items[at] = replace(item, kind="filler", value=None)
            items[at + 1] = replace(items[at + 1], kind="near", value=None)
        else:
            sized = True


def _largest(items: list[Item]) -> list[Item]:
    """Reads "9 mm in calibre and 31 mm in length" as the larger of the two."""
    result: list[Item] = []
    first: int | None = None  # of ``result``
    told = False
    for at, item in enumerate(items):
        words = set(item.text.lower().split(" "))
        if item.kind == "size":
            behind = {w for i in items[at + 1 : at + 3] for w in i.text.lower().split(" ")}
            if first is not None and told and behind & _ALONG:
                pair = [result[first], item]
                highs = [one.value.bounds[1] for one in pair]
                if None not in highs:
                    result[first] = pair[highs.index(max(highs))]
                    result.append(replace(item, kind="filler", value=None, text=""))
                    continue
            first, told = len(result), False
        elif words & _ALONG:
            told = True
        elif item.kind not in ("filler", "attr", "in", "and", "comma"):
            first = None
        result.append(item)
    return result
