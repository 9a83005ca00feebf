"""Surface forms: how names are normalised, pluralised, split from their side, and indexed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from textseg3d.errors import PromptError
from textseg3d.text.knowledge.concept import Concept, Side

SIDE_WORDS: dict[str, Side] = {
    **dict.fromkeys(("left", "l", "lt", "lft", "lh", "leftsided"), "left"),
    **dict.fromkeys(("sinister", "sinistra", "sinistrum"), "left"),
    **dict.fromkeys(("right", "r", "rt", "rgt", "rh", "rightsided"), "right"),
    **dict.fromkeys(("dexter", "dextra", "dextrum"), "right"),
    **dict.fromkeys(("both", "bilateral", "bilat", "bilaterally"), "both"),
}
_FILLERS = frozenset(("sided", "side", "the", "on", "of", "and"))
_SPELLINGS = {
    "haem": "hem",
    "oedema": "edema",
    "oesoph": "esoph",
    "tumour": "tumor",
    "caec": "cec",
    "anaem": "anem",
    "ischaem": "ischem",
    "fibre": "fiber",
    "centre": "center",
    "grey": "gray",
    "foet": "fet",
    "leuk": "leuc",
    "aneurism": "aneurysm",
    "coeliac": "celiac",
    "goitre": "goiter",
    "disk": "disc",
}
_BRITISH = re.compile("|".join(_SPELLINGS))
# Every spelling has one of these parts: most names have none, and need no regular expression.
_BRITISH_PARTS = ("ae", "oe", "mour", "bre", "tre", "gre", "leuk", "ism", "disk")
_SEPARATORS = re.compile(r"[\s_\-‐‑–—/,;:()\[\].]+")
_POSSESSIVE = re.compile("['’]s\\b")
_IRREGULAR = {
    "vertebra": "vertebrae",
    "phalanx": "phalanges",
    "metastasis": "metastases",
    "stenosis": "stenoses",
    "diverticulum": "diverticula",
    "bronchus": "bronchi",
    "uterus": "uteri",
    "thrombus": "thrombi",
    "embolus": "emboli",
    "calculus": "calculi",
    "ganglion": "ganglia",
    "foramen": "foramina",
    "bursa": "bursae",
    "fossa": "fossae",
    "sulcus": "sulci",
    "gyrus": "gyri",
    "nucleus": "nuclei",
    "meniscus": "menisci",
    "biceps": "biceps",
    "triceps": "triceps",
    "quadriceps": "quadriceps",
    "foot": "feet",
    "tooth": "teeth",
    "bulla": "bullae",
    "septum": "septa",
    "atrium": "atria",
    "ostium": "ostia",
    "cortex": "cortices",
    "hilum": "hila",
    "crus": "crura",
    "pelvis": "pelves",
    "testis": "testes",
    "focus": "foci",
    "apex": "apices",
    "ductus": "ductus",
    "varix": "varices",
    "sclerosis": "scleroses",
    "lens": "lenses",
    "calyx": "calyces",
    "parenchyma": "parenchyma",
}
SOURCES = (
    "name",
    "plural",
    "synonym",
    "abbreviation",
    "latin",
    "label",
    "adjective",
    "translation",
)


class Form(NamedTuple):
    """What one surface form stands for.

    ``side`` is set where the form itself carries it ("LLL", "kidneys", "middle lobe"); ``source``
    is one of ``SOURCES``; ``language`` is "en", "la" or a key of ``Concept.translations``.
    """

    concept: str
    side: Side | None
    source: str
    language: str = "en"


def normalise(text: str) -> str:
    """Lower case, single spaces, no separators or possessives, American spelling."""
    text = text.casefold()
    if not text.replace(" ", "").isalnum() or "  " in text or text != text.strip():
        text = _SEPARATORS.sub(" ", _POSSESSIVE.sub("", text)).strip()
    if any(part in text for part in _BRITISH_PARTS):
        text = _BRITISH.sub(lambda match: _SPELLINGS[match[0]], text)
    return text


def pluralise(term: str) -> str:
    """English plural of a term; the head is the word before "of", "in", "to" or "with".

    >>> pluralise("lower lobe of lung"), pluralise("artery")
    ('lower lobes of lung', 'arteries')
    """
    words = term.split(" ")
    head = len(words) - 1
    for position, word in enumerate(words[1:], 1):
        if word in ("of", "in", "to", "with", "for", "from", "between"):
            head = position - 1
            break
    words[head] = _plural_word(words[head])
    return " ".join(words)


@lru_cache(maxsize=8192)
def _plural_word(word: str) -> str:
    lower = word.lower()
    if lower in _IRREGULAR:
        return _IRREGULAR[lower]
    if lower == "i":  # "rib I": no plural, which would be "rib is"
        return word
    if lower.endswith(("s", "x", "z", "ch", "sh")):
        return (
            word if lower.endswith("s") and not lower.endswith(("ss", "us", "is")) else word + "es"
        )
    if lower.endswith("y") and lower[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def split_sides(text: str) -> tuple[Side | None, str]:
    """Side words taken out of a normalised text, and what is left.

    "left and right kidney" means both. ``text`` must come from ``normalise``.

    Raises:
        PromptError: for left and right together without "and" ("left right kidney").
    """
    words = text.split(" ")
    found = {SIDE_WORDS[word] for word in words if word in SIDE_WORDS}
    if not found:
        return None, text
    rest = [word for word in words if word not in SIDE_WORDS and word not in ("sided", "side")]
    while rest and rest[0] in _FILLERS:
        rest.pop(0)
    while rest and rest[-1] in _FILLERS:
        rest.pop()
    if {"left", "right"} <= found:
        if "and" not in words:
            raise PromptError(
                f"got both left and right in {text!r}; name one side, or write 'left and right'"
            )
        return "both", " ".join(rest)
    return ("both" if "both" in found else found.pop()), " ".join(rest)


def concept_forms(concept: Concept) -> Iterator[tuple[str, Form]]:
    """Every surface form of a concept, as (normalised text, form)."""
    name, fixed = concept.name, concept.fixed_side
    both: Side | None = "both" if concept.side_rule == "paired" else fixed
    group = concept.plural == name
    yield normalise(name), Form(name, both if group else fixed, "name")
    if not group:
        yield normalise(concept.plural or pluralise(name)), Form(name, both, "plural")
    plurals = _plurals(concept)
    for synonym in concept.synonyms:
        text, plural = normalise(synonym), normalise(pluralise(synonym))
        if text in plurals:
            yield text, Form(name, both, "plural")
            continue
        yield text, Form(name, both if group and text == plural else fixed, "synonym")
        if plural != text:
            yield plural, Form(name, both, "plural")
    for abbreviation in concept.abbreviations:
        yield normalise(abbreviation), Form(name, fixed, "abbreviation")
    yield from _sided_forms(concept)
    if concept.latin:
        yield normalise(concept.latin), Form(name, fixed, "latin", "la")
    for adjective in concept.adjectives:
        yield normalise(adjective), Form(name, fixed, "adjective")
    for language, terms in concept.translations.items():
        for term in terms:
            yield normalise(term), Form(name, fixed, "translation", language)


def _plurals(concept: Concept) -> frozenset[str]:
    """Plurals of a concept's names: "femurs", and "laminae" of "laminae of vertebra"."""
    found = set()
    for term in (concept.name, *concept.synonyms):
        plural = normalise(pluralise(term))
        if plural != normalise(term):
            found.add(plural)
    if concept.plural and concept.plural != concept.name:
        found |= {normalise(concept.plural), normalise(concept.plural.split(" of ")[0])}
    return frozenset(found)


def _sided_forms(concept: Concept) -> Iterator[tuple[str, Form]]:
    sides: tuple[Side, ...] = ("left", "right")
    for side in sides:
        if concept.fixed_side not in (None, side) or not concept.allows(side):
            continue
        templates = concept.sided_synonyms
        if concept.sided_name:
            templates = (concept.sided_name, *templates)
        for template in templates:
            yield normalise(template.format(side=side)), Form(concept.name, side, "synonym")
        for text in concept.sided_forms.get(side, ()):
            source = "abbreviation" if text.isupper() and " " not in text else "synonym"
            yield normalise(text), Form(concept.name, side, source)


def build_index(concepts: Iterable[Concept]) -> dict[str, tuple[Form, ...]]:
    """All surface forms of ``concepts``; forms of one text are ordered as in ``SOURCES``."""
    index: dict[str, list[Form]] = {}
    for concept in concepts:
        for text, form in concept_forms(concept):
            index.setdefault(text, []).append(form)
    rank = {source: position for position, source in enumerate(SOURCES)}
    return {text: _unique(forms, rank) for text, forms in index.items()}


def _unique(forms: list[Form], rank: dict[str, int]) -> tuple[Form, ...]:
    if len(forms) == 1:
        return (forms[0],)
    forms.sort(key=lambda form: rank[form.source])
    kept: dict[str, Form] = {}
    for form in forms:
        kept.setdefault(form.concept, form)
    return tuple(kept.values())


def bag(text: str) -> frozenset[str]:
    """The words of a normalised text without order and fillers, for labels such as "lobe_lower"."""
    return frozenset(word for word in text.split(" ") if word not in _FILLERS)
