"""What "the right one" and "the one in the left kidney" stand for, and where requests begin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar.asking import NAMES, SEPARATORS, WORDS, any_named, said_words
from textseg3d.text.grammar.items import Item
from textseg3d.text.grammar.lexicon import Lexicon

_TOPICS: tuple[str, ...] = (
    "regarding",
    "concerning",
    "as for",
    "as to",
    "when it comes to",
    "talking about",
)
_REASONS = ("because", "because of", "since", "as", "although", "though", "due to", "owing to")
_STATED = ("since", "as")  # not "since 2019", "as well as"
_TOPICS += ("with regard to", "in the case of", "as regards", "speaking of")


def parted(items: Sequence[Item]) -> list[Item]:
    """The items with a comma where "because of the pacemaker" ends and "I want" begins."""
    result: list[Item] = []
    opens = False
    for at, item in enumerate(items):
        if not result or item.kind in SEPARATORS:
            opens = not result and item.text.lower().split(" ")[0] in WORDS["opening"]
        words = said_words(items[at : at + 2])
        begins = bool(words & WORDS["persons"] and words & WORDS["verbs"]) and any_named(result)
        if opens and begins and result[-1].kind not in SEPARATORS:
            result.append(Item("comma", None, ","))
            opens = False
        if _is_reason(items, at, result):
            result.append(Item("comma", None, ","))  # "the kidney because of the pancreatitis"
            item = replace(item, kind="filler", value=None)
        if item.kind == "comma" and not any(i.kind == "colon" for i in result):
            first = " ".join(i.text.lower() for i in result)
            if first.startswith(_TOPICS) and any_named(result):
                item = Item("colon", None, ":")  # "concerning the bladder, outline the tumor"
        if item.text.lower() in WORDS["requested"] and not any_named(result):
            result = [replace(i, kind="filler") if i.kind == "unknown" else i for i in result]
            item = replace(item, kind="filler", value=None)  # "the thrombectomy team asks for"
        if item.text.lower() == "who" and said_words(items[at + 1 : at + 2]) & WORDS["requested"]:
            item = Item("comma", None, ",")  # "from a colleague who asked for the psoas"
        result.append(item)
    return result


def _is_reason(items: Sequence[Item], at: int, before: Sequence[Item]) -> bool:
    """Whether a reason that names something begins here, behind what is asked for."""
    text = items[at].text.lower()
    if text not in _REASONS:
        return False
    start = max((n for n in range(len(before)) if before[n].kind in SEPARATORS), default=-1) + 1
    clause = before[start:]
    if not (any_named(clause) and said_words(clause) & WORDS["verbs"]):
        return False
    end = next((n for n in range(at, len(items)) if items[n].kind in SEPARATORS), len(items))
    stated = any(item.kind in ("be", "has") for item in items[at:end])
    return any_named(items[at:end]) and (stated or text not in _STATED)


def other_one(items: list[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "the left kidney is gone; outline the right one" as the right kidney."""
    if items[:1] and items[0].text.lower() in ("of", "out of", "among", "from"):
        return items
    items = _with_ones(items)
    for at in range(1, len(items) - 1):
        side, one = items[at], items[at + 1]
        if side.text.lower() in ("the one", "the ones") and one.kind == "in":
            names = (i for i in items[:at] if i.kind == "mention")
            told = next((i for i in names if lexicon.is_finding(i.value)), None)
            if told is not None:
                items[at] = _unsided(told)  # "segment the one in the left kidney"
                return items
        if side.kind != "side" or one.text.lower() not in ("one", "ones"):
            continue
        start = max((n for n in range(at) if items[n].kind in SEPARATORS), default=-1) + 1
        cut = max((n for n in range(start - 1) if items[n].kind == "stop"), default=-1)
        before = [i for i in items[cut + 1 : start] if i.kind == "mention"]
        before = before or [i for i in items[:start] if i.kind == "mention"]
        said = " ".join(item.text.lower() for item in items[start:at])
        asked = said_words(items[start:at]) & WORDS["verbs"] or any(
            phrase in said for phrase in WORDS["phrases"]
        )
        if not before or not asked:
            continue
        subject = before[0]  # "the cyst in the left kidney is larger; I need the right one"
        place = next((i for i in before if not lexicon.is_finding(i.value)), None)
        found = [_unsided(subject)]
        if lexicon.is_finding(subject.value) and place is not None:
            found += [Item("in", None, "in"), side, _unsided(place)]
        items[at + 1 : at + 2] = found
        return items
    return items


def _with_ones(items: list[Item]) -> list[Item]:
    """Reads "he drew the left psoas, now I need the right." as "… the right one"."""
    start = 0
    for at, item in enumerate(items):
        if item.kind in SEPARATORS:
            start = at + 1
        closed = at + 1 == len(items) or items[at + 1].kind in SEPARATORS
        if item.kind != "side" or not closed or not any_named(items[:start]):
            continue
        clause = items[start:at]
        definite = bool(clause) and clause[-1].text.lower().split(" ")[-1] == "the"
        plain = not any(i.kind in (*NAMES, "in", "neg_attr", "exclude", "be") for i in clause)
        if definite and plain and said_words(clause) & WORDS["verbs"]:
            return [*items[: at + 1], Item("count", None, "one"), *items[at + 1 :]]
    return items


def _unsided(item: Item) -> Item:
    forms = tuple(form._replace(side=None) for form in item.value.forms)
    return replace(item, value=item.value._replace(forms=forms, sides=()))
