"""A heading for all that stands below it: "Kidneys: right cyst 3 cm; left stone 4 mm"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar import canon
from textseg3d.text.grammar.items import Item
from textseg3d.text.grammar.lexicon import Lexicon
from textseg3d.text.grammar.parts import Mention
from textseg3d.text.grammar.refine import Refiner
from textseg3d.text.knowledge import Concept, normalise

_LIMBS = ("upper limb", "lower limb")
_BREAKS = ("but", "stop", "comma")
_HEAD = ("mention", "side", "and", "determiner", "filler")
_DOUBT = (
    "neg_pre",
    "neg_any",
    "neg_attr",
    "without",
    "exclude",
    "unc_pre",
    "unc_any",
    "unc_cannot",
)


def under_headings(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items, the heading repeated before each later finding that takes a name from it.

    Only where organ and finding make one name together ("renal cyst"); a finding with a place of
    its own, and one in a list that is denied, have none of it.
    """
    if not any(item.kind == "colon" for item in items):
        return list(items)
    refiner = Refiner(lexicon)
    result: list[Item] = []
    head: list[Item] = []
    start, denied = 0, False
    for at in [n for n, item in enumerate(items) if item.kind in _BREAKS] + [len(items)]:
        part, strong = items[start:at], start > 0 and items[start - 1].kind != "comma"
        listed = (denied and not strong) or any(item.kind == "neg_post" for item in part)
        denied = listed or any(item.kind in _DOUBT for item in part)
        colon = next((n for n, item in enumerate(part) if item.kind == "colon"), None)
        if colon is not None:
            head = _heading(part[:colon], lexicon)
        elif head and (strong or not listed):
            own = _placed(part, lexicon) or _in_limb(part, head, lexicon)
            if result and (own or _below(part, head, refiner)):
                result[-1] = replace(result[-1], kind="but", value=None, text=";")
                sides = [item for item in head if item.kind == "side"]
                result += sides if own else [*head, Item("colon", None, ":")]
        result += items[start : at + 1]
        start = at + 1
    return result


def _heading(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items before a colon if they name structures and nothing else."""
    named = [item for item in items if item.kind == "mention"]
    plain = named and all(item.kind in _HEAD for item in items)
    return list(items) if plain and not any(lexicon.is_finding(i.value) for i in named) else []


def _heads(head: Sequence[Item]) -> list[Item]:
    return [item for item in head if item.kind == "mention"]


def _below(part: Sequence[Item], head: Sequence[Item], refiner: Refiner) -> bool:
    """Whether a part names one finding, without a place, that takes its name from a heading."""
    named = [item for item in part if item.kind in ("mention", "generic", "tail")]
    sided = any(i.kind == "side" for i in head) and any(i.kind == "side" for i in part)
    if len(named) != 1 or sided or any(item.kind in ("in", "near") for item in part[:1]):
        return False
    mention = _finding(named[0], refiner.lexicon)
    return mention is not None and any(
        refiner.composed(mention, place) for place in _places(head, refiner)
    )


def _placed(part: Sequence[Item], lexicon: Lexicon) -> bool:
    """Whether a part begins with a finding, says what it lies in, and has no side."""
    named = [item for item in part if item.kind in ("mention", "generic", "tail")]
    kinds = {item.kind for item in part}
    begins = len(named) == 2 and _finding(named[0], lexicon) is not None and "in" in kinds
    ends = begins and _finding(named[1], lexicon) is None
    return ends and not kinds & {"side", "near", "with"} and not named[1].value.sides


def _in_limb(part: Sequence[Item], head: Sequence[Item], lexicon: Lexicon) -> bool:
    """Whether a part names, without a side, what may lie in the limb of a heading."""
    named = [item for item in part if item.kind == "mention"]
    if not named or any(i.kind == "side" for i in part) or any(i.value.sides for i in named):
        return False
    limb = lexicon.tree.concept(_heads(head)[0].value.forms[0].concept).region
    regions = [lexicon.tree.concept(item.value.forms[0].concept).region for item in named]
    return limb in _LIMBS and all(region in (limb, "whole body") for region in regions)


def _places(head: Sequence[Item], refiner: Refiner) -> list[Concept]:
    named = _heads(head)
    return [refiner.tree.concept(item.value.forms[0].concept) for item in named]


def _finding(item: Item, lexicon: Lexicon) -> Mention | None:
    """The finding that an item names; None for a structure."""
    if item.kind != "mention":
        forms = lexicon.get(str(item.value)) if item.value else ()
        return Mention(forms, str(item.value or item.text).lower(), True)
    if not lexicon.is_finding(item.value):
        return None
    return Mention(item.value.forms, canon.singular(normalise(item.text)), True)
