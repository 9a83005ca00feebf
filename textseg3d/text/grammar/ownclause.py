"""What is only said of the other side: "cyst in the left kidney, the right kidney is small"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar.items import Item, blank
from textseg3d.text.grammar.lexicon import Lexicon
from textseg3d.text.grammar.words import is_everyday

_ENDS = ("comma", "but", "stop", "colon", "question_mark")
_NAMES = ("mention", "generic")
_LEADS = ("filler", "determiner", "and")
_LEADING = frozenset(("on", "unlike", "while", "whereas", "whilst", "though", "although"))
_ALIKE = frozenset(("involved", "affected", "too", "also", "likewise", "similarly", "same"))
_ALIKE |= {"another", "ditto", "seen", "noted", "present", "visible", "measuring", "stable"}
_ALIKE |= {"unchanged", "persists", "persistent", "persisting"}
_DENIABLE = frozenset(("affected", "involved", "seen", "visible", "present"))
_SINGLE = frozenset(("is", "was", "has", "had", "looks", "appears", "seems", "remains", "cannot"))
_SINGLE |= {"shows", "serves", "lies", "can", "could", "will", "would", "does", "did", "without"}
_WELL = frozenset(("well", "fine", "ok", "okay", "good", "normal", "clear", "unremarkable", "free"))
_WELL |= {"healthy", "intact", "spared", "unaffected", "negative", "uninvolved", "preserved"}
_LENGTHS = frozenset(("long", "length", "wide", "thick", "tall", "height", "width"))
_ILL = ("extent", "density", "shape", "texture", "margin")
_MILD = frozenset(("small", "thin", "large", "tiny", "short", "long", "displaced"))
_OPPOSITE = {"left": "right", "right": "left"}
_ONE: tuple[set[str], ...] = ({"left"}, {"right"})
_REACH = 12  # items of a clause


def without_other_sides(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items, where a clause that only tells how the other side is shares no finding.

    It names nothing then; where it may say that something is wrong ("atrophic"), or nobody knows
    what, it becomes a sentence of its own.
    """
    result = _with_own_sizes(items)
    sides: set[str] = set()
    found = False
    for at, item in enumerate(items):
        if item.kind in ("stop", "question_mark"):
            sides, found = set(), False
            continue
        if item.kind.startswith("neg_"):
            sides.add("both")  # "the left effusion is gone; the right is unchanged"
        if found and sides in _ONE and (item.kind in _ENDS or item.kind == "and"):
            behind = items[at + 1 : at + 1 + _REACH]
            end = next((n for n, i in enumerate(behind) if i.kind in _ENDS), len(behind))
            if _is_told(item, behind[:end], _OPPOSITE[next(iter(sides))], lexicon):
                if _says_something(behind[:end]):
                    result[at] = replace(item, kind="stop", value=None)
                else:
                    blank(result, at, at + 1 + end)
        sides |= set(_said(items, at))
        found |= item.kind == "generic" or _is_finding(item, lexicon)
    return result


def _with_own_sizes(items: Sequence[Item]) -> list[Item]:
    """Reads "the nodule is 12 mm and the stone is 7 mm" as two sentences."""
    result = list(items)
    stated = False  # in the clause up to here: "the nodule is"
    for at, item in enumerate(items):
        if item.kind == "and" and stated and items[at - 1].kind == "size":
            kinds = [i.kind for i in items[at + 1 : at + 1 + _REACH]]
            end = next((n for n, kind in enumerate(kinds) if kind in (*_ENDS, "and")), len(kinds))
            names = [n for n in range(end) if kinds[n] in _NAMES]
            said = [n for n in range(end - 1) if kinds[n] == "be" and kinds[n + 1] == "size"]
            if names and said and names[0] < said[0]:
                result[at] = replace(item, kind="stop", value=None)
        stated = (stated or item.kind == "be") and item.kind not in _ENDS
    return result


def _is_told(mark: Item, clause: Sequence[Item], side: str, lexicon: Lexicon) -> bool:
    """Whether "the right kidney is small" or "on the right all is well" stands behind a mark."""
    lead = 0
    while lead < len(clause) and (
        clause[lead].kind in _LEADS or clause[lead].text.lower() in _LEADING
    ):
        lead += 1
    rest = list(clause[lead:])
    if not rest or rest[0].kind != "side" or rest[0].value != side:
        return False
    said = " ".join(item.text.lower() for item in clause)
    words = set(said.split(" "))
    unlike = "unlike" in words
    denied = any(item.kind.startswith("neg_") for item in rest)
    if words & (_ALIKE - _DENIABLE if denied else _ALIKE):
        return False
    if "as well" in said or " has one" in said:
        return False
    rest = rest[1:]
    structure = bool(rest) and rest[0].kind == "mention"
    if not (structure or denied or words & _WELL):
        return False  # "effusion on the left, the right one is larger"
    if rest and (structure or rest[0].text.lower() in ("one", "side")):
        if _is_finding(rest[0], lexicon):
            return False
        rest = rest[1:]
    if any(item.kind in _NAMES for item in rest):  # "the right lung is emphysematous"
        return len(rest) < len(clause) - lead - 1 and rest[0].kind in ("be", "has")
    if any(item.kind == "size" for item in rest) and not words & _LENGTHS:
        return False
    if not rest:
        return unlike
    first = rest[0]
    single = bool(set(first.text.lower().split(" ")) & _SINGLE)
    single |= first.kind in ("neg_post", "neg_attr", "neg_any", "neg_pre")
    plain = first.kind in ("attr", "tail", "unknown") and mark.kind != "and"
    alone = any(item.kind == "be" for item in rest) and words & {"all", "everything"}
    return bool(single or plain or alone) and not words & {"are", "were"}


def _says_something(clause: Sequence[Item]) -> bool:
    """Whether a clause may name a finding in its way ("is atrophic"), or has a strange word."""
    ill = any(
        item.kind == "attr" and item.value[0] in _ILL and item.text.lower() not in _MILD
        for item in clause
    )
    strange = any(
        item.kind == "unknown" and not all(map(is_everyday, item.text.lower().split(" ")))
        for item in clause
    )
    denied = any(item.kind.startswith("neg_") for item in clause)
    side = next(n for n, item in enumerate(clause) if item.kind == "side")
    named = any(item.kind in (*_NAMES, "tail") for item in clause[side + 2 :])
    return named or ((ill or strange) and not denied)


def _said(items: Sequence[Item], at: int) -> list[str]:
    item = items[at]
    if item.kind == "side":
        return [item.value] if item.value in _OPPOSITE else ["both"]
    if item.kind != "mention":
        return []
    return [s for s in (*item.value.sides, item.value.forms[0].side) if s in _OPPOSITE]


def _is_finding(item: Item, lexicon: Lexicon) -> bool:
    return item.kind == "mention" and lexicon.is_finding(item.value)
