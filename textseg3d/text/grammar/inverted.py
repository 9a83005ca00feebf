"""Names written as in an index: "pterygoid muscle, lateral", "distal phalanx, left thumb"."""

from __future__ import annotations

from collections.abc import Sequence

from textseg3d.text.grammar.lexicon import Lexicon, Match
from textseg3d.text.grammar.phrases import cue_table
from textseg3d.text.grammar.tokens import Token, fold
from textseg3d.text.knowledge import Side

_LONGEST = 5
_BEING = frozenset(("is", "are", "appears", "appear", "looks", "remains"))
_PARTS = frozenset(("part", "portion", "segment", "region", "division", "aspect"))


def inverted(tokens: Sequence[Token], at: int, lexicon: Lexicon) -> Match | None:
    """The name whose front stands behind a comma, if the parts alone are not a list of names."""
    comma = at
    while comma < len(tokens) and comma - at < _LONGEST and _plain(tokens[comma], lexicon):
        comma += 1
    if comma == at or comma + 1 >= len(tokens) or tokens[comma].norm not in (",", "("):
        return None
    start = comma + 1
    side: Side | None = lexicon.side_of(fold(tokens[start].norm))
    start += side is not None
    end = start
    while end < len(tokens) and end - start < 3 and _plain(tokens[end], lexicon):
        end += 1
    if end == start or (end < len(tokens) and _goes_on(tokens[end], lexicon)):
        return None
    closed = tokens[comma].norm == "("  # "aorta (abdominal)"
    if closed and (end >= len(tokens) or tokens[end].norm != ")"):
        return None
    noun = [fold(token.norm) for token in tokens[at:comma]]
    front = [fold(token.norm) for token in tokens[start:end]]
    if _is_name(tokens, at, comma, lexicon) and _is_name(tokens, start, end, lexicon):
        return None
    if front[-1] in _PARTS and len(front) > 1:
        front = front[:-1]
    for words in ([*front, *noun], [*noun, "of", *front]):
        forms = lexicon.named(" ".join(words))
        if forms:
            return Match(end + closed, forms, (side,) if side else (), " ".join(words))
    return None


def _plain(token: Token, lexicon: Lexicon) -> bool:
    word = fold(token.norm)
    return token.kind == "word" and lexicon.side_of(word) is None and word not in _joining()


def _joining() -> frozenset[str]:
    return frozenset(
        ("and", "or", "of", "in", "with", "without", "the", "no", "please", "is", "a", "an")
    )


def _goes_on(token: Token, lexicon: Lexicon) -> bool:
    """Whether the words behind the comma are only the beginning of something longer."""
    word = fold(token.norm)
    return token.kind == "word" and lexicon.side_of(word) is None and word not in ("please", "on")


def _is_name(tokens: Sequence[Token], start: int, end: int, lexicon: Lexicon) -> bool:
    match = lexicon.match(tokens[start:end], 0)
    if match is None or match.end < end - start:
        cue = cue_table().match(tokens[start:end], 0)
        return cue is not None and cue[1].kind == "generic" and cue[0] == end - start
    return any(form.source != "adjective" for form in match.forms)


def predicated(tokens: Sequence[Token], at: int, lexicon: Lexicon) -> Match | None:
    """The finding "enlarged vestibular aqueduct" in "vestibular aqueduct is enlarged".

    None where the words before "is" are a name of their own.
    """
    for length in (2, 3):
        end = at + length
        part = tokens[at : end + 2]
        if len(part) < length + 2 or part[length].norm not in _BEING:
            continue
        if any(token.kind != "word" for token in part):
            return None
        thing = " ".join(token.norm for token in part[:length])
        name = f"{part[-1].norm} {thing}"
        forms = () if lexicon.named(thing) else lexicon.get(name)
        if forms and lexicon.tree.concept(forms[0].concept).kind == "finding":
            return Match(end + 2, forms, (), name)
    return None
