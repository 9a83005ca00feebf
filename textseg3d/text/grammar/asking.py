"""Segments of a text, and whether one asks for something, or tells something.

A segment ends at punctuation, and where a request begins: "skip the cortex | and give me …".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from textseg3d.text.grammar.items import Item
from textseg3d.text.grammar.words import read_tables

NAMES = ("mention", "generic", "tail")
SEPARATORS = ("comma", "but", "stop", "colon", "question_mark")
WORDS = {kind: frozenset(words) for kind, words in read_tables("asking").items()}
_NEXT = ("now the ", "and now the ", "next the ", "then the ", "and then the ")
_EXAMINATIONS = frozenset(
    ("report", "ultrasound", "biopsy", "imaging", "examination", "sonography")
)
_EXAMINATIONS |= {"elastography", "endoscopy", "consultation", "radiograph", "scintigraphy"}
_RELATIVE = ("which i want", "which i need", "which we want", "which we need", "which should be")
_FORE = frozenset(("filler", "unknown", "determiner", "question", "be", "side", "attr", "size"))
_FORE |= {"around", "count", "order", "rank", "in", "comma", "has"}


@dataclass(frozen=True)
class Segment:
    """Items ``start`` to ``end``; ``closed`` by the kind of what follows ("" at the end)."""

    start: int
    end: int
    closed: str
    asks: bool
    says: bool


def segments_of(items: Sequence[Item]) -> Iterator[Segment]:
    """The segments; what names nothing behind a comma belongs to the one before."""
    cuts = [at for at in range(len(items)) if _cuts(items, at)]
    start = 0
    for at, end in zip(cuts, [*cuts[1:], len(items)]):
        apart = items[at].kind != "comma" or any_named(items[at:end])
        rest = items[at + 1 : end]
        told = bool(said_words(rest) & {"it", "them"}) and not any(
            i.kind == "question" for i in rest
        )
        apart |= told and _asks(rest)
        placed = items[at].kind == "comma" and [i.kind for i in items[at + 1 : at + 2]] == ["in"]
        apart &= not (placed and any_named(items[start:at]))  # "the cyst, in the left kidney,"
        if apart and at > start:
            yield _segment(items, start, at)
        start = at + 1 if apart else start
    if start < len(items):
        yield _segment(items, start, len(items))


def _segment(items: Sequence[Item], start: int, end: int) -> Segment:
    part = items[start:end]
    asks = _asks(part)
    closed = items[end].kind if end < len(items) else ""
    return Segment(start, end, closed, asks, not asks and _says(part))


def any_named(items: Sequence[Item]) -> bool:
    """Whether some item names something."""
    return any(item.kind in NAMES for item in items)


def _cuts(items: Sequence[Item], at: int) -> bool:
    """Whether a segment ends at ``at``; the "I" of "what I need" joins its own."""
    item = items[at]
    if item.kind in ("and", "filler", "unknown") and item.text.lower() in ("and", "then", "so"):
        following = items[at + 1].text.lower().split(" ")[0] if at + 1 < len(items) else ""
        return following in WORDS["imperatives"] | WORDS["leaving"]  # "skip it and give me …"
    joins = item.text == "I" and at > 0 and items[at - 1].kind == "question"
    return item.kind in SEPARATORS and not joins


def said_words(items: Sequence[Item]) -> set[str]:
    """The words of some items, lower case."""
    return {word for item in items for word in item.text.lower().split(" ")}


def _asks(items: Sequence[Item]) -> bool:
    """Whether a segment begins as "please outline the" or ends as "should be outlined"."""
    first = next((at for at, item in enumerate(items) if item.kind in NAMES), len(items))
    head, said = items[:first], " ".join(item.text.lower() for item in items)
    fore, behind = said_words(head), said_words(items[first + 1 :])
    words = fore | behind
    modal = "to be" in said or "asked for" in said  # "has to be outlined", "I had asked for"
    barred = WORDS["not_asking"] - {"has", "had"} if modal else WORDS["not_asking"]
    if said.startswith(("thank you for", "thanks for", "many thanks for")):
        return False
    if said.startswith((*_RELATIVE, "start with ", "begin with ")):
        return True
    if fore & barred or fore == {"trace"}:  # "trace ascites"
        return False
    if _is_examination(head):
        return False  # "ultrasound of the liver is requested"
    if _goes(items):
        return False  # "look at the right armpit and mark the nodes"
    doing = fore & WORDS["verbs"]
    if doing and doing <= WORDS["verbs_or_nouns"] and not _is_told_to(head):
        return False  # "the label of the colon is wrong", "smooth contour of the liver"
    aims = bool(fore & WORDS["aims"] and fore & {"is", "are", "be"})
    aims |= bool(fore & {"what", "how"} and fore & {"does", "do"})  # "what does it look like?"
    aims |= any(phrase in said for phrase in WORDS["phrases"])
    aims |= said.startswith(_NEXT)
    aims |= said.startswith(("only ", "just ")) and " about " not in said and _is_alone(items)
    if aims or ({item.kind for item in head} <= _FORE and doing) or words & WORDS["thanks"]:
        return True
    wished = words & WORDS["needed"] and words & {"is", "are", "be", "i", "we", "what"}
    done = behind & WORDS["done"] and words & {"be", "have", "get"}
    return bool(wished or done) and not words & barred


def _is_examination(head: Sequence[Item]) -> bool:
    """Whether what comes before a name asks for an examination or a report of it."""
    told = [item for item in head if item.kind not in ("determiner", "side", "attr")]
    told = [item for item in told if item.text.lower() not in ("the", "his", "her", "a", "an")]
    of = bool(told) and told[-1].text.lower() in ("of", "on")
    return of and bool(said_words(told[-3:-1]) & (WORDS["scans"] | _EXAMINATIONS))


def _goes(items: Sequence[Item]) -> bool:
    """Whether a segment begins as "please look at the"."""
    told = [item for item in items if item.text.lower() not in WORDS["polite"]]
    return bool(said_words(told[:1]) & WORDS["going"])


def _is_alone(items: Sequence[Item]) -> bool:
    """Whether a segment ends as "only the scaphoid itself"."""
    return bool(said_words(items[-2:]) & {"itself", "alone", "please", "proper"})


def _is_told_to(head: Sequence[Item]) -> bool:
    """Whether the first word that says anything is a verb such as "mask"."""
    said = [word for item in head for word in item.text.lower().split(" ")]
    while said and said[0] in WORDS["polite"]:
        said.pop(0)
    return bool(said) and said[0] in WORDS["verbs_or_nouns"]


def _says(items: Sequence[Item]) -> bool:
    """Whether a segment tells something: that it is, who has it, or when."""
    kinds = {item.kind for item in items}
    if _goes(items):
        return True
    return bool(kinds & {"be", "has", "unknown"} or said_words(items) & WORDS["saying"])


def asks_for_it(items: Sequence[Item], segment: Segment) -> bool:
    """Whether what a segment asks for is "it", as in "trace it down to the bladder"."""
    part = items[segment.start : segment.end]
    first = next((n for n, item in enumerate(part) if item.kind in NAMES), len(part))
    for at in range(1, len(part)):
        words = said_words(part[at : at + 1])
        own = "its" in words and at + 1 < first  # not "its leads"
        if (at < first and words & {"it", "them"}) or own:
            return bool(said_words(part[:at]) & WORDS["verbs"])
    return False


def object_of(items: Sequence[Item], segment: Segment) -> int | None:
    """The first name of a segment that says more than "two things"; none in "trace it to the"."""
    named = [at for at in range(segment.start, segment.end) if items[at].kind in NAMES]
    words = said_words(items[segment.start : named[0]]) if named else set()
    possible = words & {"possible", "be", "feasible", "would"}
    if asks_for_it(items, segment) and not possible:
        return None
    return next((at for at in named if items[at].value != "structure"), None)
