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


COMMON = word_set("common")
DETERMINERS = frozenset(read_tables("closed")["asking"]["determiner"])
SIDE_ABBREVIATIONS = word_set("side_abbreviations")
SENTENCE_ENDS = frozenset(".!\n。！")
