"""Words that say of a structure that nothing is wrong with it: "patent", "normal in size", "nl"."""

from __future__ import annotations

import re
from collections.abc import Sequence

from textseg3d.text.grammar.items import Item
from textseg3d.text.grammar.lexicon import Lexicon

# What a structure may be called; "stable" and "unchanged" say nothing new of it either.
_CORE = frozenset(
    (
        "normal",
        "normally",
        "nl",
        "wnl",
        "unremarkable",
        "intact",
        "preserved",
        "patent",
        "clear",
        "unaffected",
        "spared",
        "uninvolved",
        "healthy",
        "unobstructed",
        "aerated",
        "uneventful",
        "fine",
        "ok",
        "okay",
        "congruent",
        "perfused",
        "homogeneous",
        "homogeneously",
        "midline",
        "central",
        "undilated",
        "nondilated",
        "non-dilated",
        "unenlarged",
        "nonenlarged",
        "non-enlarged",
        "symmetric",
        "symmetrical",
        "symmetrically",
        "maintained",
        "thin-walled",
        "smooth",
        "stable",
        "unchanged",
        "age-appropriate",
        "physiologic",
        "physiological",
        "nondistended",
        "pneumatized",
        "pneumatised",
        "opacified",
        "unharmed",
        "undisplaced",
        "anatomic",
    )
)
_ROUND = frozenset(
    (
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "being",
        "appear",
        "appears",
        "look",
        "looks",
        "remain",
        "remains",
        "seem",
        "seems",
        "show",
        "shows",
        "demonstrate",
        "demonstrates",
        "has",
        "have",
        "grossly",
        "entirely",
        "both",
        "all",
        "also",
        "completely",
        "overall",
        "essentially",
        "well",
        "of",
        "a",
        "an",
        "the",
        "in",
        "for",
        "age",
        "to",
        "and",
        "or",
        "as",
        "fully",
        "bilaterally",
        "still",
        "again",
        "with",
        "within",
        "otherwise",
        "visualized",
        "visualised",
        "imaged",
        "each",
    )
)
_TRAITS = frozenset(
    (
        "size",
        "sized",
        "caliber",
        "calibre",
        "contour",
        "contours",
        "attenuation",
        "density",
        "signal",
        "enhancement",
        "appearance",
        "position",
        "positioned",
        "morphology",
        "course",
        "limits",
        "thickness",
        "intensity",
        "opacification",
        "filling",
        "alignment",
        "aligned",
        "height",
        "configuration",
        "shape",
        "flow",
        "perfusion",
        "pattern",
        "margins",
        "outline",
        "uptake",
        "enhances",
        "enhance",
        "enhancing",
        "opacifies",
        "opacify",
        "fills",
        "distended",
        "seen",
        "perfused",
        "aerated",
    )
)
_DENIED = re.compile(
    r"\b(?:not|no longer) (?:enlarged|distended|displaced|involved|affected)\b"
    r"|\b(?:no|without) (?:focal |acute |other |any |significant )*(?:abnormality|abnormalities)\b"
    r"|\bwell (?:seen|distended|aerated|perfused|opacified|pneumatized|aligned|positioned)\b"
    r"|\bnothing (?:of note|abnormal)\b|\bthin - walled\b|\bthin walled\b|\bage appropriate\b"
    r"|\bnon dilated\b|\bnon enlarged\b|\bnon distended\b|\bnon displaced\b"
)


def only_sound(clause: Sequence[Item], lexicon: Lexicon) -> bool:
    """Whether a clause names structures and says behind them only that they are well."""
    last = max((at for at, i in enumerate(clause) if _structure(i, lexicon)), default=-1)
    if last < 0:
        return False
    named = ("side", "determiner", "filler", "and", "or", "count")
    if any(i.kind not in named and not _structure(i, lexicon) for i in clause[:last]):
        return False
    said = " ".join(item.text.lower() for item in clause[last + 1 :])
    words = _DENIED.sub("normal", said).split()
    known = all(word in _CORE or word in _ROUND or word in _TRAITS for word in words)
    return known and not _CORE.isdisjoint(words)


def _structure(item: Item, lexicon: Lexicon) -> bool:
    return item.kind == "mention" and not lexicon.is_finding(item.value)
