"""Adverbs within a cue: "cannot be completely ruled out", "is therefore excluded"."""

from __future__ import annotations

from collections.abc import Sequence

from textseg3d.text.grammar.tokens import Token

_AUXILIARY = frozenset(("is", "are", "was", "were", "be", "been", "has", "have", "had", "can"))
_AUXILIARY |= {"cannot", "could", "may", "might", "not", "should", "must", "and", "can't"}
_PLAIN = frozenset(("therefore", "thus", "hence", "also", "now", "since", "again", "still", "yet"))
_PLAIN |= {"indeed", "thereby", "thankfully", "even"}
_KEPT = frozenset(("partially", "partly", "incompletely", "nearly", "largely", "barely", "hardly"))
_KEPT |= {"poorly", "scarcely", "possibly", "probably", "likely", "previously", "formerly"}
_KEPT |= {"surgically", "newly", "only", "presumably", "questionably", "initially", "early"}
_TOLD = frozenset(
    ("seen", "visible", "visualized", "visualised", "identified", "present", "detected")
)
_TOLD |= {"demonstrated", "found", "noted", "evident", "observed", "appreciated", "shown", "absent"}
_TOLD |= {"excluded", "ruled", "exclude", "rule", "resolved", "disappeared", "cleared", "gone"}
_TOLD |= {"suspected", "confirmed", "apparent", "discernible", "recognizable", "detectable"}
_TOLD |= {"possible", "negative", "removed", "resected", "be", "been", "not", "see", "identify"}


def without_adverbs(tokens: Sequence[Token]) -> list[Token]:
    """The tokens without adverbs that stand within a denial or a doubt and do not change it.

    Nor is "right away" a side, but for "on the right away from the hilum".
    """
    kept: list[Token] = []
    words = [token.norm for token in tokens] + ["", ""]
    for at, token in enumerate(tokens):
        soon = [n for n in (at - 1, at) if n >= 0 and words[n : n + 2] == ["right", "away"]]
        if soon and words[soon[0] + 2] != "from":
            continue
        if kept and kept[-1].norm in _AUXILIARY and _adverb(token):
            behind = at + 1
            while behind < len(tokens) and _adverb(tokens[behind]):
                behind += 1
            if behind < len(tokens) and tokens[behind].norm in _TOLD:
                continue
        kept.append(token)
    return kept


def _adverb(token: Token) -> bool:
    if token.norm in _PLAIN:
        return True
    return token.kind == "word" and token.norm.endswith("ly") and token.norm not in _KEPT
