"""Sizes and volumes: "6 mm", "5-8 mm", "> 3 cm", "3 x 4 mm", "10 mm or larger"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from textseg3d.text.grammar.earlier import changed_before
from textseg3d.text.grammar.model import Range
from textseg3d.text.grammar.phrases import number_tables
from textseg3d.text.grammar.tokens import Token

_THOUSANDS = re.compile(r"[1-9]\d{0,2}(,\d{3})+")
_RANGE_WORDS = frozenset(("-", "to", "bis", "a", "à", "through", "up"))
_MEASURES = frozenset(("a", "the", "size", "diameter", "length", "width", "thickness", "of"))
_LENGTHS = frozenset(("length", "distance", "segment", "span", "stretch"))
_DIMENSIONS = frozenset(
    (
        "diameter",
        "dimension",
        "size",
        "length",
        "width",
        "thickness",
        "extent",
        "gap",
        "axis",
        "height",
        "depth",
        "transverse",
        "axial",
        "short",
        "long",
        "ap",
        "craniocaudal",
        "caliber",
        "calibre",
        "cross",
    )
)
_NUMBERED = frozenset(("segment", "rib", "level", "station", "zone", "grade", "series", "image"))


_YEAR = re.compile(r"(19|20)\d\d")


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
            if self.word() == "a" and self._unit_at(self.at + 1):
                return
            self.at += 1

    def number(self) -> float | None:
        """A number in digits or words, with a fraction behind it, if there is one."""
        start = self.at
        value = self._whole()
        fraction = self._fraction(value)
        if fraction is not None:
            return fraction
        if value is None:
            self.at = start
        return value

    def _whole(self) -> float | None:
        if self.at < len(self.tokens) and self.tokens[self.at].kind == "number":
            self.at += 1
            return parse_number(self.tokens[self.at - 1].raw)
        word = self.table("word")
        return None if word is None else float(word)  # type: ignore[arg-type]

    def _fraction(self, value: float | None) -> float | None:
        """A number such as "1 1/2", "half a", "one and a half", "two point five", "a" (cm)."""
        words = [token.norm for token in self.tokens[self.at : self.at + 4]] + [""] * 4
        if value is None and words[0] == "half":
            self.at += 2 if words[1] in ("a", "an") else 1
            return 0.5
        if value is None and words[0] in ("a", "an") and self._unit_at(self.at + 1):
            self.at += 1
            return 1.0
        if value is None:
            return None
        if words[:3] == ["and", "a", "half"]:
            self.at += 3
            return value + 0.5
        if words[0] == "point" and (rest := _Reader(self.tokens, self.at + 1))._whole() is not None:
            self.at = rest.at
            return float(f"{value:g}.{parse_number(self._spelled(rest.at - 1)):g}")
        for skip, base in ((0, None), (1, value)):
            top = value if base is None else _digit(words[0])
            bottom = _digit(words[skip + 1])
            mark = words[skip] == "/" and self._unit_at(self.at + skip + 2)
            if mark and top and bottom and top < bottom <= 8:
                self.at += skip + 2
                return (base or 0.0) + top / bottom
        return None

    def _spelled(self, at: int) -> str:
        word = number_tables()["word"].match(self.tokens, at)
        return str(word[1]) if word else self.tokens[at].raw

    def _unit_at(self, at: int) -> bool:
        tables = number_tables()
        return at < len(self.tokens) and any(
            tables[name].match(self.tokens, at) is not None for name in ("mm", "ml")
        )

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


def _follows(tokens: Sequence[Token], at: int) -> bool:
    """Whether an article follows: "over a length of 3 cm" compares nothing."""
    return at + 1 < len(tokens) and tokens[at + 1].norm in ("a", "an")


def _read(tokens: Sequence[Token], start: int) -> Quantity | None:
    reader = _Reader(tokens, start)
    comparison = reader.table("before")
    if comparison == "~":
        comparison = reader.table("before") or comparison
    elif comparison is not None and reader.word() in ("=", "about", "approximately", "~"):
        reader.at += 1
    if comparison == "<" and reader.word() in _DIMENSIONS:
        comparison = None  # "maximum diameter of 6 cm"
        reader.skip(_DIMENSIONS)
    if comparison == ">" and tokens[start].norm == "over" and _follows(tokens, start):
        comparison = None  # "over a 20 cm segment"
    if comparison == ">" and tokens[start].norm == "over" and _over_all(tokens, reader.at):
        comparison = None
    if comparison is not None or reader.at > start:
        reader.skip(_MEASURES)
    plain = reader.at
    found = _values(reader)
    if found is None:
        return None
    values, joined = found
    if comparison is None and tokens[start].norm in ("a", "an"):
        return None if len(values) > 1 or values[0][1] is None else _single(reader, start, values)
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
    by = comparison is None and start > 0 and tokens[start - 1].norm == "by"
    if (comparison == "between" or by) and joined == "-" and changed_before(tokens, start):
        sizes = sizes[-1:]  # "increased from 8 mm to 12 mm", "by 3 mm to 12 mm"
    bounds = _bounds(sizes, joined, comparison)
    extents = tuple(sizes) if joined == "x" and last[0] == "mm" else ()
    return Quantity(start, reader.at, last[0], bounds, extents)


def _over_all(tokens: Sequence[Token], at: int) -> bool:
    """Whether "over" tells how long something is: "over a length of 2 cm"."""
    words = [token.norm for token in tokens[at : at + 2]]
    return len(words) == 2 and words[0] in ("a", "an", "the") and words[1] in _LENGTHS


def _single(
    reader: _Reader, start: int, values: list[tuple[float, tuple[str, float] | None]]
) -> Quantity | None:
    """A size such as "a centimeter"."""
    number, unit = values[0]
    if unit is None:
        return None
    size = round(number * unit[1], 6)
    return Quantity(start, reader.at, unit[0], (size, size))


def _digit(word: str) -> float | None:
    return float(word) if word.isdigit() else None


def _bounds(sizes: list[float], joined: str, comparison: object) -> Range:
    low, high = min(sizes), max(sizes)
    if joined == "x":
        low = high
    if comparison == ">":
        return high if joined == "x" else low, None
    if comparison == "<":
        return None, high
    return low, high


def find_quantities(tokens: Sequence[Token], at: int = 0) -> list[Quantity]:
    """All sizes and volumes of ``tokens`` from index ``at`` on, in order, without overlap."""
    found = []
    tables = number_tables()
    while at < len(tokens):
        token = tokens[at]
        begins = token.kind == "number" or tables["before"].match(tokens, at)
        if not begins and token.kind == "word":
            begins = token.norm in ("half", "a", "an") or tables["word"].match(tokens, at)
        quantity = _read(tokens, at) if begins else None
        year = quantity is not None and quantity.unit == "mm" and _YEAR.fullmatch(token.norm)
        if quantity is None or (year and quantity.end > at + 2):  # "in 2019 to 9 mm"
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
