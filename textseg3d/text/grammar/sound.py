"""Words that say of a structure that nothing is wrong with it: "patent", "normal in size", "nl"."""

from __future__ import annotations

import re
from collections.abc import Sequence

from textseg3d.text.grammar.items import Item
from textseg3d.text.grammar.lexicon import Lexicon
from textseg3d.text.grammar.words import read_tables

# What a structure may be called ("stable" says nothing new of it either), what stands around
# that, and what is called so.
_WORDS = read_tables("sound")["words"]
_CORE = frozenset(_WORDS["sound"])
_ROUND = frozenset(_WORDS["around"])
_TRAITS = frozenset(_WORDS["traits"])
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
