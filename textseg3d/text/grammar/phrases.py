"""A table of phrases with longest match, built once from the word tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from textseg3d.text.grammar import cues, words
from textseg3d.text.grammar.tokens import Token, fold
from textseg3d.text.knowledge import normalise


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


def _split(table: Mapping[Any, str]) -> Iterable[tuple[str, Any]]:
    for value, phrases in table.items():
        for phrase in phrases.split(" | "):
            yield phrase, value


def _cue_entries() -> Iterable[tuple[str, Cue]]:
    for phrase, value in _split(words.SIDES):
        yield phrase, Cue("side", value)
    for phrase, value in words.SIDED_ADJECTIVES.items():
        yield phrase, Cue("sided_attr", value)
    for phrase, value in _split(cues.CUES):
        yield phrase, Cue(value)
    for phrase, value in _split(words.CONNECTORS):
        yield phrase, Cue(value)
    for phrase, value in _split(cues.ORDERS):
        yield phrase, Cue("order", value)
    for phrase, value in _split(cues.RANKS):
        yield phrase, Cue("rank", value)
    for phrase, value in _split(words.COUNTS):
        low, high = value.split(":")
        yield phrase, Cue("count", (int(low), int(high) if high else None))
    for phrase, value in cues.SUBUNITS.items():
        yield phrase, Cue("size", (None, value))
    for phrase, kind in _split(cues.ATTRIBUTES):
        yield phrase, Cue("attr", (kind, phrase.replace(" - ", "-")))
    for phrase, value in _split(words.GENERIC):
        yield phrase, Cue("generic", value)
    for phrase in words.QUESTIONS.split(" | "):
        yield phrase, Cue("question")
    for phrase in words.FILLERS.split(" | "):
        yield phrase, Cue("filler")


@lru_cache(maxsize=1)
def cue_table() -> PhraseTable:
    """All closed-class phrases."""
    return PhraseTable(_cue_entries())


@lru_cache(maxsize=1)
def number_tables() -> dict[str, PhraseTable]:
    """The tables around numbers: "before", "after" (comparisons), "mm", "ml", "word"."""
    counts = ((p, v) for p, v in _split(words.COUNTS) if v[-1] != ":" and " " not in p)
    return {
        "before": PhraseTable(_split(cues.COMPARISONS)),
        "after": PhraseTable(_split(cues.COMPARISONS_AFTER)),
        "mm": PhraseTable(_split(cues.UNITS_MM)),
        "ml": PhraseTable(_split(cues.UNITS_ML)),
        "word": PhraseTable((phrase, int(value.split(":")[0])) for phrase, value in counts),
    }
