"""Sizes and volumes: "6 mm", "5-8 mm", "> 3 cm", "3 x 4 mm", "10 mm or larger"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from textseg3d.text.grammar.model import Range
from textseg3d.text.grammar.phrases import number_tables
from textseg3d.text.grammar.tokens import Token

_THOUSANDS = re.compile(r"[1-9]\d{0,2}(,\d{3})+")
_RANGE_WORDS = frozenset(("-", "to", "bis", "a", "à", "through", "up"))
_MEASURES = frozenset(("a", "the", "size", "diameter", "length", "width", "thickness", "of"))
_NUMBERED = frozenset(("segment", "rib", "level", "station", "zone", "grade", "series", "image"))


class Quantity(NamedTuple):
    """A size or a volume in the text.

    Attributes:
        start: index of its first token.
        end: index behind its last token.
        unit: "mm" or "ml".
        bounds: (min, max) in that unit, None for an open end.
        extents: the single extents of "3 x 4 mm", in mm.
    """

    start: int
    end: int
    unit: str
    bounds: Range
    extents: tuple[float, ...] = ()


def parse_number(text: str) -> float:
    """A number as written; a comma is a decimal sign unless it groups thousands.

    >>> parse_number("1.2"), parse_number("6,5"), parse_number("1,000"), parse_number(".5")
    (1.2, 6.5, 1000.0, 0.5)
    """
    if _THOUSANDS.fullmatch(text):
        return float(text.replace(",", ""))
    text = text.replace(",", ".")
    whole, _, rest = text.partition(".")
    return float(f"{whole or '0'}.{rest.replace('.', '') or '0'}")


class _Reader:
    """A cursor over tokens that reads one quantity."""

    def __init__(self, tokens: Sequence[Token], start: int) -> None:
        self.tokens = tokens
        self.at = start

    def word(self) -> str:
        return self.tokens[self.at].norm if self.at < len(self.tokens) else ""

    def table(self, name: str) -> object | None:
        if self.at >= len(self.tokens):
            return None
        found = number_tables()[name].match(self.tokens, self.at)
        if found is None:
            return None
        self.at = found[0]
        return found[1]

    def skip(self, words: frozenset[str]) -> None:
        while self.word() in words:
            self.at += 1

    def number(self) -> float | None:
        if self.at < len(self.tokens) and self.tokens[self.at].kind == "number":
            self.at += 1
            return parse_number(self.tokens[self.at - 1].raw)
        word = self.table("word")
        return None if word is None else float(word)  # type: ignore[arg-type]

    def unit(self) -> tuple[str, float] | None:
        start = self.at
        if self.word() == "-":
            self.at += 1
        for name in ("mm", "ml"):
            factor = self.table(name)
            if factor is not None:
                return name, float(factor)  # type: ignore[arg-type]
        self.at = start
        return None


def _values(reader: _Reader) -> tuple[list[tuple[float, tuple[str, float] | None]], str] | None:
    """The numbers with units of one quantity and how they are joined ("", "x" or "-")."""
    first = reader.number()
    if first is None:
        return None
    values = [(first, reader.unit())]
    joined = ""
    while len(values) < 4:
        mark = reader.at
        word = reader.word()
        if word in ("x", "*", "by", "mal") and joined in ("", "x"):
            kind = "x"
        elif (word in _RANGE_WORDS or word in ("and", "und")) and joined == "":
            kind = "-" if word in _RANGE_WORDS else "and"
        else:
            break
        reader.at += 1
        if word == "up" and reader.word() == "to":
            reader.at += 1
        number = reader.number()
        if number is None:
            reader.at = mark
            break
        values.append((number, reader.unit()))
        joined = kind
        if kind != "x":
            break
    return values, joined


def _read(tokens: Sequence[Token], start: int) -> Quantity | None:
    reader = _Reader(tokens, start)
    comparison = reader.table("before")
    if comparison == "~":
        comparison = reader.table("before") or comparison
    elif comparison is not None and reader.word() in ("=", "about", "approximately", "~"):
        reader.at += 1
    if comparison is not None:
        reader.skip(_MEASURES)
    plain = reader.at
    found = _values(reader)
    if found is None:
        return None
    values, joined = found
    listed = len(values) == 2 and values[0][1] is None and values[1][1] is not None
    listed = listed and (start == 0 or tokens[start - 1].norm not in _NUMBERED)
    if joined == "and" and comparison != "between" and not listed:
        reader = _Reader(tokens, plain)
        number = reader.number()
        values = [(number or 0.0, reader.unit())]
    units = [unit for _, unit in values if unit is not None]
    if not units or len({name for name, _ in units}) > 1:
        return None
    last = units[-1]
    sizes, unit = [], None
    for number, own in reversed(values):
        unit = own or unit or last
        sizes.append(round(number * unit[1], 6))
    sizes.reverse()
    if comparison in (None, "~", "between"):
        comparison = reader.table("after") or comparison
    bounds = _bounds(sizes, joined, comparison)
    extents = tuple(sizes) if joined == "x" and last[0] == "mm" else ()
    return Quantity(start, reader.at, last[0], bounds, extents)


def _bounds(sizes: list[float], joined: str, comparison: object) -> Range:
    low, high = min(sizes), max(sizes)
    if joined == "x":
        low = high
    if comparison == ">":
        return high if joined == "x" else low, None
    if comparison == "<":
        return None, high
    return low, high


def find_quantities(tokens: Sequence[Token]) -> list[Quantity]:
    """All sizes and volumes of ``tokens``, in order, without overlap."""
    found = []
    at = 0
    tables = number_tables()
    while at < len(tokens):
        token = tokens[at]
        begins = token.kind == "number" or tables["before"].match(tokens, at)
        if not begins and token.kind == "word":
            begins = tables["word"].match(tokens, at)
        quantity = _read(tokens, at) if begins else None
        if quantity is None:
            at += 1
            continue
        found.append(quantity)
        at = quantity.end
    return found


def combine(ranges: Sequence[Range]) -> tuple[Range, bool]:
    """One range for several about the same thing, and whether they exclude each other.

    Open ranges cut ("> 5 mm and < 1 cm"); closed ones are joined ("5 mm and 8 mm nodules").
    """
    opened = [r for r in ranges if None in r]
    closed = [r for r in ranges if None not in r]
    low: float | None = min((r[0] for r in closed if r[0] is not None), default=None)
    high: float | None = max((r[1] for r in closed if r[1] is not None), default=None)
    for bottom, top in opened:
        low = bottom if low is None or (bottom is not None and bottom > low) else low
        high = top if high is None or (top is not None and top < high) else high
    return (low, high), low is not None and high is not None and low > high
