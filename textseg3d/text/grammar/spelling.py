"""Spelling: unknown words are read as the one known word within a small edit distance.

Words of 5 to 7 letters may differ by one edit (insertion, deletion, substitution, or two
neighbours swapped), longer ones by two. A side word is never the result of a guess: only swapped
or doubled letters ("rigth", "lefft") are read as one, and a word that merely resembles a side
word ("lecft", "riht") is reported as unclear, because a lost side is a wrong mask. A word that
denies ("without", "excludes") is guessed from one edit at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from textseg3d.text.grammar.lexicon import Lexicon
from textseg3d.text.grammar.model import Correction
from textseg3d.text.grammar.phrases import cue_table, cue_words
from textseg3d.text.grammar.tokens import Token, fold, join

_MAX_UNKNOWN = 12
_MAX_WORD = 40
_ENDINGS = (
    "able",
    "ed",
    "ible",
    "ing",
    "ings",
    "ization",
    "isation",
    "ized",
    "ised",
    "ability",
    "like",
)
_ENGLISH_SIDES = ("left", "right", "both", "bilateral")


class Spelling(NamedTuple):
    """The outcome: tokens with corrections applied, what was corrected, and what is unclear."""

    tokens: list[Token]
    corrections: tuple[Correction, ...]
    ambiguous: tuple[tuple[str, tuple[str, ...]], ...]
    side_like: tuple[tuple[str, str], ...]


def edit_distance(one: str, other: str, limit: int) -> int:
    """Edits (with swaps of neighbours) between two words, or ``limit + 1`` if there are more.

    >>> edit_distance("kidny", "kidney", 2), edit_distance("panceras", "pancreas", 2)
    (1, 1)
    """
    if abs(len(one) - len(other)) > limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        new = [i]
        for j, b in enumerate(other, 1):
            cost = min(row[j] + 1, new[j - 1] + 1, row[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, before[j - 2] + 1)
            new.append(cost)
        if min(new) > limit:
            return limit + 1
        before, row = row, new
    return min(row[-1], limit + 1)


def _letters(word: str) -> int:
    mask = 0
    for letter in word:
        mask |= 1 << (ord(letter) & 31)
    return mask


class Speller:
    """Candidates for unknown words of one lexicon."""

    def __init__(self, lexicon: Lexicon, english: bool = False) -> None:
        self.lexicon = lexicon
        self._by_length: dict[int, list[tuple[str, int]]] = {}
        known = lexicon.english if english else lexicon.vocabulary
        for word in known - lexicon.side_words:
            if len(word) >= 4 and word.isalpha():
                self._by_length.setdefault(len(word), []).append((word, _letters(word)))
        self._cache: dict[str, tuple[str, ...]] = {}

    def candidates(self, word: str) -> tuple[str, ...]:
        """The nearest known words within the limit, all at the same distance."""
        if word in self._cache:
            return self._cache[word]
        limit = 2 if len(word) >= 8 else 1
        letters, nearest = _letters(word), limit
        found: list[str] = []
        for length in range(len(word) - limit, len(word) + limit + 1):
            for known, mask in self._by_length.get(length, ()):
                if (letters ^ mask).bit_count() > 2 * nearest:
                    continue
                distance = edit_distance(word, known, nearest)
                if distance < nearest or (distance == nearest and not found):
                    nearest, found = distance, [known]
                elif distance == nearest:
                    found.append(known)
        if len(self._cache) > 2000:
            self._cache.clear()
        self._cache[word] = tuple(sorted(found))
        return self._cache[word]

    def tier(self, word: str) -> int:
        """3 for a whole name (2 in another language), 1 for a part of one, 0 for other words."""
        forms = self.lexicon.get(word)
        if forms:
            return 3 if any(form.language in ("en", "la") for form in forms) else 2
        return 0 if word in cue_words() else 1


@lru_cache(maxsize=4)
def speller_of(lexicon: Lexicon, english: bool = False) -> Speller:
    """The speller of ``lexicon``, made when a word is unknown for the first time."""
    return Speller(lexicon, english)


def correct(tokens: Sequence[Token], lexicon: Lexicon, *, english: bool = False) -> Spelling:
    """Reads unknown words as known ones where exactly one concept is near.

    Args:
        tokens: the words as written.
        lexicon: the names.
        english: whether words that only names in other languages have count as unknown.
    """
    vocabulary = lexicon.english if english else lexicon.vocabulary
    unknown = [
        at
        for at, token in enumerate(tokens)
        if token.kind == "word"
        and fold(token.norm) not in vocabulary
        and 3 <= len(token.norm) <= _MAX_WORD
        and fold(token.norm).isalpha()
        and fold(token.norm).isascii()
        and not _derived(fold(token.norm), vocabulary)
    ]
    result = list(tokens)
    shouted = not any(t.raw.islower() and len(t.raw) > 2 for t in tokens if t.kind == "word")
    corrections, ambiguous, side_like = [], [], []
    for at in unknown[:_MAX_UNKNOWN]:
        word = fold(tokens[at].norm)
        side, certain = _side_typo(word)
        if side is not None and not certain:
            side_like.append((tokens[at].raw, side))
            continue
        if side is not None:
            choices: tuple[str, ...] = (side,)
        elif len(word) < 4 or (tokens[at].raw.isupper() and not shouted):
            continue  # "HASTE" is an abbreviation
        elif len(word) == 4:
            near = speller_of(lexicon, english).candidates(word)
            choices = _fitting(near, result, at, lexicon)
        else:
            choices = speller_of(lexicon, english).candidates(word)
            choices = tuple(c for c in choices if not _denies(c) or edit_distance(word, c, 1) <= 1)
            choices = _narrow(choices, result, at, lexicon)
        if fold(tokens[at].raw.lower()) in choices:
            continue  # right as it was written: "leukemia", whose norm is "leucemia"
        if len(choices) == 1:
            result[at] = tokens[at]._replace(norm=choices[0], raw=choices[0])
            corrections.append(Correction(tokens[at].raw, choices[0]))
        elif choices:
            ambiguous.append((tokens[at].raw, choices))
    return Spelling(result, tuple(corrections), tuple(ambiguous), tuple(side_like))


def _derived(word: str, vocabulary: frozenset[str]) -> bool:
    """Whether a word is a known one with a common ending: "drainable", "sizing"."""
    if word.endswith("ly") and (word[:-2] in vocabulary or word[:-4] in vocabulary):
        return True
    if word.startswith("mid") and len(word) > 6 and word[3:] in vocabulary:
        return True  # "midpoint"
    for ending in _ENDINGS:
        stem = word.removesuffix(ending)
        if stem != word and len(stem) >= 3:
            doubled = len(stem) > 4 and stem[-1] == stem[-2] and stem[:-1] in vocabulary
            if doubled and f"{stem[:-1]}{ending}" in vocabulary:
                continue  # "thickenning"
            if stem in vocabulary or f"{stem}e" in vocabulary or doubled:
                return True
    return False


@lru_cache(maxsize=1)
def _denying_words() -> frozenset[str]:
    cues = cue_table().values.items()
    kinds = ("neg_pre", "neg_post", "neg_any", "neg_attr", "without", "exclude")
    return frozenset(key[0] for key, cue in cues if len(key) == 1 and cue.kind in kinds)


def _denies(word: str) -> bool:
    return word in _denying_words()


def _side_typo(word: str) -> tuple[str | None, bool]:
    """The side word that ``word`` resembles, and whether it can be nothing else."""
    if len(word) < 3:
        return None, False
    for side in _ENGLISH_SIDES:
        if edit_distance(word, side, 1) == 1:
            swapped = len(word) >= 5 and sorted(word) == sorted(side)
            doubled = len(word) == len(side) + 1 and any(
                word == side[:i] + side[i] + side[i:] for i in range(len(side))
            )
            return side, swapped or doubled or len(side) > 8
    return None, False


def _narrow(
    choices: tuple[str, ...], tokens: Sequence[Token], at: int, lexicon: Lexicon
) -> tuple[str, ...]:
    """Of several near words, those that make a known name with their neighbours, if any."""
    if len(choices) < 2:
        return choices
    fitting = _fitting(choices, tokens, at, lexicon)
    if fitting:
        choices = fitting
    else:
        tiers = {choice: speller_of(lexicon).tier(choice) for choice in choices}
        best = max(tiers.values())
        choices = tuple(choice for choice in choices if tiers[choice] == best)
    if len(choices) == 1:
        return choices
    concepts = [{form.concept for form in lexicon.get(choice)} for choice in choices]
    same = all(concepts) and all(concept == concepts[0] for concept in concepts)
    return choices[:1] if same else choices


def _fitting(
    choices: tuple[str, ...], tokens: Sequence[Token], at: int, lexicon: Lexicon
) -> tuple[str, ...]:
    """Those of several words that make a known name with their neighbours; one per concept."""
    fitting: dict[frozenset[str], str] = {}
    for choice in choices:
        words = [token.norm for token in tokens[max(0, at - 2) : at]] + [choice]
        following = [token.norm for token in tokens[at + 1 : at + 3]]
        names = [
            join(words[first:] + following[:last])
            for first in range(len(words))
            for last in range(len(following) + 1)
            if len(words) - first + last > 1
        ]
        meant = frozenset(form.concept for name in names for form in lexicon.get(name))
        if meant:
            fitting.setdefault(meant, choice)
    return tuple(fitting.values())
