"""Pieces: "body and medial limb of the adrenal gland", "head of the gastrocnemius muscle"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textseg3d.text.grammar.items import Item
from textseg3d.text.grammar.lexicon import Lexicon, Match
from textseg3d.text.grammar.phrases import cue_table
from textseg3d.text.grammar.tokens import Token

_LONGEST = 3
_AND = frozenset(("and", "or", "&", "+", "/", ","))
_PIECES = frozenset(("head", "body", "neck", "trunk", "tail", "base", "heads", "bodies", "necks"))
_PIECES |= {"horn", "horns", "belly", "bellies", "limb", "limbs", "pole", "poles", "insertion"}
_PIECES |= {
    "root",
    "roots",
    "tip",
    "apex",
    "dome",
    "aspect",
    "surface",
    "margin",
    "border",
    "hilum",
}
_PIECES |= {"tails", "bases", "wall", "walls", "branch", "branches", "midportion", "midshaft"}
_BETWEEN = frozenset(("filler", "determiner", "side"))


def shared_whole(
    tokens: Sequence[Token], at: int, match: Match | None, lexicon: Lexicon
) -> Match | None:
    """Reads "body and medial limb of the adrenal gland" as two parts of that gland."""
    longest = match.end - at if match is not None else 1
    if tokens[at].kind != "word" or all(t.norm not in _AND for t in tokens[at : at + 4]):
        return None
    end = _member_end(tokens, at)
    other = _whole_behind(tokens, end, lexicon) if end - at >= longest else None
    if other is None:
        return None
    front = " ".join(token.norm for token in tokens[at:end])
    words = other.surface.split(" of ", 1)[1].removeprefix("the ").split(" ")
    sides = [*other.sides, other.forms[0].side, *map(lexicon.side_of, words)]
    plain = " ".join(word for word in words if lexicon.side_of(word) is None)
    forms = lexicon.named(f"{front} of {plain}")
    if not forms or lexicon.tree.concept(forms[0].concept).kind == "finding":
        return None
    said = tuple(side for side in dict.fromkeys(sides) if side in ("left", "right"))
    return Match(end, forms, said, f"{front} of {plain}")


def _member_end(tokens: Sequence[Token], at: int) -> int:
    """Index behind the words from ``at`` on that a comma or "and" ends; ``at`` if none does."""
    for end in range(at + 1, min(at + _LONGEST + 1, len(tokens))):
        if tokens[end].norm in _AND:
            return end
        if tokens[end].kind != "word" or tokens[end].norm == "of":
            return at
    return at


def _whole_behind(tokens: Sequence[Token], end: int, lexicon: Lexicon) -> Match | None:
    """The name "X of Y" that ends the list whose first member ends at ``end``."""
    for _ in range(_LONGEST):
        start = end
        while start < len(tokens) and tokens[start].norm in _AND:
            start += 1
        other = lexicon.match(tokens, start) if start < len(tokens) else None
        if other is not None and " of " in other.surface:
            return None if lexicon.is_finding(other) else other
        after = _member_end(tokens, start) if start < len(tokens) else start
        if after == start:
            return None
        end = after
    return None


def without_pieces(items: Sequence[Item], lexicon: Lexicon) -> list[Item]:
    """The items, "head of" before a structure that has no part of that name left out."""
    result = list(items)
    dropped = False  # whether the list behind ends in a piece that is left out
    for at in range(len(items) - 2, -1, -1):
        item, following = items[at], items[at + 1]
        if item.kind in ("and", "or", "comma") and dropped and _piece(items[at - 1]):
            result[at] = replace(item, kind="filler", value=None)
            continue
        if item.kind in ("attr", "filler", "determiner"):
            continue
        listed = dropped and following.kind in ("and", "or", "comma")
        whole = following.text.lower() == "of" and _structure_follows(items, at + 2, lexicon)
        dropped = _piece(item) and at < len(items) - 2 and (listed or whole)
        for place in (at, at + 1) if dropped else ():
            result[place] = replace(items[place], kind="filler", value=None)
    return result


def _piece(item: Item) -> bool:
    kinds = ("mention", "generic", "unknown", "tail")
    return item.kind in kinds and item.text.lower() in _PIECES


def _structure_follows(items: Sequence[Item], at: int, lexicon: Lexicon) -> bool:
    behind = next((item for item in items[at:] if item.kind not in _BETWEEN), None)
    named = behind is not None and behind.kind == "mention"
    return named and behind is not None and not lexicon.is_finding(behind.value)


def cut_short(tokens: Sequence[Token], match: Match) -> bool:
    """Whether a name "area of focal" ends in a word that describes what follows."""
    words = match.surface.split(" ")
    if len(words) < 3 or words[-2] != "of" or match.end >= len(tokens):
        return False
    cue = cue_table().match(tokens[: match.end], match.end - 1)
    return cue is not None and cue[1].kind == "attr" and tokens[match.end].kind == "word"
