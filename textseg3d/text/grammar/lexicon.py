"""The knowledge tree's names as a longest-match lexicon over tokens."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache, partial
from typing import NamedTuple

from textseg3d.text.grammar import canon, stored, words
from textseg3d.text.grammar.index import NO_NAME, CanonicalIndex, both_if_paired
from textseg3d.text.grammar.phrases import cue_table, cue_words
from textseg3d.text.grammar.stored import Content
from textseg3d.text.grammar.tokens import Token, fold, is_ideograph, join
from textseg3d.text.knowledge import Form, KnowledgeTree, Side, load_tree, normalise
from textseg3d.text.knowledge.forms import pluralise

_IDEOGRAPH = re.compile("[\u3400-\u9fff]")
_ARTICLES = frozenset(("the", "a", "an", "his", "her", "their", "this", "that", "its"))
_LONGEST = 9
_DANGLING = frozenset(("with", "without", "of", "in", "on", "at", "and", "or", "to", "by", "for"))
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
        self._side_words, self._closed = _closed_words()
        self._forms: dict[str, tuple[Form, ...]] = dict(tree.forms)
        for text, forms in tree.forms.items():
            for extra, meant in _variants(text, forms, tree):
                self._forms.setdefault(extra, meant)
        self._short_plurals = set(self._plural_abbreviations())
        self._canonical = CanonicalIndex(tree, self._forms)
        self._longest: dict[str, int] = {}
        for text in self._forms:
            parts = _words(text)
            if parts:
                self._longest[parts[0]] = max(self._longest.get(parts[0], 0), len(parts))

    @classmethod
    def of_content(cls, tree: KnowledgeTree, content: Content) -> Lexicon:
        """The lexicon of which :meth:`content` was stored; gives the tree its forms, too."""
        tables = stored.tables_of(content)
        tree.__dict__["forms"] = tables["tree"]  # what its cached property would make
        lexicon = cls.__new__(cls)
        lexicon.tree, lexicon._forms = tree, tables["forms"]
        lexicon._side_words, lexicon._closed = _closed_words()
        lexicon._longest, lexicon._short_plurals, known = content["lexicon"]
        lexicon.__dict__["vocabulary"] = known
        lexicon._canonical = CanonicalIndex.of_content(tree, tables, content)
        return lexicon

    def content(self) -> Content:
        """All that took long to make, as plain values."""
        tables = {"tree": self.tree.forms, "forms": self._forms, **self._canonical.tables()}
        known = (self._longest, self._short_plurals, self.vocabulary)
        return {**stored.content_of(tables), **self._canonical.content(), "lexicon": known}

    def _plural_abbreviations(self) -> Iterator[str]:
        """Adds "ICAs" and "SVs"; such words count only where they are written like this."""
        for text, forms in list(self._forms.items()):
            short = tuple(f for f in forms if f.source == "abbreviation" and f.side is None)
            if short and 2 <= len(text) <= 5 and text.isalpha() and f"{text}s" not in self._forms:
                self._forms[f"{text}s"] = tuple(
                    f._replace(source="plural", side=both_if_paired(self.tree, f)) for f in short
                )
                yield f"{text}s"

    def get(self, text: str) -> tuple[Form, ...]:
        """The forms of a whole name."""
        return self._forms.get(text, ())

    def named(self, text: str) -> tuple[Form, ...]:
        """The forms of a whole name, also in other words."""
        return self._forms.get(text, ()) or self.same_as(text)

    def same_as(self, text: str) -> tuple[Form, ...]:
        """The forms of a name that says the same as ``text`` in other words."""
        return self._canonical.get([fold(word) for word in text.split(" ")])

    def is_tail(self, word: str) -> bool:
        """Whether findings are named by a place and this word ("hyperplasia" of the adrenal)."""
        return self._canonical.is_tail(word)

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """Every word of every name and of every closed-class phrase, without accents."""
        names = {fold(word) for text in self._forms for word in _words(text)}
        return frozenset(names | cue_words() | words.COMMON | words.THINGS | canon.known_words())

    @cached_property
    def english(self) -> frozenset[str]:
        """As ``vocabulary``, without the words of names in other languages alone."""
        names = {
            fold(word)
            for text, forms in self._forms.items()
            if any(form.language in ("en", "la") for form in forms)
            for word in _words(text)
        }
        return frozenset(names | cue_words() | words.COMMON | words.THINGS | canon.known_words())

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
        for variant in _VARIANTS if longest else ():
            found = self._walk(tokens, start, longest, variant)
            if found is None or (best is not None and found.end <= best.end):
                continue
            if found.sides and self.is_finding(found):
                continue  # the side belongs to the place: "cyst of the right kidney"
            best = found
        other = self._otherwise(tokens, start, best.end if best is not None else start + 1)
        return other or best

    def _otherwise(self, tokens: Sequence[Token], start: int, beyond: int) -> Match | None:
        """A name in other words that reaches further than ``beyond``."""
        first = fold(tokens[start].norm)
        known = self._side_words.get(first) is not None or self._canonical.begins(first)
        if not known and not self._short.get(first):
            return None
        if tokens[start].kind == "number" and not _word_follows(tokens, start):
            return None  # no name begins with two numbers
        words: list[str] = []
        sides: list[tuple[int, Side]] = []
        carried: list[tuple[int, Side]] = []
        for at in range(start, min(len(tokens), start + _LONGEST)):
            word = fold(tokens[at].norm)
            if tokens[at].kind == "mark":
                if word in ("'", ".") and at + 1 < len(tokens):
                    words.append("")
                    continue
                break
            side = self._side_words.get(word)
            short = self._short.get(word)
            if side is not None:
                sides.append((at - start, side))
            elif short is not None:
                word, said = short
                carried += [(at - start, said)] if said is not None else []
            elif side is None and not self._canonical.knows(word):
                break
            words.append(word)
        for end in range(len(words), max(beyond - start, 1), -1):
            part = words[:end]
            if part[-1] in _DANGLING:
                continue  # the "with" of "tension pneumothorax with" is not that of the name
            pairs = [pair for pair in sides if pair[0] < end]
            inside = [said for at, said in carried if at < end]
            found = self._said(part, pairs)
            if found is not None and inside:
                found = _carrying(found, inside[0]) if len(inside) == 1 else None
            if found is None or self._elsewhere(found, part):
                continue
            if not self._cuts(tokens, start, part):
                return found._replace(end=start + end)
        return None

    @cached_property
    def _short(self) -> dict[str, tuple[str, Side | None]]:
        """Abbreviations of structures, spelled out, with the side that they carry ("RLL")."""
        short: dict[str, tuple[str, Side | None]] = {}
        for text, forms in self._forms.items():
            if " " in text or text in self._closed or not 2 <= len(text) <= 5:
                continue
            form = forms[0]
            concept = self.tree.concept(form.concept)
            sided = form.side in ("left", "right") and form.side is not None
            if form.source == "abbreviation" and concept.kind == "anatomy" and len(forms) == 1:
                name = concept.name.lower().removesuffix(" of lung")
                short[text] = name, form.side if sided else None
        return short

    def _cuts(self, tokens: Sequence[Token], start: int, words: list[str]) -> bool:
        """Whether the place at the end goes on: "lesion in the pancreatic" of "pancreatic head"."""
        at = max((at for at, word in enumerate(words) if word in canon.PLACING), default=None)
        if at is None:
            return False
        while at < len(words) - 1 and words[at] in NO_NAME:
            at += 1
        if words[at] in self._side_words and at < len(words) - 1:
            place = self.match(tokens, start + at)  # "hemorrhage of the left lobe" of the liver
            if place is not None and place.end > start + len(words):
                return True
            at += 1
        place = self.match(tokens, start + at)
        return place is not None and place.end > start + len(words)

    def _elsewhere(self, found: Match, words: list[str]) -> bool:
        """Whether a finding cannot lie where the words say: "stenosis of the uterine cervix"."""
        own = self.tree.concept(found.forms[0].concept)
        if own.kind != "finding" or not canon.PLACING & set(words) or not own.containers:
            return False
        at = max(at for at, word in enumerate(words) if word in canon.PLACING)
        rest = [word for word in words[at + 1 :] if word not in NO_NAME]
        forms = self._forms.get(" ".join(rest), ())
        if not forms:
            rest = [word for word in rest if word not in self._side_words]
            forms = self._forms.get(" ".join(rest), ())
        places = [form.concept for form in forms if form.source != "adjective"]
        if not places or self.tree.concept(places[0]).kind == "finding":
            return False
        around = {places[0], *(whole.concept for whole in self.tree.ancestors(places[0]))}
        return not any(
            name in around or places[0] in {w.concept for w in self.tree.ancestors(name)}
            for name in own.containers
        )

    def _said(self, words: list[str], sides: list[tuple[int, Side]]) -> Match | None:
        """The name that ``words`` are in other words, with their sides spelled or left out."""
        if words[-1] in canon.PLACING or words[-1] in ("the", "an", "") or "" in words[1:-1]:
            return None
        if not sides:
            words = [part for word in words for part in word.split(" ")]
        at_sides = dict(sides)
        spelled = [at_sides.get(at, word) for at, word in enumerate(words)]
        forms = self._canonical.get([str(word) for word in spelled])
        inside = forms and {"in", "within"} & set(words)
        own = self.tree.concept(forms[0].concept) if inside else None
        if own is not None and own.kind != "finding" and own.category != "tooth":
            return None  # a lymph node in the mediastinum is a thing and its place
        if forms and (not sides or not all(form.side is None for form in forms)):
            return Match(0, forms, (), " ".join(map(str, spelled)))
        if len(sides) != 1 or sides[0][0] in (0, len(words) - 1):
            return None  # a side in front is read on its own
        rest = [word for at, word in enumerate(words) if at not in at_sides]
        forms = self._canonical.get(rest) if len(rest) > 1 else ()
        forms = tuple(form for form in forms if form.side in (None, "both"))
        return Match(0, forms, (sides[0][1],), " ".join(rest)) if forms else None

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
        if word in self._short_plurals and not token.raw[:-1].isupper():
            return None
        if fold(word) not in self._closed:
            return forms
        weak: tuple[str, ...] = ("abbreviation", "translation", "latin")
        if token.raw.isupper() and len(token.raw) > 1:
            weak = ("translation", "latin")
        return tuple(form for form in forms if form.source not in weak) or None


def _carrying(match: Match, side: Side) -> Match | None:
    """``match`` with the side of an abbreviation inside it; None if it cannot have that side."""
    forms = tuple(form for form in match.forms if form.side in (None, "both", side))
    return match._replace(forms=forms, sides=(*match.sides, side)) if forms else None


def _word_follows(tokens: Sequence[Token], at: int) -> bool:
    return at + 1 < len(tokens) and tokens[at + 1].kind == "word"


def _side_follows(lexicon: Lexicon, tokens: Sequence[Token], at: int) -> bool:
    following = [fold(token.norm) for token in tokens[at + 1 : at + 3]]
    if following and following[0] in _ARTICLES:
        following = following[1:]
    return bool(following) and lexicon.side_of(following[0]) is not None


def _words(text: str) -> list[str]:
    if text.isascii() or _IDEOGRAPH.search(text) is None:  # nearly always; there are 80,000
        return [word for word in text.split(" ") if word]
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
            form._replace(source="plural", side=form.side or both_if_paired(tree, form))
            for form in named
        )
        yield normalise(pluralise(text)), plurals
    short = tuple(form for form in forms if form.source == "abbreviation" and form.side is None)
    if short and len(text) > 1 and " " not in text:
        for form in short:
            if tree.concept(form.concept).side_rule == "paired":  # "LICA"
                yield f"l{text}", (form._replace(side="left"),)
                yield f"r{text}", (form._replace(side="right"),)
    foreign = tuple(form for form in forms if form.source == "translation")
    if foreign and " " not in text:
        plurals = tuple(
            form._replace(source="plural", side=form.side or both_if_paired(tree, form))
            for form in foreign
        )
        for form in foreign:
            for ending in _PLURALS.get(form.language, ()):
                yield text + ending, plurals
                yield folded + ending, plurals


def _closed_words() -> tuple[dict[str, Side], frozenset[str]]:
    """Words that name a side, with that, and all words that are no names."""
    cues = [(key[0], cue) for key, cue in cue_table().values.items() if len(key) == 1]
    sides = {word: cue.value for word, cue in cues if cue.kind == "side"}
    return sides, words.COMMON | {word for word, _ in cues}


@lru_cache(maxsize=4)
def lexicon_of(tree: KnowledgeTree) -> Lexicon:
    """The lexicon of ``tree``, made once; that of the bundled tree is kept on disk."""
    collecting = gc.isenabled()
    gc.disable()  # of the many objects that are made now none is garbage: a third of the time
    try:
        if tree is not load_tree():
            return Lexicon(tree)
        found = stored.load(partial(Lexicon.of_content, tree))
        if found is None:
            found = Lexicon(tree)
            stored.save(found.content())
        return found
    finally:
        if collecting:
            gc.enable()
