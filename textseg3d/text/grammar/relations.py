"""Neighbours told by a verb: "in the left kidney, tracking into the psoas muscle".

What a finding does to a second structure says nothing about where it lies once its place is known,
so the words between ("draining towards", "with compression of") count as "near".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar.items import Item
from textseg3d.text.grammar.lexicon import Lexicon
from textseg3d.text.grammar.linking import signs
from textseg3d.text.knowledge import normalise

_BETWEEN = frozenset(("filler", "determiner", "side", "attr", "count"))
_VERBAL = frozenset(("adherent", "inseparable", "separable", "close", "remote", "away", "distant"))
_VERBAL |= {"tip", "relationship", "contact", "extension", "reach", "continuation", "off"}
_NOUNS = frozenset(("seen", "located", "situated", "identified", "noted", "centered", "centred"))
_NOUNS |= {"measuring", "involving", "affecting", "arising", "originating", "localized", "found"}
_NOUNS |= {"localised", "visualized", "confined", "limited", "visualised", "missing", "including"}
_GOING = frozenset(("into", "through", "via", "towards", "toward", "extending from", "traversing"))
_GOING |= {"projecting into", "invading into", "growing into", "emanating from", "onto", "upon"}
_SKIPPED = frozenset(("filler", "unknown", "attr", "tail", "determiner", "mention"))


def with_relations(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items of a sentence, the words before a mere neighbour made "near"."""
    result = list(items)
    found = placed = False
    for at, item in enumerate(result):
        if item.kind in ("but", "and", "or"):
            placed = placed and item.kind != "but"
        elif item.kind in ("mention", "generic"):
            finding = item.kind == "generic" or lexicon.is_finding(item.value)
            placed = (placed and found) or (found and not finding and _joined(result, at))
            found = found or finding
        reaches = item.kind == "filler" and item.text.lower() == "down to" and at > 0
        if not ((placed or reaches) and _anatomy_follows(result, at, lexicon)):
            continue
        told = item.kind == "in" and _told(result, at)
        if told or reaches or (item.kind == "unknown" and _verb(item.text)):
            result[at] = replace(item, kind="near", value=None)
    return result


def _joined(items: Sequence[Item], at: int) -> bool:
    """Whether an anatomical name follows "in", so that it is the place of what stands before."""
    for item in reversed(items[:at]):
        if item.kind not in _BETWEEN:
            return item.kind in ("in", "near") or (item.kind == "mention")
    return False


def _anatomy_follows(items: Sequence[Item], at: int, lexicon: Lexicon) -> bool:
    for item in items[at + 1 :]:
        if item.kind == "mention":
            return not lexicon.is_finding(item.value)
        if item.kind not in _BETWEEN:
            return False
    return False


def _verb(text: str) -> bool:
    """Whether a word is a verb's form that a finding can be the subject of."""
    word = text.lower().split(" ")[-1]
    return word.endswith("ing") and len(word) > 5 and word not in _NOUNS


def _told(items: Sequence[Item], at: int) -> bool:
    """Whether "in" stands behind a verb ("tracking into") or a consequence ("with … of")."""
    item = items[at]
    if item.text.lower() in _GOING:
        return True
    if at == 0:
        return False
    before = items[at - 1]
    word = before.text.lower().split(" ")[-1]
    verbal = (word.endswith(("ing", "ed")) and len(word) > 4 and word not in _NOUNS) or (
        word in _VERBAL
    )
    if before.kind in ("unknown", "attr", "filler", "tail") and verbal:
        return True
    for other in reversed(items[:at]):
        if other.kind == "with":
            return _consequence(before)
        if other.kind not in _SKIPPED:
            return False
    return False


def _consequence(item: Item) -> bool:
    """Whether a word behind "with" is no finding of its own: "with compression of"."""
    if item.kind == "mention":
        names = {normalise(item.value.surface), item.value.forms[0].concept}
        return bool(names & signs())
    return item.kind in ("unknown", "tail", "attr")
