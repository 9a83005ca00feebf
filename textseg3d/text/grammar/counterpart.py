"""The other one of a pair: "right nephrectomy; the remaining kidney", "the healthy lung"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from textseg3d.text.grammar.asking import SEPARATORS, WORDS, said_words
from textseg3d.text.grammar.items import Item, end_of
from textseg3d.text.grammar.lexicon import Lexicon
from textseg3d.text.knowledge import Target

_OPPOSITE = {"left": "right", "right": "left"}
_OTHER = frozenset(("other",))
_REMAINING = frozenset(("remaining", "residual", "surviving", "sole", "only", "single", "solitary"))
_HEALTHY = frozenset(("healthy", "normal", "unaffected", "uninvolved", "intact", "sound", "good"))
_HEALTHY |= {"patent", "uninjured", "unoperated", "unremarkable", "undamaged", "non-affected"}
_GONE = WORDS["gone"] | {
    "lost",
    "absent",
    "missing",
    "donated",
    "gone",
    "lacks",
    "lacking",
    "agenesis",
}
_GONE |= {"enucleated", "enucleation", "amputation", "aplasia", "donation", "exenteration"}
_BACK = 40  # items before a word that count
_PARTIAL = frozenset(("partial", "subtotal", "wedge", "lobe", "segment", "pole", "partly", "half"))
_PARTIAL |= {"lobectomy", "bilobectomy", "segmentectomy", "lumpectomy", "upper", "lower", "middle"}


def with_counterparts(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items, with the side put before what a word means of a pair, of which one was told."""
    result = list(items)
    for at in range(len(result) - 2, 0, -1):
        word = last_word(result[at])
        behind = result[at + 1]
        if word in _OTHER and behind.text.lower() in ("one", "ones"):
            sides = {side for _, side in _told(result, at)}
            side = _OPPOSITE[sides.pop()] if len(sides) == 1 else None
        elif _is_left_over(result, at, lexicon):
            side = _side_of(result, at - 1, "remaining", behind=result[at - 1], lexicon=lexicon)
            if side:
                result[at : at + 2] = []
                result.insert(at - 1, Item("side", side, side))
            continue
        else:
            side = _side_of(result, at, word, behind=behind, lexicon=lexicon)
        if side:
            result.insert(at + 1, Item("side", side, side))
    return result


def last_word(item: Item) -> str:
    """The last word of a filler or a property, lower case; else nothing."""
    plain = item.kind in ("filler", "attr", "unknown", "determiner", "order")
    return item.text.lower().split(" ")[-1] if plain else ""


def is_of_a_pair(item: Item) -> bool:
    """Whether an item ends as "the other": what follows is not what was told before."""
    return last_word(item) in _OTHER | _REMAINING | _HEALTHY


def _side_of(
    items: Sequence[Item], at: int, word: str, *, behind: Item, lexicon: Lexicon
) -> str | None:
    """The side of the structure ``behind`` a word, where one side of it was told before."""
    if word not in _OTHER | _REMAINING | _HEALTHY or not _is_one_of_two(behind, lexicon):
        return None
    name = behind.value.forms[0].concept
    told = [(n, side) for n, side in _told(items, at) if _is_of(items[n], name, lexicon)]
    if len({side for _, side in told}) != 1:
        return None
    where, side = told[-1]
    if word in _REMAINING:
        return _left_over_side(items, where, side, lexicon)
    if word in _HEALTHY and (
        word in said_words(items[:at]) or said_words([behind]) & {"parenchyma", "tissue"}
    ):
        return None
    return _OPPOSITE[side]


def _is_one_of_two(item: Item, lexicon: Lexicon) -> bool:
    """Whether an item names a structure that there is left and right, without a side."""
    if item.kind != "mention" or lexicon.is_finding(item.value) or item.value.sides:
        return False
    form = item.value.forms[0]
    return form.side is None and lexicon.tree.concept(form.concept).side_rule == "paired"


def _is_left_over(items: Sequence[Item], at: int, lexicon: Lexicon) -> bool:
    """Whether "the kidney | that is | left" ends at the item behind ``at``."""
    said = items[at].kind == "be" and items[at + 1].text.lower() == "left"
    that = items[at - 1].text.lower().endswith((" that", " which"))
    closed = at + 2 == len(items) or items[at + 2].kind in SEPARATORS
    return said and that and closed and _is_one_of_two(items[at - 1], lexicon)


def _told(items: Sequence[Item], end: int) -> Iterator[tuple[int, str]]:
    """Names in the clauses before that of an item, and the one side that is told in each."""
    clause = _clause_start(items, end) - 1
    for at in range(max(0, clause - _BACK), clause):
        if items[at].kind != "mention":
            continue
        start = _clause_start(items, at)
        sides = {s for i in items[start : end_of(items, at, SEPARATORS)] for s in _said(i)}
        if len(sides) == 1:
            yield at, sides.pop()


def _clause_start(items: Sequence[Item], at: int) -> int:
    """The first item of the clause of an item, or of what of it counts."""
    least = max(0, at - _BACK)
    return next((n + 1 for n in range(at - 1, least, -1) if items[n].kind in SEPARATORS), least)


def _said(item: Item) -> list[str]:
    if item.kind == "side":
        return [item.value] if item.value in _OPPOSITE else []
    if item.kind != "mention":
        return []
    return [s for s in (*item.value.sides, item.value.forms[0].side) if s in _OPPOSITE]


def _is_of(item: Item, name: str, lexicon: Lexicon) -> bool:
    """Whether an item is the structure, its part, what it is a part of, or a finding in it."""
    concept, tree = item.value.forms[0].concept, lexicon.tree
    wholes = {target.concept for target in tree.ancestors(Target(concept, None))}
    own = {target.concept for target in tree.ancestors(Target(name, None))}
    return concept == name or name in {*wholes, *tree.concept(concept).containers} or concept in own


def _left_over_side(items: Sequence[Item], at: int, side: str, lexicon: Lexicon) -> str | None:
    """The side of what remains after what the clause of an item tells; None if nothing is gone."""
    words = said_words(items[_clause_start(items, at) : end_of(items, at, SEPARATORS)])
    gone = not lexicon.is_finding(items[at].value) and bool(words & _GONE)
    if not gone and not any(word.endswith("ectomy") for word in words):
        return None
    return side if words & _PARTIAL else _OPPOSITE[side]
