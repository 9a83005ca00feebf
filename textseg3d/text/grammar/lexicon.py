"""The knowledge tree's names as a longest-match lexicon over tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple

from textseg3d.text.grammar import words
from textseg3d.text.grammar.phrases import cue_table, cue_words
from textseg3d.text.grammar.tokens import Token, fold, is_ideograph, join
from textseg3d.text.knowledge import Form, KnowledgeTree, Side, normalise
from textseg3d.text.knowledge.forms import pluralise

_ARTICLES = frozenset(("the", "a", "an", "his", "her", "their", "this", "that", "its"))
_PLURALS = {"de": ("n", "en", "e"), "fr": ("s", "x"), "es": ("s", "es")}
_AND = frozenset(("and", "or", "/", "&", "und", "et", "y"))


class Match(NamedTuple):
    """A name found in the text.

    Attributes:
        end: index behind its last token.
        forms: what it may stand for, best first.
        sides: side words inside it ("lower lobe of *left* lung").
        surface: the name as it stands in the tree.
    """

    end: int
    forms: tuple[Form, ...]
    sides: tuple[Side, ...]
    surface: str


class _Variant(NamedTuple):
    """A way to read a name: articles passed over or not; sides kept, spelled out or skipped."""

    articles: bool
    sides: str


_VARIANTS = (
    _Variant(False, "keep"),
    _Variant(True, "keep"),
    _Variant(True, "spell"),
    _Variant(True, "skip"),
)


class Lexicon:
    """Names of a tree, prepared for matching; made once per tree (see ``lexicon_of``)."""

    def __init__(self, tree: KnowledgeTree) -> None:
        self.tree = tree
        cues = cue_table()
        self._side_words = {
            key[0]: cue.value
            for key, cue in cues.values.items()
            if len(key) == 1 and cue.kind == "side"
        }
        self._closed = {key[0] for key in cues.values if len(key) == 1} | words.COMMON
        self._forms: dict[str, tuple[Form, ...]] = dict(tree.forms)
        for text, forms in tree.forms.items():
            for extra, meant in _variants(text, forms, tree):
                self._forms.setdefault(extra, meant)
        self._longest: dict[str, int] = {}
        for text in self._forms:
            parts = _words(text)
            if parts:
                self._longest[parts[0]] = max(self._longest.get(parts[0], 0), len(parts))

    def get(self, text: str) -> tuple[Form, ...]:
        """The forms of a whole name."""
        return self._forms.get(text, ())

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """Every word of every name and of every closed-class phrase, without accents."""
        names = {fold(word) for text in self._forms for word in _words(text)}
        return frozenset(names | cue_words() | words.COMMON)

    @cached_property
    def side_words(self) -> frozenset[str]:
        """Words that name a side."""
        return frozenset(self._side_words)

    def side_of(self, word: str) -> Side | None:
        """The side that a word names."""
        return self._side_words.get(word)

    def is_finding(self, match: Match) -> bool:
        """Whether a name is first of all that of a finding."""
        return self.tree.concept(match.forms[0].concept).kind == "finding"

    def match(self, tokens: Sequence[Token], start: int) -> Match | None:
        """The longest name at ``start``; articles and side words inside it are passed over."""
        best: Match | None = None
        word = tokens[start].norm
        side = self._side_words.get(fold(word))
        longest = max(self._longest.get(w, 0) for w in (word, fold(word), side or word))
        if not longest:
            return None
        for variant in _VARIANTS:
            found = self._walk(tokens, start, longest, variant)
            if found is None or (best is not None and found.end <= best.end):
                continue
            if found.sides and self.is_finding(found):
                continue  # the side belongs to the place: "cyst of the right kidney"
            best = found
        return best

    def _walk(
        self, tokens: Sequence[Token], start: int, longest: int, variant: _Variant
    ) -> Match | None:
        parts: list[str] = []
        ends: list[tuple[int, int]] = []
        sides: list[Side] = []
        for at in range(start, len(tokens)):
            token = tokens[at]
            word = fold(token.norm)
            side = self._side_words.get(word)
            if len(parts) == longest:
                break
            if parts:
                if word in ("/", "'") or (variant.articles and word in _ARTICLES):
                    continue
                if variant.sides == "skip" and side is not None:
                    sides.append(side)
                    continue
                skips = variant.sides == "skip" and bool(sides) and word in _AND
                if skips and _side_follows(self, tokens, at):
                    continue
            if token.kind == "mark":
                break
            spelled = side if variant.sides == "spell" and side is not None else token.norm
            parts.append(spelled)
            ends.append((at + 1, len(sides)))
        for length in range(len(parts), 0, -1):
            text = join(parts[:length])
            forms = self._forms.get(text) or self._forms.get(fold(text))
            if forms and length == 1:
                forms = self._plausible(text, tokens[start], forms)
            if forms:
                end, count = ends[length - 1]
                return Match(end, forms, tuple(sides[:count]), text)
        return None

    def match_sided(self, tokens: Sequence[Token], start: int, both: bool) -> list[Match]:
        """Names that begin with a side which the text says elsewhere.

        "atrium, left" is the name "left atrium"; ``both`` (said before) reads "both atria" as
        the left and the right one. Empty if neither is the case.
        """
        for length in (3, 2, 1):
            part = tokens[start : start + length]
            if len(part) < length or any(token.kind != "word" for token in part):
                continue
            text = join([token.norm for token in part])
            end = start + length
            sides: list[Side] = ["left", "right"] if both else []
            if not both:
                end += end < len(tokens) and tokens[end].norm == ","
                side = self._side_words.get(fold(tokens[end].norm)) if end < len(tokens) else None
                sides, end = ([side] if side else []), end + 1
            found = [self._forms.get(f"{side} {text}") for side in sides]
            if found and all(found):
                return [
                    Match(end, forms, (), f"{side} {text}")
                    for side, forms in zip(sides, found)
                    if forms
                ]
        return []

    def _plausible(
        self, word: str, token: Token, forms: tuple[Form, ...]
    ) -> tuple[Form, ...] | None:
        """Forms of one word, without those that read a common word as a short or foreign name."""
        if fold(word) not in self._closed:
            return forms
        weak: tuple[str, ...] = ("abbreviation", "translation", "latin")
        if token.raw.isupper() and len(token.raw) > 1:
            weak = ("translation", "latin")
        return tuple(form for form in forms if form.source not in weak) or None


def _side_follows(lexicon: Lexicon, tokens: Sequence[Token], at: int) -> bool:
    following = [fold(token.norm) for token in tokens[at + 1 : at + 3]]
    if following and following[0] in _ARTICLES:
        following = following[1:]
    return bool(following) and lexicon.side_of(following[0]) is not None


def _words(text: str) -> list[str]:
    parts: list[str] = []
    for word in text.split(" "):
        if any(is_ideograph(c) for c in word):
            parts.extend(word)
        elif word:
            parts.append(word)
    return parts


def _variants(
    text: str, forms: tuple[Form, ...], tree: KnowledgeTree
) -> Iterator[tuple[str, tuple[Form, ...]]]:
    """Further spellings of a name: without accents, plurals that the tree does not list."""
    folded = fold(text)
    if folded != text:
        yield folded, forms
    named = tuple(form for form in forms if form.source in ("name", "synonym"))
    if named:
        plurals = tuple(
            form._replace(source="plural", side=form.side or _both(tree, form)) for form in named
        )
        yield normalise(pluralise(text)), plurals
    foreign = tuple(form for form in forms if form.source == "translation")
    if foreign and " " not in text:
        plurals = tuple(
            form._replace(source="plural", side=form.side or _both(tree, form)) for form in foreign
        )
        for form in foreign:
            for ending in _PLURALS.get(form.language, ()):
                yield text + ending, plurals
                yield folded + ending, plurals


def _both(tree: KnowledgeTree, form: Form) -> Side | None:
    return "both" if tree.concept(form.concept).side_rule == "paired" else None


@lru_cache(maxsize=4)
def lexicon_of(tree: KnowledgeTree) -> Lexicon:
    """The lexicon of ``tree``, made once."""
    return Lexicon(tree)
