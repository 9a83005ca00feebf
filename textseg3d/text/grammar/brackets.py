"""Brackets that repeat what stands before them: "ductal carcinoma (IDC)", "caudate lobe (S1)".

An abbreviation is a repetition if its letters are the initials of the words before it and these
words are a name; a numbered part is one if the structure before it has no number and is its
sibling, so that the two are names of one piece of the same whole.
"""

from __future__ import annotations

from collections.abc import Sequence

from textseg3d.text.grammar.lexicon import Lexicon, Match
from textseg3d.text.grammar.phrases import cue_table
from textseg3d.text.grammar.tokens import Token
from textseg3d.text.knowledge import normalise

_SMALL = frozenset(("of", "the", "and", "in", "to", "with", "a", "an", "-"))
_LONGEST = 9


def without_repetitions(tokens: Sequence[Token], lexicon: Lexicon) -> list[Token]:
    """The tokens without brackets that only say again what stands before them."""
    kept: list[Token] = []
    at = 0
    while at < len(tokens):
        end = _closing(tokens, at) if tokens[at].norm == "(" and kept else None
        inner = tokens[at + 1 : end] if end is not None else ()
        repeats = bool(inner) and (_initials(kept, inner) or _sibling(kept, inner, lexicon))
        repeats = repeats or (bool(inner) and _same(kept, inner, lexicon))
        general = len(inner) == 1 and _general(inner[0]) and _general(kept[-1])
        repeats = general or (repeats and _name_before(kept, lexicon) is not None)
        inside = end is not None and _inside(kept, inner, tokens[end + 1 : end + 4], lexicon)
        if end is None or not (repeats or inside):
            kept.append(tokens[at])
            at += 1
        else:
            at = end + 1
    return kept


def _general(token: Token) -> bool:
    """Whether a word is a general head: "nodule (mass)"."""
    cue = cue_table().match([token], 0)
    return cue is not None and cue[1].kind == "generic"


def _closing(tokens: Sequence[Token], at: int) -> int | None:
    """Index of the bracket that closes the one at ``at``, if it holds four tokens at most."""
    for end in range(at + 2, min(at + 6, len(tokens))):
        if tokens[end].norm == ")":
            return end
    return None


def _initials(before: Sequence[Token], inner: Sequence[Token]) -> bool:
    """Whether the one word in a bracket is made of the initials of the words before it."""
    letters = inner[0].raw
    letters = letters[:-1] if letters[-1:] == "s" else letters
    if len(inner) != 1 or not (1 < len(letters) < 7 and letters.isupper() and letters.isalpha()):
        return False
    words: list[str] = []
    for token in before[-2 * _LONGEST :]:
        if token.kind == "word" or token.norm == "-":
            words += token.raw.lower().replace("-", " ").split()
        else:
            words = []
    plain = [word[0] for word in words if word not in _SMALL]
    every = [word[0] for word in words if word != "-"]
    wanted = letters.lower()
    return any("".join(own[-len(wanted) :]) == wanted for own in (plain, every))


def _sibling(before: Sequence[Token], inner: Sequence[Token], lexicon: Lexicon) -> bool:
    """Whether a bracket holds the number of the structure before it."""
    one, other = _name_before(before, lexicon), lexicon.match(inner, 0)
    if one is None or other is None or other.end != len(inner):
        return False
    first, second = (lexicon.tree.concept(match.forms[0].concept) for match in (one, other))
    numbered = [any(c.isdigit() for c in concept.name) for concept in (first, second)]
    same = bool(first.part_of) and first.part_of == second.part_of
    return same and numbered == [False, True] and first.kind == second.kind == "anatomy"


def _same(before: Sequence[Token], inner: Sequence[Token], lexicon: Lexicon) -> bool:
    """Whether a bracket holds another name of what stands before it, without a side."""
    one, other = _name_before(before, lexicon), lexicon.match(inner, 0)
    if one is None or other is None or other.end != len(inner) or other.sides:
        return False
    concepts = {form.concept for form in (*one.forms, *other.forms)}
    return len(concepts) == 1 and {form.side for form in (*one.forms, *other.forms)} == {None}


def _inside(
    before: Sequence[Token], inner: Sequence[Token], after: Sequence[Token], lexicon: Lexicon
) -> bool:
    """Whether a bracket repeats words within a name: "auditory (Eustachian) tube"."""
    if not (before and inner and after) or before[-1].kind != "word":
        return False
    other = lexicon.match([*inner, *after], 0)
    if other is None or other.end <= len(inner) or other.sides:
        return False
    whole = [before[-1], *after[: other.end - len(inner)]]
    one = lexicon.match(whole, 0)
    if one is None or one.end != len(whole) or one.sides:
        return False
    forms = (*one.forms, *other.forms)
    return len({form.concept for form in forms}) == 1 and {f.side for f in forms} == {None}


def _name_before(before: Sequence[Token], lexicon: Lexicon) -> Match | None:
    """The longest name of the tree that ends with the last token."""
    for at in range(max(0, len(before) - _LONGEST), len(before)):
        match = lexicon.match(before, at)
        if match is not None and match.end == len(before) and normalise(match.surface):
            return match
    return None
