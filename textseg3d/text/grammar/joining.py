"""Tokens that are written apart or together by habit: "part-solid", "Lt.", "L 4", "station 4R"."""

from __future__ import annotations

import re
from collections.abc import Sequence

from textseg3d.text.grammar.lexicon import Lexicon
from textseg3d.text.grammar.tokens import Token, fold
from textseg3d.text.grammar.words import SIDE_ABBREVIATIONS

_LEVELS = re.compile(r"[lctsd]|th")
_VERTEBRA = re.compile(r"[ctl](\d{1,2})")
_UNITS = ("mm", "cm", "x", "-", "ml")
_WANTING = ("need", "want", "would", "am", "have", "only", "require", "wish", "like")
_ON_BOTH = ("bihilar", "bifrontal", "bitemporal", "biparietal", "bioccipital")
_BEING = frozenset(("is", "are", "was", "were", "be", "being", "and", "or", "the", "congenitally"))
_CONTRACTED = {"ca": "can", "wo": "will", "sha": "shall"}


def prepare(tokens: Sequence[Token], lexicon: Lexicon) -> list[Token]:
    """Tokens without hyphens and dots inside words, with "L 4" and "4 R" made one."""
    kept: list[Token] = []
    for at, token in enumerate(tokens):
        before = tokens[at - 1] if at else None
        after = tokens[at + 1] if at + 1 < len(tokens) else None
        if _speaks(before, token, after):
            kept.append(token._replace(kind="mark", norm=","))  # "of the ribs I need"
        elif token.norm == "gl" and before is not None and lexicon.get(f"{before.norm} gland"):
            kept.append(token._replace(norm="gland"))  # "submandibular gl."
        elif token.norm == "#" and (after is None or after.kind == "word"):
            kept.append(token._replace(kind="word", norm="fracture"))
        elif token.norm in _ON_BOTH:
            kept += [token._replace(norm="bilateral"), token._replace(norm=token.norm[2:])]
        elif token.norm.endswith(("n't", "n’t")):
            verb = _CONTRACTED.get(token.norm[:-3], token.norm[:-3])
            kept += [token._replace(norm=verb), token._replace(norm="not")]
        elif token.norm == "_" or _is_silent(before, token, after):
            continue
        elif token.norm == "dext" or (token.norm == "sin" and _is_latin(before, token, after)):
            kept.append(token._replace(norm="left" if token.norm == "sin" else "right"))
        elif token.norm == "uncalcified":
            kept += [token._replace(norm=word, raw=word) for word in ("non", "calcified")]
        elif token.norm == "absent" and _is_told(before, after):
            kept += [token._replace(norm="not"), token._replace(norm="seen")]
        elif _next_level(kept, before, token):
            level = kept[-2 if kept[-1].norm == "/" else -1].norm[0]
            kept.append(token._replace(kind="word", norm=level + token.norm))
        elif kept and before is not None and _continues(kept[-1], before, token, after, lexicon):
            last = kept[-1]
            kept[-1] = Token(
                "word", last.norm + token.norm, last.raw + token.raw, last.start, token.end
            )
        else:
            kept.append(token)
    return kept


def _is_latin(before: Token | None, token: Token, after: Token | None) -> bool:
    """Whether "sin." is short for Latin left, behind a name, and not Spanish for without."""
    dot = after is not None and after.norm == "." and after.start == token.end
    return dot and before is not None and before.kind == "word"


def _is_told(before: Token | None, after: Token | None) -> bool:
    """Whether "absent" tells of the name before it: "cyst absent in the left kidney"."""
    told = before is not None and before.kind == "word" and before.norm not in _BEING
    return told and after is not None and after.norm in ("in", "on", "from")


def _speaks(before: Token | None, token: Token, after: Token | None) -> bool:
    """Whether "I" is who speaks, not a numeral: "of the ribs I need", but not "may I have"."""
    if token.raw != "I" or before is None or after is None or before.kind == "mark":
        return False
    asks = before.norm in ("may", "can", "could", "might", "do", "should", "shall", "if", "and")
    return not asks and fold(after.norm) in _WANTING


def _next_level(kept: Sequence[Token], before: Token | None, token: Token) -> bool:
    """Whether a number is the second vertebra of a disc: "L4/5", "C5-6"."""
    if token.kind != "number" or before is None or before.norm not in ("/", "-"):
        return False
    last = kept[-2] if kept and kept[-1].norm == "/" and len(kept) > 1 else kept[-1]
    upper = _VERTEBRA.fullmatch(last.norm)
    touching = before.end == token.start and last.end == before.start
    return touching and upper is not None and token.norm == str(int(upper[1]) + 1)


def _is_silent(before: Token | None, token: Token, after: Token | None) -> bool:
    """Whether a mark only joins two words ("part-solid") or ends an abbreviation ("Lt.")."""
    if before is None or after is None:
        return False
    if token.norm == ".":
        return before.norm in (*SIDE_ABBREVIATIONS, "sin", "dext")
    if token.norm != "-" or before.end != token.start or after.start != token.end:
        return False
    return after.kind != "mark" and not before.kind == after.kind == "number"


def _continues(
    last: Token, before: Token, token: Token, after: Token | None, lexicon: Lexicon
) -> bool:
    """Whether ``token`` and the one before it are one word of the tree ("L 4", "4R", "S1+2")."""
    whole = last.norm + token.norm
    # A small "l" may say left: only "L 4" is a vertebra.
    if token.kind == "number" and _LEVELS.fullmatch(last.norm) and last.raw != "l":
        unit = after is not None and fold(after.norm) in _UNITS
        return not unit and whole in lexicon.vocabulary
    if before.end != token.start:
        return False
    if token.norm == "+" and after is not None and after.start == token.end:
        return whole + after.norm in lexicon.vocabulary
    together = last.norm.endswith("+") or (before.kind == "number" and token.kind == "word")
    return together and whole in lexicon.vocabulary
