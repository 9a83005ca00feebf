"""Lung segments by their numbers, where a text speaks of a lobe: "S7+8 of LLL", "segment 6 RLL".

Elsewhere "S3" is a vertebra and "segment 6" one of the liver. "2R nodes" are those of a station.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from textseg3d.text.grammar.tokens import Token

_OWN = re.compile(r"s(\d{1,2})")
_LOBES = {"lul": "left", "lll": "left", "rul": "right", "rml": "right", "rll": "right"}
_SIDES = {"left": "left", "l": "left", "lt": "left", "right": "right", "r": "right", "rt": "right"}
_LUNG = frozenset(("lung", "lungs", "pulmonary", "bronchopulmonary"))
_PARTS = frozenset(("upper", "lower", "middle"))
_LIVER = frozenset(("liver", "hepatic", "couinaud", "caudate", "sacral", "sacrum", "vertebra"))
_HEADS = frozenset(("segment", "seg"))
_LEVELS = frozenset(("station", "level", "stations", "levels"))
_NODES = frozenset(("node", "nodes", "ln", "lns", "lymph", "lymphadenopathy", "adenopathy"))
_PAIRS = {"left": ("1+2", "7+8"), "right": ()}


def lung_segment(tokens: Sequence[Token], at: int) -> tuple[int, list[Token]] | None:
    """(index behind it, the segment by its name) for the number of a lung segment at ``at``."""
    norm = tokens[at].norm
    first = _OWN.fullmatch(norm)
    headed = norm in _HEADS and at + 1 < len(tokens)
    if first is None and not headed:
        return None
    side = _side({token.norm for token in tokens})
    if side is None:
        return None
    end = at + 1
    number = first[1] if first is not None else tokens[end].norm.removeprefix("s")
    end += first is None
    pair = "+".join((number, tokens[end + 1].norm.removeprefix("s"))) if _pair(tokens, end) else ""
    if pair in _PAIRS[side]:
        number, end = pair, end + 2
    elif not number.isdigit() or not 1 <= int(number) <= 10:
        return None
    elif end < len(tokens) and tokens[end].norm in ("mm", "cm", "-", "x"):
        return None  # "segment 4 mm nodule": a size
    words = ("segment", f"s{number}", "of", side, "lung")
    return end, [tokens[at]._replace(kind="word", norm=word, raw=word) for word in words]


def station(tokens: Sequence[Token], at: int) -> tuple[int, list[Token]] | None:
    """(index behind it, "station 2R") for the number and side of a thoracic node station."""
    if (
        at + 2 >= len(tokens)
        or tokens[at].kind != "number"
        or tokens[at + 1].norm not in ("l", "r")
    ):
        return None
    before = tokens[at - 1].norm if at else ""
    touching = tokens[at].end == tokens[at + 1].start
    if not touching or before in _LEVELS or tokens[at + 2].norm not in _NODES:
        return None
    head = tokens[at]._replace(kind="word", norm="station", raw="station")
    return at + 2, [head, *tokens[at : at + 2]]


def _pair(tokens: Sequence[Token], end: int) -> bool:
    return end + 1 < len(tokens) and tokens[end].norm in ("+", "/", "-", "and")


def _side(words: set[str]) -> str | None:
    """The one side of the lung that a text speaks of; None where it speaks of none or two."""
    lobe = "lobe" in words and bool(words & _PARTS)
    if words & _LIVER or not (lobe or words & (_LOBES.keys() | _LUNG)):
        return None
    sides = {table[word] for table in (_LOBES, _SIDES) for word in words if word in table}
    return sides.pop() if len(sides) == 1 else None
