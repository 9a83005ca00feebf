"""Which sizes of a text are those of an earlier examination: "12 mm, previously 8 mm"."""

from __future__ import annotations

import re
from collections.abc import Sequence

from textseg3d.text.grammar.tokens import Token

_PAST = frozenset(
    (
        "previously",
        "prev",
        "formerly",
        "earlier",
        "initially",
        "prior",
        "previous",
        "baseline",
        "before",
        "was",
        "were",
        "vs",
        "versus",
        "against",
        "than",
    )
)
_CHANGES = frozenset(
    (
        "increased",
        "grown",
        "enlarged",
        "decreased",
        "shrunk",
        "progressed",
        "changed",
        "reduced",
        "grew",
        "regressed",
        "went",
        "gone",
        "increase",
        "decrease",
        "growth",
        "up",
        "down",
        "larger",
        "smaller",
    )
)
_RELATIVE = frozenset(("up", "down", "larger", "smaller"))
_MONTHS = frozenset(("january", "february", "march", "april", "may", "june", "july", "august"))
_MONTHS |= {"september", "october", "november", "december", "jan", "feb", "mar", "apr", "jun"}
_MONTHS |= {"jul", "aug", "sep", "sept", "oct", "nov", "dec"}
_EXAMS = frozenset(("the", "last", "that", "this", "study", "exam", "examination", "scan", "ct"))
_EXAMS |= {"mri", "mr", "pet", "of", "from", "dated"}
_TODAY = frozenset(("now", "currently", "today", "presently"))
_COMPARED = frozenset(("larger", "smaller", "bigger", "longer", "shorter", "thicker", "thinner"))
_COMPARED |= {"more", "less", "wider", "narrower", "greater"}
_EARLIER = frozenset(("admission", "presentation", "diagnosis", "previous", "prior", "baseline"))
_EARLIER |= {"earlier", "initial", "outside"}
_BETWEEN = frozenset(
    (
        "measured",
        "measuring",
        "measures",
        "at",
        "approximately",
        "about",
        "it",
        "size",
        "of",
        ":",
        "=",
        "it's",
        "then",
        "to",
        "with",
        "on",
        "the",
        "study",
        "scan",
        "exam",
    )
)


def _behind(tokens: Sequence[Token], start: int, words: frozenset[str], reach: int) -> bool:
    return any(token.norm in words for token in tokens[max(0, start - reach) : start])


def changed_before(tokens: Sequence[Token], start: int) -> bool:
    """Whether a number tells by how much something changed: "increased by 3 mm"."""
    told = tokens[start].norm == "from" and _behind(tokens, start, _CHANGES - _RELATIVE, 10)
    return told or _behind(tokens, start, _CHANGES, 3)  # "increase in size of the nodule from …"


def _then_now(tokens: Sequence[Token]) -> bool:
    """Whether a number of today follows: "(was 6 cm), now it is 3 cm"."""
    said = next((at for at, token in enumerate(tokens) if token.norm in _TODAY), len(tokens))
    return said < 4 and any(token.kind == "number" for token in tokens[said : said + 8])


def is_past(tokens: Sequence[Token], start: int, end: int) -> bool:
    """Whether a number is that of an earlier examination: "12 mm, previously 8 mm"."""
    if end + 1 < len(tokens) and tokens[end].norm == "→":
        return tokens[end + 1].kind == "number"  # "6 mm → 8 mm"
    at = start - 1
    while at > 0 and tokens[at].norm in _BETWEEN:
        at -= 1
    before = [token.norm for token in tokens[max(0, at - 1) : at + 1]]
    if len(before) == 2 and before[1] in _PAST:
        if before[1] in ("was", "were"):
            numbered = any(t.kind == "number" for t in tokens[: at - 1])
            behind = [token.norm for token in tokens[end : end + 5]]
            dated = behind[:1] == ["in"] and _date(behind[1:])
            dated |= bool({*behind[:1]} & {"before", "previously", "earlier", "originally"})
            return (
                (numbered and (before[0] == "it" or dated))
                or before[0] in ("(", ",", ";")
                or before[0] in _PAST
                or _then_now(tokens[end:])
            )
        aside = before[1] == "before" and before[0] in ("(", ",", ";")  # "27 mm (before 41 mm)"
        return aside or before[1] not in ("than", "against", "before")
    if len(before) == 2 and before == ["compared", "to"]:
        return True
    if "compared" in before[-1:] or before in (["up", "from"], ["down", "from"]):
        return True
    after = tokens[end].norm if end < len(tokens) else ""
    apart = "".join(before[-1:]) if tokens[start].norm == "from" else before[0] if before else ""
    single = sum(token.kind == "number" for token in tokens[start:end]) == 1 and after != "to"
    if apart in _CHANGES and "from" in (tokens[start].norm, *before[-1:]) and single:
        return True  # "21 mm, increased from 16 mm"
    following = [token.norm for token in tokens[end : end + 8]] + [""] * 2
    if following[0] in _COMPARED and following[1] in ("than", "compared", "since"):
        return True  # "2 mm larger than in 2020"
    once = sum(token.kind == "number" for token in tokens[start:end]) == 1  # no "by 3 to 12 mm"
    if before[-1:] == ["by"] and changed_before(tokens, start) and once:
        return True  # "increased by 3 mm"
    if before[-1:] == ["from"] or tokens[start].norm == "from":
        span = tokens[max(0, start - 10) : start]
        changed = [at for at, token in enumerate(span) if token.norm in _CHANGES]
        if changed and any(token.kind == "number" for token in span[changed[0] :]):
            return True  # "decreased to 3.5 cm from 6 cm"
    if _behind(tokens, start, _PAST | {"known", "measured"}, 4):
        later = tokens[end:]  # "…, now measures 9 mm"
        if any(token.norm in _TODAY for token in later):
            return any(token.kind == "number" for token in later)
    if _of_old(tokens, start):
        return True
    now = {token.norm for token in tokens[max(0, start - 8) : start]}
    if following[0] in ("before", "previously", "then") and _TODAY & now:
        return True  # "26 mm now and 22 mm before"
    was = tokens[start - 1].norm in ("was", "were") if start else False
    if was and _TODAY & now:
        return True  # "31 mm today and was 24 mm in March"
    if following[0] == "in" and _date(following[1:]) and not _TODAY.isdisjoint(following[3:]):
        return True  # "20 mm in 2018 and is 22 mm now"
    inside = at >= 0 and tokens[start - 1].norm in ("(", ",", ";")
    if inside and following[0] in ("previously", "before", "formerly", "prior", "earlier"):
        return True
    if inside and following[:2] in (["last", "year"], ["last", "month"], ["last", "week"]):
        return True  # "now 12 mm (9 mm last year)"
    if not _dated(following):
        return False
    words = [token.norm for token in tokens[end:]]  # "6 mm on 3 May, now 4 mm"
    inside = inside and any(token.kind == "number" for token in tokens[:start])
    return inside or not _TODAY.isdisjoint(words)


def _of_old(tokens: Sequence[Token], start: int) -> bool:
    """Whether a clause begins with an earlier day: "8 mm (2021: 5 mm)", "2 years ago 5 mm"."""
    at = start
    while at > max(0, start - 6) and tokens[at - 1].norm not in ("(", ",", ";", "."):
        at -= 1
    if tokens[at - 1].norm not in ("(", ",", ";", "."):
        return False
    words = [token.norm for token in tokens[at:start]]
    then = "ago" in words or words[:2] in (["last", "year"], ["last", "month"], ["last", "week"])
    if then and {"measured", "was"} & set(words):
        return True  # "the spleen; last year it measured 14 cm"
    if at == 0 or not any(token.kind == "number" for token in tokens[: at - 1]):
        return False
    if words[-1:] == [":"] and (words[0].isdigit() or _date(words)):
        return True  # "(2021: 5 mm)", "(05:40 h: 9 mm)"
    if words[:1] == ["last"] and words[1:2] in (["year"], ["month"], ["week"], ["time"]):
        return True
    return "ago" in words or any(_dated(words[place:]) for place in range(min(2, len(words))))


def _dated(words: Sequence[str]) -> bool:
    """Whether words that follow a size say that it is that of an earlier day: "in 2021"."""
    if not words or words[0] not in ("in", "on", "at", "a", "as"):
        return False
    named = [word for word in words[1:] if word not in _EXAMS]
    return named[:1] != [] and (named[0] in _EARLIER or _date(named))


def _date(words: Sequence[str]) -> bool:
    """Whether words begin with a year, a month, or a day of one."""
    first, second, third = [*words, "", "", ""][:3]
    if re.fullmatch(r"(19|20)\d\d", first) or first in _MONTHS:
        return True
    numbered = second in ("/", ".", "-") and third.isdigit()
    return first.isdigit() and (second in _MONTHS or numbered)
