"""A table of phrases with longest match, built once from the word tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

from textseg3d.text.grammar import words
from textseg3d.text.grammar.tokens import Token, fold
from textseg3d.text.knowledge import normalise

_SCORES: tuple[str, ...] = ("ti rads", "pi rads", "li rads", "bi rads", "o rads", "lung rads")
_SCORES += ("cad rads", "tirads")
_SCORES += ("pirads", "lirads", "birads", "orads")
_GRADES = ("", " 0", " 1", " 2", " 3", " 4", " 4a", " 4b", " 4c", " 4x", " 5", " 6")


class Cue(NamedTuple):
    """What a closed-class phrase means: kind ("side", "in", "neg_pre", …) and value."""

    kind: str
    value: Any = None


class PhraseTable:
    """Phrases to values; ``match`` finds the longest phrase at a place.

    Args:
        entries: (phrase, value) pairs; of equal phrases the first stays.
    """

    def __init__(self, entries: Iterable[tuple[str, Any]]) -> None:
        self.values: dict[tuple[str, ...], Any] = {}
        self._longest: dict[str, int] = {}
        for phrase, value in entries:
            key = tuple(fold(normalise(word) or word) for word in phrase.split())
            if key and key not in self.values:
                self.values[key] = value
                self._longest[key[0]] = max(self._longest.get(key[0], 0), len(key))

    @property
    def words(self) -> set[str]:
        """All words of all phrases."""
        return {word for key in self.values for word in key}

    def match(self, tokens: Sequence[Token], start: int) -> tuple[int, Any] | None:
        """(index behind the longest phrase at ``start``, its value), or None."""
        first = fold(tokens[start].norm)
        longest = self._longest.get(first, 0)
        if not longest:
            return None
        key = [first, *(fold(token.norm) for token in tokens[start + 1 : start + longest])]
        for length in range(len(key), 0, -1):
            value = self.values.get(tuple(key[:length]))
            if value is not None:
                return start + length, value
        return None


def _split(table: words.Table) -> Iterable[tuple[str, str]]:
    for value, phrases in table.items():
        for phrase in phrases:
            yield phrase, value


def _count(value: str) -> tuple[int, int | None]:
    low, _, high = value.partition(":")
    return int(low), int(high) if high else None


def _cue_entries() -> Iterable[tuple[str, Cue]]:
    closed, describing = words.read_tables("closed"), words.read_tables("describing")
    numbers = words.read_tables("numbers")
    for phrase, value in _split(closed["sides"]):
        yield phrase, Cue("side", value)
    for phrase, value in _split(closed["relative_sides"]):
        yield phrase, Cue("relative", value)
    for phrase, values in closed["sided_adjectives"].items():
        yield phrase, Cue("sided_attr", values[0])
    for table in (words.cue_phrases(), closed["connectors"]):
        for phrase, value in _split(table):
            yield phrase, Cue(value)
    for phrase, value in _split(words.order_phrases()):
        yield phrase, Cue("order", value)
    for phrase, value in _split(describing["ranks"]):
        yield phrase, Cue("rank", int(value))
    for phrase, value in _split(numbers["counts"]):
        yield phrase, Cue("count", _count(value))
    for phrase, value in _split(numbers["subunits"]):
        yield phrase, Cue("size", (None, float(value)))
    for phrase, kind in _split(describing["attributes"]):
        yield phrase, Cue("attr", (kind, phrase.replace(" - ", "-")))
    for phrase, value in _split(closed["generic"]):
        yield phrase, Cue("generic", value)
    for score, grade in product(_SCORES, _GRADES):
        yield f"{score}{grade}", Cue("filler")
    for kind in ("question", "filler"):
        for phrase in closed["asking"][kind]:
            yield phrase, Cue(kind)


@lru_cache(maxsize=1)
def cue_table() -> PhraseTable:
    """All closed-class phrases."""
    return PhraseTable(_cue_entries())


@lru_cache(maxsize=1)
def cue_words() -> frozenset[str]:
    """Every word of the closed-class phrases and of the tables around numbers."""
    tables = (cue_table(), *number_tables().values())
    return frozenset(word for table in tables for word in table.words)


@lru_cache(maxsize=1)
def number_tables() -> dict[str, PhraseTable]:
    """The tables around numbers: "before", "after" (comparisons), "mm", "ml", "word"."""
    tables = words.read_tables("numbers")
    counts = [(p, _count(value)) for p, value in _split(tables["counts"])]
    single = {p for p, _ in counts if " " not in p}
    counts = [(p, count) for p, count in counts if single.issuperset(p.split())]
    return {
        "before": PhraseTable(_split(tables["before"])),
        "after": PhraseTable(_split(tables["after"])),
        "mm": PhraseTable((phrase, float(factor)) for phrase, factor in _split(tables["mm"])),
        "ml": PhraseTable((phrase, float(factor)) for phrase, factor in _split(tables["ml"])),
        "word": PhraseTable((phrase, low) for phrase, (low, high) in counts if high == low),
    }
