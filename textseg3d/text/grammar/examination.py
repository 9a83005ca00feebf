"""Heads of worklists: "CT HEAD W/O - epidural hematoma", "MR hip R: acetabular labrum"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar import canon
from textseg3d.text.grammar.items import Item
from textseg3d.text.grammar.lexicon import Lexicon, Match
from textseg3d.text.grammar.parts import Mention
from textseg3d.text.grammar.refine import Refiner

_KINDS_OF_SCAN = frozenset(("ct", "cta", "ctv", "ctpa", "cect", "ncct", "hrct", "cbct", "cmr"))
_KINDS_OF_SCAN |= {"mr", "mri", "mra", "mrv", "mrcp", "mpmri", "pet", "pet/ct", "pet/mr", "spect"}
_KINDS_OF_SCAN |= {"us", "usg", "ultrasound", "cxr", "xr", "kub", "dsa"}
_AROUND = (
    "filler",
    "unknown",
    "determiner",
    "side",
    "without",
    "with",
    "tail",
    "and",
    "or",
    "count",
)
_AGAIN = ("f", "u", "fu")
_TECHNIQUES = frozenset(("lge", "dwi", "swi", "flair", "perfusion"))
_LONGEST = 9


def without_examination(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items of a text without the name of the examination that it begins with.

    What was scanned, and how, is no target; its side is that of what follows, if that has none.
    What can be anywhere ("MR brain: lesions") keeps the part that was scanned as its place.
    """
    found = list(items)
    if not found or not _is_scan(found[0]):
        return found
    found = _opened(found, lexicon)
    end = _separator(found, lexicon)
    if end is None:
        return list(items)
    sides = [item for item in found[:end] if item.kind == "side"]
    rest = found[end + 1 :]
    while rest and rest[0].text.lower() in ("/", *_AGAIN):
        rest = rest[1:]
    scanned = [item.value for item in found[:end] if item.kind == "mention"]
    rest = [_as_there(item, scanned, lexicon) for item in rest]
    placed = any(_is_place(item, lexicon) for item in rest)
    if not placed and any(_can_be_anywhere(item, lexicon) for item in rest):
        places = [item for item in found[:end] if item.kind in ("mention", "side")]
        one = sum(item.kind == "mention" for item in places) == 1
        return [found[0], *places, Item("colon", None, ":"), *found[end + 1 :]] if one else rest
    if any(item.kind == "side" or (item.kind == "mention" and item.value.sides) for item in rest):
        return rest
    result = list(sides)
    for at, item in enumerate(rest):
        further = item.kind == "mention" and _has_a_side(item, lexicon)
        result += [*sides, item] if further and any(map(_names, rest[:at])) else [item]
    return result


def _as_there(item: Item, scanned: Sequence[Match], lexicon: Lexicon) -> Item:
    """A finding that has another name where it was looked for: the "effusion" of a knee."""
    if len(scanned) != 1 or item.kind != "mention" or not lexicon.is_finding(item.value):
        return item
    refiner, name = Refiner(lexicon), canon.singular(item.value.surface)
    place = lexicon.tree.concept(scanned[0].forms[0].concept)
    if lexicon.tree.concept(item.value.forms[0].concept).region in (place.region, "whole body"):
        return item
    form = refiner.composed(Mention(item.value.forms, name, True), place)
    if form is None:
        return item
    match = item.value._replace(forms=(form,), surface=form.concept)
    return replace(item, value=match, text=form.concept)


def _names(item: Item) -> bool:
    return item.kind in ("mention", "generic")


def _has_a_side(item: Item, lexicon: Lexicon) -> bool:
    concept = lexicon.tree.concept(item.value.forms[0].concept)
    return concept.kind == "finding" or concept.side_rule == "paired"


def _is_scan(item: Item) -> bool:
    words = item.text.lower().replace(" / ", "/").split(" ")
    return item.kind in ("filler", "unknown") and words[0] in _KINDS_OF_SCAN


def _opened(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items with the part of the body in the first one ("MRI liver") as one of its own."""
    kind, _, region = items[0].text.lower().partition(" ")
    forms = lexicon.named(region) if kind in _KINDS_OF_SCAN and region else ()
    if not forms:
        return list(items)
    scan = replace(items[0], text=kind)
    return [scan, Item("mention", Match(0, forms, (), region), region), *items[1:]]


def _separator(items: Sequence[Item], lexicon: Lexicon) -> int | None:
    """Where the examination's name ends, if it is one and a target follows."""
    for at, item in enumerate(items[1:_LONGEST], 1):
        dash = item.kind == "comma" and item.text in ("-", "–", "|")
        slash = item.text == "/" and at + 1 < len(items) and items[at + 1].kind == "mention"
        slash = slash and not _is_region(items[at + 1], lexicon)
        after = [i.text.lower() for i in items[at + 1 : at + 4]]
        again = item.text == "," and after == ["f", "/", "u"]
        if item.kind == "colon" or again or dash or slash or _double(items, at):
            named = any(i.kind in ("mention", "generic") for i in items[at + 1 :])
            return at if named else None
        technique = item.text.lower() in _TECHNIQUES
        if item.kind not in _AROUND and not technique and not _is_region(item, lexicon):
            return None
    return None


def _double(items: Sequence[Item], at: int) -> bool:
    return items[at].text == "/" and at + 1 < len(items) and items[at + 1].text == "/"


def _is_region(item: Item, lexicon: Lexicon) -> bool:
    """Whether an item is a part of the body that one scans, not something to be found."""
    return item.kind == "mention" and not lexicon.is_finding(item.value)


def _is_place(item: Item, lexicon: Lexicon) -> bool:
    """Whether an item is a structure that says where something is."""
    structure = item.kind == "mention" and not lexicon.is_finding(item.value)
    return structure and not _can_be_anywhere(item, lexicon)


def _can_be_anywhere(item: Item, lexicon: Lexicon) -> bool:
    """Whether an item says what is looked for, but not where: "mass", "lymph nodes"."""
    if item.kind == "generic":
        return True
    if item.kind != "mention":
        return False
    return lexicon.tree.concept(item.value.forms[0].concept).region == "whole body"
