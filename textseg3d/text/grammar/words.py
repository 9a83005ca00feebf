"""The word tables of ``data/*.json``: kind and value to phrases, English first, then others.

Phrases are token norms joined by blanks, so a mark inside an abbreviation stands alone
("r / o"), and so does every ideograph. Accents may be left out by the writer.
"""

from __future__ import annotations

import json
from functools import lru_cache
from itertools import product
from pathlib import Path

_DATA = Path(__file__).resolve().parent / "data"
Table = dict[str, list[str]]

_CERTAIN = ("", "definite ", "clear ", "convincing ", "obvious ", "ct ", "imaging ", "new ")
_SIGNS = ("evidence of", "evidence for", "sign of", "signs of", "indication of", "suggestion of")
_CANNOT: tuple[str, ...] = (
    "cannot",
    "can not",
    "can't",
    "could not",
    "couldn't",
    "may not",
    "cannot entirely",
)
_CANNOT += ("cannot definitely", "cannot be", "can not be", "can't be", "could not be")
_RULE_OUT: tuple[str, ...] = ("exclude", "rule out", "excluded", "ruled out", "entirely excluded")
_RULE_OUT += ("completely excluded", "be excluded", "be ruled out")
_SEEN: tuple[str, ...] = (
    "seen",
    "visible",
    "visualized",
    "visualised",
    "identified",
    "present",
    "detected",
)
_SEEN += ("demonstrated", "found", "noted", "evident", "observed", "appreciated", "shown")
_NOT: tuple[str, ...] = (
    "not",
    "is not",
    "are not",
    "was not",
    "were not",
    "no longer",
    "is no longer",
)
_NOT += ("are no longer",)


_STILL: tuple[str, ...] = ("has not", "have not", "had not", "not", "never", "is not", "are not")
_STILL += ("not yet", "has not yet", "have not yet", "has never", "not completely")
_STILL += ("has not completely", "have not completely", "not fully", "has not fully")
_STILL += ("not entirely", "has not entirely", "failed to", "has failed to", "incompletely")
_STILL += ("has incompletely", "partially", "has partially", "nearly", "almost", "partly")
_GONE: tuple[str, ...] = ("resolved", "disappeared", "cleared", "healed", "gone", "vanished")
_GONE += ("been removed", "been resected", "removed", "resected", "resolve", "absent", "negative")

_REMAINS = ("is", "are", "remains", "remain", "would be", "could be", "may be", "as")
_CONSIDERED: tuple[str, ...] = (
    "a differential consideration",
    "a differential diagnosis",
    "a differential",
)
_CONSIDERED += (
    "a consideration",
    "a diagnostic consideration",
    "a diagnostic possibility",
    "an alternative",
)
_CONSIDERED += ("one consideration", "a possible explanation", "a possible diagnosis")
_CONSIDERED += ("the leading consideration", "the main differential", "on the differential")
_CONSIDERED += ("within the differential", "among the differentials", "a concern", "of concern")
_CONSIDERED += ("in the differential", "a possible differential", "an option", "a possibility")
_CONSIDERED += ("the main differential diagnosis", "the leading differential", "top differential")


_MODAL = ("may", "might", "could", "can", "should", "must", "would", "needs to", "has to")
_ASSUMED: tuple[str, ...] = (
    "be considered",
    "be suspected",
    "be entertained",
    "be present",
    "be possible",
)
_ASSUMED += ("be raised", "be discussed", "be favored", "be assumed", "be there", "be likely")
_ASSUMED += ("also be considered", "still be present", "be excluded", "be ruled out", "be hidden")


@lru_cache(maxsize=8)
def read_tables(topic: str) -> dict[str, Table]:
    """The tables of one file: "closed", "cues", "describing", "numbers" or "common"."""
    tables: dict[str, Table] = json.loads((_DATA / f"{topic}.json").read_text(encoding="utf-8"))
    return tables


@lru_cache(maxsize=1)
def cue_phrases() -> Table:
    """Cues of negation, uncertainty and time, with the regular combinations spelled out."""
    table = {kind: list(phrases) for kind, phrases in read_tables("cues")["cues"].items()}
    table["neg_pre"] += [f"no {how}{sign}" for how, sign in product(_CERTAIN, _SIGNS)]
    table["neg_post"] += [" ".join(words) for words in product(_NOT, _SEEN)]
    table["unc_post"] += [" ".join(words) for words in product(_REMAINS, _CONSIDERED)]
    table["unc_post"] += [" ".join(words) for words in product(_MODAL, _ASSUMED)]
    table["filler"] = [" ".join(words) for words in product(_STILL, _GONE)]
    table["filler"] += ["unresolved", "non resolving", "nonresolving", "not absent"]
    table["unc_cannot"] = [" ".join(words) for words in product(_CANNOT, _RULE_OUT)]
    return table


@lru_cache(maxsize=1)
def order_phrases() -> Table:
    """Superlatives ("largest", "uppermost", "most anterior")."""
    tables = read_tables("describing")
    table = {by: list(phrases) for by, phrases in tables["orders"].items()}
    for by, adjectives in tables["extremes"].items():
        table[by] += [f"most {adjective}" for adjective in adjectives]
    return table


def word_set(name: str) -> frozenset[str]:
    """The set "common" (not to be corrected) or "side_abbreviations" (written with a dot)."""
    return frozenset(read_tables("common")["words"][name])


def _inflected(verb: str) -> tuple[str, ...]:
    """A regular English verb's forms: "enhance" → "enhances", "enhanced", "enhancing"."""
    stem, vowels = verb, "aeiou"
    if verb.endswith("e"):
        return verb, f"{verb}s", f"{verb}d", f"{verb[:-1]}ing"
    if verb.endswith("y") and verb[-2] not in vowels:
        return verb, f"{verb[:-1]}ies", f"{verb[:-1]}ied", f"{verb}ing"
    short = len(verb) <= 5 and verb[-1] not in "aeiouwxy" and verb[-2] in vowels
    if short and verb[-3:-2] not in vowels:
        stem = verb + verb[-1]
    third = f"{verb}es" if verb.endswith(("s", "x", "z", "ch", "sh")) else f"{verb}s"
    return verb, third, f"{verb}ed", f"{verb}ing", f"{stem}ed", f"{stem}ing"


def _english() -> frozenset[str]:
    """Everyday English words and the forms of everyday verbs.

    "frequent" are words that no name of the tree has, most of them with a piece of their own in
    the vocabulary of open_clip's tokenizer (MIT licence).
    """
    table = read_tables("english")["words"]
    verbs = {form for verb in table["verbs"] for form in _inflected(verb)}
    return frozenset({*table["words"], *table["frequent"], *verbs})


def is_everyday(word: str) -> bool:
    """Whether a word is everyday English, that is: names no structure and no finding."""
    return word in COMMON or (word.endswith("ly") and len(word) > 5)


COMMON = word_set("common") | _english()
THINGS = frozenset(read_tables("english")["words"]["things"])  # strange here, yet spelled right
DETERMINERS = frozenset(read_tables("closed")["asking"]["determiner"])
SIDE_ABBREVIATIONS = word_set("side_abbreviations")
SENTENCE_ENDS = frozenset(".!\n。！")
