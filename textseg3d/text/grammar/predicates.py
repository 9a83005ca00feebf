"""Findings that are told by what a structure is: "the left meniscus is torn"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar import canon
from textseg3d.text.grammar.items import Item, end_of
from textseg3d.text.grammar.lexicon import Lexicon, Match

_HOW = frozenset(("completely", "partially", "partly", "totally", "probably", "now", "still"))
_HOW |= {"clearly", "severely", "mildly", "slightly", "moderately", "acutely", "again", "also"}
_GONE = frozenset(("absent", "missing", "removed", "resected", "normal", "intact"))
_TAKEN = frozenset(("resected", "excised", "explanted", "extirpated"))
_ASIDE = frozenset(("while", "as", "since", "because", "although", "though", "when", "after"))
_ENDINGS = ("ed", "ic", "en", "rn", "ent", "ous", "al")
_ENDS = ("comma", "and", "but", "stop", "question_mark")
_SAYING = ("tail", "unknown", "mention", "filler")
_ILL = frozenset(("inflamed", "infected", "ischemic", "infarcted", "necrotic", "dislocated"))
_ILL |= {"ruptured", "perforated", "hypertrophic", "torn", "collapsed"}


def as_findings(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """Reads "the left meniscus is torn" as "the left torn meniscus", "is not torn" as its denial.

    What a describing word of its own says ("is dilated") is told by the structure itself.
    """
    items = _apart(items)
    result = list(items)
    for at in range(len(items) - 2, -1, -1):
        thing = items[at]
        if thing.kind != "mention" or lexicon.is_finding(thing.value):
            continue
        said, denied = at + 1, False
        is_ = items[said].kind == "be"
        while said < len(items) - 1 and _leads(items[said], is_):
            denied |= items[said].kind == "neg_attr"
            said += 1
        if not is_ and (denied or not _closes(items, said)):
            continue
        if is_ and items[said].text.lower() in _TAKEN and not denied:
            result[at + 1 : said + 1] = [Item("neg_post", None, items[said].text)]
            continue
        found = _found(items[said], thing, lexicon)
        place = _beginning(result, at)
        aside = place > 0 and result[place - 1].text.lower().split(" ")[0] in _ASIDE
        if found is not None and not aside:
            no = [Item("neg_pre", None, "no")] if denied else []
            end, size = said + 1, result[said + 1 : said + 3]
            sized = [item.kind for item in size] == ["in", "size"] and size[0].text.lower() == "at"
            end += 2 * sized
            told = [*result[place:at], *size[1:] * sized, found]
            result[place:end] = [*no, *told, *_place(found, thing, lexicon)]
    return result


def _leads(item: Item, is_: bool) -> bool:
    return item.text.lower() in _HOW or (is_ and item.kind in ("be", "neg_attr"))


def _closes(items: Sequence[Item], at: int) -> bool:
    """Whether a word behind a name ends what is said of it: "left lung contused, …"."""
    told = items[at].text.lower().endswith(_ENDINGS)
    return told and (at + 1 == len(items) or items[at + 1].kind in _ENDS)


def _apart(items: Sequence[Item]) -> list[Item]:
    """The "and" or comma of "the left vein is narrow and the right vein is normal" as a break."""
    result = list(items)
    for at in range(2, len(items) - 2):
        told = items[at - 1].kind not in ("mention", "generic") and _is_told(items, at - 1)
        if items[at].kind not in ("and", "comma", "but") or not told:
            continue
        end = end_of(items, at + 1, ("and", "comma", "but", "stop", "colon"))
        be = end_of(items[:end], at + 1, ("be", "has"))
        subject = any(item.kind in ("mention", "side") for item in items[at + 1 : be])
        if be < end and subject:
            result[at] = Item("stop", None, ".")
    return result


def _is_told(items: Sequence[Item], at: int) -> bool:
    """Whether a word is all that is said behind an "is"."""
    while at > 0 and items[at - 1].kind in ("neg_attr", "attr", "and", "filler", "unknown"):
        at -= 1
    return at > 0 and items[at - 1].kind == "be"


def _place(found: Item, thing: Item, lexicon: Lexicon) -> list[Item]:
    """Where a finding is that more than this structure can have: the tendon of a tendon tear."""
    own = lexicon.tree.concept(found.value.forms[0].concept).containers
    name = thing.value.forms[0].concept
    return [] if list(own) == [name] else [Item("in", None, "of"), thing]


def _beginning(items: Sequence[Item], at: int) -> int:
    """Where the words before a name begin."""
    while at and items[at - 1].kind in ("side", "filler", "determiner", "rank"):
        if items[at - 1].text.lower() in _ASIDE:
            break
        at -= 1
    return at


def _found(said: Item, thing: Item, lexicon: Lexicon) -> Item | None:
    word = said.text.lower()
    if (said.kind not in _SAYING and word not in _ILL) or " " in word or word in _GONE:
        return None
    if said.kind == "mention" and said.value.forms[0].source != "adjective":
        return None
    match: Match = thing.value
    surface = match.surface.lower()
    concept = lexicon.tree.concept(match.forms[0].concept)
    for name in dict.fromkeys((surface, canon.singular(surface), concept.name)):
        forms = lexicon.named(f"{word} {name}")
        if forms and lexicon.tree.concept(forms[0].concept).kind == "finding":
            return replace(thing, value=Match(match.end, forms, match.sides, f"{word} {name}"))
    return None
