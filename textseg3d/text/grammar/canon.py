"""One spelling for names that say the same in other words.

"upper pole of the kidney", "renal upper pole" and "kidney's upper poles" have one canonical key:
words become roots ("renal" → "kidney", "narrowing" → "stenosis"), what follows "of" or "in" comes
first, participles come last ("thickened bladder wall" → "bladder wall thickening"), and words that
add nothing behind another one ("gland", "muscle") are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from textseg3d.text.grammar.words import read_tables

ARTICLES = frozenset(("the", "a", "an", "his", "her", "their", "this", "that", "its"))
PLACING = frozenset(("of", "in", "within"))
_PREFIXES = frozenset(
    (
        "intra",
        "extra",
        "peri",
        "para",
        "sub",
        "supra",
        "infra",
        "inter",
        "retro",
        "pre",
        "epi",
        "endo",
        "trans",
        "hemi",
        "hyper",
        "hypo",
        "micro",
        "macro",
        "pseudo",
        "neuro",
        "cardio",
        "costo",
        "aorto",
        "ileo",
        "gastro",
        "broncho",
    )
)
_PAIRS = {
    ("pelvis", "bone"): "bonypelvis",
    ("bone", "pelvis"): "bonypelvis",
    ("big", "toe"): "hallux",
    ("great", "toe"): "hallux",
    ("first", "toe"): "hallux",
    ("second", "finger"): "indexfinger",
    ("index", "finger"): "indexfinger",
    ("pointer", "finger"): "indexfinger",
    ("middle", "finger"): "midfinger",
    ("third", "finger"): "midfinger",
    ("long", "finger"): "midfinger",
    ("ring", "finger"): "ringfinger",
    ("fourth", "finger"): "ringfinger",
    ("little", "finger"): "littlefinger",
    ("small", "finger"): "littlefinger",
    ("fifth", "finger"): "littlefinger",
    ("littlefinger", "finger"): "littlefinger",
    ("fifth", "toe"): "littletoe",
    ("little", "toe"): "littletoe",
    ("small", "toe"): "littletoe",
    ("baby", "toe"): "littletoe",
    ("littlefinger", "toe"): "littletoe",
    ("gall", "bladder"): "gallbladder",
    ("lymph", "node"): "node",
    ("lymph", "gland"): "node",
    ("lymphatic", "node"): "node",
    ("urinary", "bladder"): "bladder",
    ("brain", "stem"): "brainstem",
    ("collar", "bone"): "clavicle",
    ("breast", "bone"): "sternum",
    ("shoulder", "blade"): "scapula",
    ("knee", "cap"): "patella",
    ("blood", "clot"): "thrombus",
    ("blood", "vessel"): "vessel",
    ("wind", "pipe"): "trachea",
    ("vertebra", "column"): "spine",
    ("spine", "column"): "spine",
}
_GREEK = ("oses", "physes", "theses", "stases", "lyses")  # "exostoses", "prostheses"
_LAST = {"a": "artery", "v": "vein", "n": "nerve", "m": "muscle", "bx": "biopsy"}
_ROMAN = {"i": "1", "ii": "2", "iii": "3", "iv": "4", "v": "5", "vi": "6", "vii": "7"}
_ROMAN |= {"viii": "8", "ix": "9", "x": "10", "xi": "11", "xii": "12", "iva": "4a", "ivb": "4b"}
_COUNTED = frozenset(("segment", "level", "couinaud", "zone", "station", "nerve", "rib", "cn"))


@lru_cache(maxsize=1)
def _tables() -> tuple[dict[str, str], frozenset[str], frozenset[str]]:
    """Words to roots; participles; words that may be dropped."""
    tables: dict[str, Any] = read_tables("equivalents")
    roots = {word: root for root, words in tables["roots"].items() for word in (root, *words)}
    return roots, frozenset(tables["participles"]), frozenset(tables["weak"])


def known_words() -> frozenset[str]:
    """Every word that the table of roots knows."""
    return frozenset(_tables()[0])


def joining_words() -> frozenset[str]:
    """Words that a key may have lost: prefixes, parts of pairs, short forms, dropped words."""
    pairs = {word for pair in _PAIRS for word in pair}
    _, participles, weak = _tables()
    return frozenset(pairs | _PREFIXES | _LAST.keys() | _ROMAN.keys() | participles | weak)


@lru_cache(maxsize=20000)
def root(word: str) -> str:
    """The root of a word without accents: "renal" and "kidneys" give "kidney"."""
    roots = _tables()[0]
    if word in roots:
        return roots[word]
    single = _singular(word)
    return roots.get(single, single)


def _singular(word: str) -> str:
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 7 and word.endswith(_GREEK):
        return word[:-2] + "is"
    if word.endswith(("xes", "ches", "shes", "sses")):
        return word[:-2]
    return word[:-1]


def singular(name: str) -> str:
    """A name with its last word in the singular."""
    front, _, last = name.rpartition(" ")
    return f"{front} {_singular(last)}" if front else _singular(last)


def is_plural(word: str) -> bool:
    """Whether a noun's form is a plural that the tables or the rules know."""
    own = root(word)
    regular = _singular(word) != word and word not in _tables()[0]
    return regular or (own != word and word in _irregular())


@lru_cache(maxsize=1)
def _irregular() -> frozenset[str]:
    endings = ("ae", "i", "a", "es", "s")
    roots, participles, _ = _tables()
    return frozenset(
        word
        for word, own in roots.items()
        if word.endswith(endings)
        and word != own
        and word not in participles
        and not word.endswith(("sis", "us", "ia", "ca", "ous", "art"))
    )


def canonical(words: Sequence[str]) -> str:
    """The canonical key of a name given as words without accents; "" for no word.

    >>> canonical("upper pole of the kidney".split()), canonical(["thickened", "gastric", "wall"])
    ('kidney upper pole', 'stomach wall thickening')
    """
    _, participles, weak = _tables()
    segments: list[list[str]] = [[]]
    late: list[str] = []
    count = len(words)
    prefix = ""
    for at, word in enumerate(words):
        if word in PLACING:
            segments.append([])
        elif word in ARTICLES and not (word == "a" and at == count - 1):
            continue
        elif word in _PREFIXES and at < count - 1:
            prefix = word
        elif word in participles:
            late.append(root(word))
        else:
            segments[-1].append(prefix + word if prefix else word)
            prefix = ""
    ordered = [word for segment in reversed(segments) for word in segment]
    keys: list[str] = []
    for at, word in enumerate(ordered):
        last = at == len(ordered) - 1
        if word in _ROMAN and keys and (keys[-1] in _COUNTED or _COUNTED & set(keys[-2:])):
            own = _ROMAN[word]
        else:
            own = _LAST[word] if word in _LAST and last and keys else root(word)
        pair = _PAIRS.get((keys[-1], own)) if keys else None
        if pair is not None:
            keys[-1] = pair
        elif not keys or own != keys[-1]:
            keys.append(own)
    keys += [word for word in late if word not in keys]
    kept = [key for at, key in enumerate(keys) if at == 0 or key not in weak]
    return " ".join(kept if len(kept) > 1 else keys)
