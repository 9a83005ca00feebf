"""Numbered names in a row: "ribs 4 and 5", "C3 to C5 vertebrae", "segments V-VII" spelled out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from textseg3d.text.grammar.segments import lung_segment, station
from textseg3d.text.grammar.tokens import Token

_LEVEL = re.compile(r"([ctls])(\d{1,2})")
_ORDINAL = re.compile(r"(\d{1,2})(st|nd|rd|th)")
_ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii")
_LETTERS = ("a", "b", "c", "d", "e", "f")
_TO = frozenset(("-", "to", "through", "thru", "until", "bis"))
_AND = frozenset(("and", "&", "+", "/", ",", "or", "und"))
_LAST = {"c": 7, "t": 12, "l": 5, "s": 5}
_VERTEBRAL = frozenset(("vertebrae", "vertebra", "vertebral", "levels", "bodies"))
_DISCS = frozenset(("disc", "discs", "disk", "disks", "intervertebral"))
_NOT_SPINE = frozenset(("root", "roots", "nerve", "nerves", "stage", "staging", "tumor", "tumour"))
_NOT_SPINE |= {"liver", "hepatic", "lung", "lobe", "dermatome", "dermatomes"}
_SEGMENTS = frozenset(("segment", "segments"))
_NOT_SPINE |= {"carotid", "ica", "artery", "weighted", "between"}
_HEADS = {"ribs": "rib", "segments": "segment", "levels": "level", "stations": "station"}
_HEADS |= {"teeth": "tooth", "metatarsals": "metatarsal", "metacarpals": "metacarpal"}
_HEADS |= {"segs": "segment", "toes": "toe", "rib": "rib", "segment": "segment", "level": "level"}
_WORDS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
_NUMBERS = {word: number for number, word in enumerate(_WORDS.split(), 1)}
_REGIONS = {"cervical": "c", "thoracic": "t", "dorsal": "t", "lumbar": "l", "sacral": "s"}
_NODES = frozenset(("neck", "cervical", "node", "nodes", "ln", "lns", "lymph"))
_SIDES = frozenset(("left", "right", "l", "r", "lt", "rt", "bilateral", "both"))
_ORDERED = frozenset(("rib", "ribs", "metatarsal", "metatarsals", "metacarpal", "metacarpals"))
_ORDERED |= {"toe", "toes"}
_FOUND = frozenset(("fracture", "fractures", "metastasis", "metastases", "lesion", "lesions"))
_FOUND |= {"fx", "fxs"}
_WEIGHTED = frozenset(("t1", "t2", "pd"))
_SEQUENCES = frozenset(("flair", "stir", "dwi"))


def spelled_out(tokens: Sequence[Token]) -> list[Token]:
    """``tokens`` with every member of a numbered row as a name of its own.

    >>> from textseg3d.text.grammar.tokens import tokenise
    >>> " ".join(token.norm for token in spelled_out(tokenise("ribs 4-6 on the left")))
    '4th rib and 5th rib and 6th rib on the left'
    """
    result: list[Token] = []
    tokens = _without_weightings(_without_directions(_lettered(tokens)))
    at = 0
    while at < len(tokens):
        for reader in _READERS:
            found = reader(tokens, at)
            if found is not None:
                result += found[1]
                at = found[0]
                break
        else:
            result.append(tokens[at])
            at += 1
    return result


def _lettered(tokens: Sequence[Token]) -> Sequence[Token]:
    """Reads "a) left lung b) right lung" as a list."""
    heads = [
        at
        for at, token in enumerate(tokens[:-1])
        if token.norm in _LETTERS and tokens[at + 1].norm == ")" and tokens[at - 1].norm != "("
    ]
    if [tokens[at].norm for at in heads[:2]] != ["a", "b"]:
        return tokens
    comma = {at: tokens[at]._replace(kind="mark", norm=",", raw=",") for at in heads if at}
    dropped = {at + 1 for at in heads} | {at for at in heads if not at}
    return [comma.get(at, token) for at, token in enumerate(tokens) if at not in dropped]


def _without_weightings(tokens: Sequence[Token]) -> Sequence[Token]:
    """Reads "T2/FLAIR hyperintensity" as "FLAIR hyperintensity": no vertebra is meant."""
    norms = [token.norm for token in tokens]
    first = [n for n in range(len(norms) - 2) if norms[n] in _WEIGHTED and norms[n + 1] == "/"]
    dropped = {n + step for n in first if norms[n + 2] in _SEQUENCES for step in (0, 1)}
    return [token for at, token in enumerate(tokens) if at not in dropped]


def _without_directions(tokens: Sequence[Token]) -> list[Token]:
    """Reads "T10 down to L2" as "T10 to L2"."""
    return [
        token
        for at, token in enumerate(tokens)
        if not (
            token.norm in ("down", "up", "all", "through")
            and 0 < at < len(tokens) - 2
            and tokens[at + 1].norm == "to"
            and all(_LEVEL.fullmatch(tokens[n].norm) for n in (at - 1, at + 2))
        )
    ]


def _word(model: Token, norm: str) -> Token:
    return model._replace(kind="number" if norm.isdigit() else "word", norm=norm, raw=norm)


def _joined(model: Token, members: Sequence[Sequence[str]]) -> list[Token]:
    row: list[Token] = []
    for member in members:
        row += [_word(model, "and")] if row else []
        row += [_word(model, word) for word in member]
    return row


def _levels(tokens: Sequence[Token], at: int) -> tuple[int, list[Token]] | None:
    """Vertebrae from one to another: "T11-L1 vertebrae", "C3 to C5", and discs: "C5-C7 discs".

    Neighbours without a word for vertebrae ("L4-L5") are the disc between them.
    """
    if at + 2 >= len(tokens) or tokens[at + 1].norm not in _TO:
        return None
    first, last = (_LEVEL.fullmatch(tokens[at + step].norm) for step in (0, 2))
    if first is not None and last is None and _short(tokens[at : at + 4], first):
        last = _LEVEL.fullmatch(first[1] + tokens[at + 2].norm)  # "T4-8"
    if first is None or last is None:
        return None
    names = list(_vertebrae(first[1], int(first[2]), last[1], int(last[2])))
    around = {token.norm for token in (*tokens[max(0, at - 2) : at], *tokens[at + 3 : at + 5])}
    behind = tokens[at + 3].norm if at + 3 < len(tokens) else ""
    if len(names) < 2:
        return None
    if around & _VERTEBRAL and not around & _DISCS:
        bare = at > 0 and tokens[at - 1].norm in _VERTEBRAL
        return at + 3, _joined(tokens[at], _spine(names, bare, behind in _VERTEBRAL))
    words = {token.norm for token in tokens}
    other = words & _NOT_SPINE or (first[1] == last[1] == "s" and words & _SEGMENTS)
    if len(names) < 3 or other or not _possible(first) or not _possible(last):
        return None
    if not around & _DISCS:
        return at + 3, _joined(tokens[at], _spine(names, False, False))
    end = at + 3 + (behind in _DISCS) + (behind == "intervertebral")
    return end, _joined(tokens[at], [[a, b, "disc"] for a, b in pairwise(names)])


def _short(tokens: Sequence[Token], first: re.Match[str]) -> bool:
    """Whether a number behind a level and a dash is a level, too, and not a size: "T4-8"."""
    dash, number = tokens[1], tokens[2]
    touching = tokens[0].end == dash.start and dash.end == number.start
    sized = len(tokens) > 3 and tokens[3].norm in ("mm", "cm", "x", "weighted", "%")
    plain = dash.norm == "-" and number.kind == "number" and number.norm.isdigit()
    return touching and plain and not sized and int(number.norm) > int(first[2]) + 1


def _possible(level: re.Match[str]) -> bool:
    """Whether there is a vertebra of that number."""
    return 1 <= int(level[2]) <= _LAST[level[1]]


def _spine(names: Sequence[str], bare: bool, headed: bool) -> list[list[str]]:
    """The names of vertebrae; T1 and T2 are written out, as they are weightings too.

    Args:
        names: "t1", "t2", ….
        bare: whether their head stands before them.
        headed: whether it stands behind them.
    """
    if bare or {"t1", "t2"}.isdisjoint(names):
        return [[name] for name in names]
    last = [names[-1]] if headed else [names[-1], "vertebra"]
    return [*([name, "vertebra"] for name in names[:-1]), last]


def _vertebrae(part: str, number: int, last: str, end: int) -> Iterator[str]:
    order = "ctls"
    if order.index(part) > order.index(last):
        return
    for letter in order[order.index(part) : order.index(last) + 1]:
        start = number if letter == part else 1
        stop = end if letter == last else _LAST[letter]
        for value in range(start, stop + 1):
            yield f"{letter}{value}"


def _number(token: Token) -> tuple[int, str] | None:
    """The number that a token says, and how it says it: "digit", "roman" or "digits with side"."""
    if token.kind == "number" and token.norm.isdigit() and len(token.norm) <= 2:
        return int(token.norm), "digit"
    if token.norm in _ROMAN:
        return _ROMAN.index(token.norm) + 1, "roman"
    return None


def _touches(tokens: Sequence[Token], at: int) -> bool:
    """Whether a side is written as one word with the number before it."""
    return tokens[at].norm in ("l", "r") and tokens[at].start == tokens[at - 1].end


def _headed(tokens: Sequence[Token], at: int) -> tuple[int, list[Token]] | None:
    """Numbers behind their head: "ribs 4 and 5", "segments V-VII"."""
    plain = tokens[at].norm
    head = _HEADS.get(plain)
    if head is None or at + 3 >= len(tokens):
        return None
    members: list[tuple[int, str]] = []
    place, joined = at + 1, ""
    while place < len(tokens):
        value = _number(tokens[place])
        if value is None:
            break
        if joined == "to" and members:
            members += [(n, value[1]) for n in range(members[-1][0] + 1, value[0])]
        members.append(value)
        place += 1
        if place < len(tokens) and _touches(tokens, place) and value[1] == "digit":
            members[-1] = value[0], tokens[place].norm  # "4R"
            place += 1
        mark = tokens[place].norm if place < len(tokens) else ""
        double = mark == "," and place + 1 < len(tokens) and tokens[place + 1].norm in _AND
        joined = "to" if mark in _TO else "and" if mark in _AND else ""
        if not joined or place + 1 + double >= len(tokens):
            break
        place += 1 + double
        again = tokens[place].norm in (head, plain) and place + 1 < len(tokens)
        if _number(tokens[place + again]) is None:
            place -= 1 + double
            break
        place += again
    units = place < len(tokens) and tokens[place].norm in ("mm", "cm", "x", "ml")
    if len(members) < 2 or len(members) > 12 or units or (plain == head and joined == ","):
        return None
    front, back = _around(tokens, head)
    if back is None:
        return None
    if back:
        while place < len(tokens) and tokens[place].norm in _NODES:
            place += 1
    before = tokens[at - 1].norm if at else ""
    side = [before] if before in _SIDES else []
    row: list[list[str]] = []
    for n, how in members:
        number = _ROMAN[n - 1] if how == "roman" and n <= 12 else str(n)
        number += how if how in ("l", "r") else ""
        own = [f"{n}{_ending(n)}", head] if head in _ORDERED else [head, number]
        row.append([*(side if row else []), *front, *own, *back])
    return place, _joined(tokens[at], row)


def _around(tokens: Sequence[Token], head: str) -> tuple[list[str], list[str] | None]:
    """What each member needs in front and behind; None behind if it is no name at all."""
    words = {token.norm for token in tokens}
    if head == "segment":
        return (["liver"] if words & {"liver", "hepatic", "couinaud"} else []), []
    if head == "level":
        return [], ["nodes"] if words & _NODES else None
    return [], []


def _ordinals(tokens: Sequence[Token], at: int) -> tuple[int, list[Token]] | None:
    """Ordinal numbers from one to another: "5th through 7th ribs", "2nd-4th metatarsals"."""
    if at + 3 >= len(tokens) or tokens[at + 1].norm not in _TO:
        return None
    first, last = (_ORDINAL.fullmatch(tokens[at + step].norm) for step in (0, 2))
    sided = tokens[at + 3].norm in ("left", "right", "l", "r")
    head = tokens[at + 3 + sided].norm if at + 3 + sided < len(tokens) else ""
    if first is None or last is None or head not in _ORDERED:
        return None
    low, high = int(first[1]), int(last[1])
    if not low < high <= low + 11:
        return None
    side = [tokens[at + 3].norm] if sided else []
    one = head.removesuffix("s")
    row = [[*side, f"{n}{_ending(n)}", one] for n in range(low, high + 1)]
    end = at + 4 + sided
    if end < len(tokens) and tokens[end].norm in _FOUND:  # "4th-7th rib fractures"
        of = [tokens[end], _word(tokens[end], "of")]
        return end + 1, [*of, *_joined(tokens[at], row)]
    return end, _joined(tokens[at], row)


def _counted_vertebrae(tokens: Sequence[Token], at: int) -> tuple[int, list[Token]] | None:
    """Two vertebrae by their numbers: "the fifth and the sixth cervical vertebra"."""
    norms = [token.norm for token in tokens[at : at + 7] if token.norm != "the"]
    if len(norms) < 5 or norms[0] not in _NUMBERS or norms[1] not in _TO | _AND:
        return None
    if norms[2] not in _NUMBERS or norms[3] not in _REGIONS or norms[4] not in _VERTEBRAL:
        return None
    part = _REGIONS[norms[3]]
    low, high = _NUMBERS[norms[0]], _NUMBERS[norms[2]]
    numbers = range(low, high + 1) if norms[1] in _TO else (low, high)
    end, left = at, 5
    while left:
        left -= tokens[end].norm != "the"
        end += 1
    return end, _joined(tokens[at], [[f"{part}{number}"] for number in numbers])


def _ending(number: int) -> str:
    return {1: "st", 2: "nd", 3: "rd"}.get(number, "th") if number < 20 else "th"


def _two_levels(tokens: Sequence[Token], at: int) -> tuple[int, list[Token]] | None:
    """Two weightings that are vertebrae here: "T1 and T2 vertebrae"."""
    norms = [token.norm for token in tokens[at : at + 4]]
    if norms[:1] + norms[1:3][1:] != ["t1", "t2"] or norms[1] not in _AND:
        return None
    behind, before = norms[3:] and norms[3] in _VERTEBRAL, at and tokens[at - 1].norm in _VERTEBRAL
    if not (behind or before):
        return None
    return at + 3, _joined(tokens[at], _spine(["t1", "t2"], bool(before), bool(behind)))


def _disc_between(tokens: Sequence[Token], at: int) -> tuple[int, list[Token]] | None:
    """A disc by its vertebrae: "the disc between the L4 and L5 vertebrae"."""
    if tokens[at].norm not in _DISCS or tokens[at].norm == "intervertebral":
        return None
    end, norms = at + 1, [token.norm for token in tokens]
    while end < len(norms) and norms[end] in ("space", "the"):
        end += 1
    if norms[end : end + 1] != ["between"]:
        return None
    levels: list[str] = []
    end += 1
    while end < len(norms) and (norms[end] in ("the", *_AND) or _LEVEL.fullmatch(norms[end])):
        levels += [norms[end]] if _LEVEL.fullmatch(norms[end]) else []
        end += 1
    while end < len(norms) and levels[1:] and norms[end] in _VERTEBRAL:
        end += 1
    return (end, _joined(tokens[at], [[*levels, "disc"]])) if len(levels) == 2 else None


_READERS = (
    lung_segment,
    station,
    _disc_between,
    _levels,
    _two_levels,
    _headed,
    _ordinals,
    _counted_vertebrae,
)
