"""Looking ahead in the items of a sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

from textseg3d.text.grammar.items import Item
from textseg3d.text.grammar.lexicon import Lexicon
from textseg3d.text.grammar.parts import Phrase

_TRANSPARENT = ("filler", "determiner", "attr", "count", "unknown", "be")


_SOUND = frozenset(("normal", "unremarkable", "intact", "spared", "preserved", "unaffected"))
_EARLIER = frozenset(("previously", "before", "earlier", "prior", "previous", "formerly"))
_EARLIER |= {"baseline", "initial", "initially"}
# Only with the word for an examination: "not seen in the first rib" is a denial.
_THEN = re.compile(
    r"\bago\b|\byesterday\b|\b(?:19|20)\d\d\b|\blast (?:year|month|week|time)\b"
    r"|\b(?:first|last|initial|outside|prior|previous|earlier|old|preoperative|admission)"
    r" (?:\w+ ){0,2}(?:cta?|mra?|mri|pet|scan|study|exam|examination|imaging|radiograph|film)\b"
    r"|\b(?:from|of|in) (?:january|february|march|april|may|june|july|august|september|october"
    r"|november|december)\b"
)


class Ahead:
    """What the items of a sentence hold behind a place.

    Attributes:
        items: the items.
        phrases: the phrases read so far.
        lexicon: what names mean.
    """

    items: list[Item]
    phrases: list[Phrase]
    lexicon: Lexicon

    def _next(self, at: int, skip: Sequence[str]) -> Item | None:
        for item in self.items[at + 1 :]:
            if item.kind not in skip:
                return item
        return None

    def _name_follows(self, at: int) -> bool:
        for item in self.items[at + 1 :]:
            if item.kind in ("mention", "generic", "tail"):
                return True
            if item.kind == "but":
                return False
        return False

    def _finding_follows(self, at: int) -> bool:
        """Whether the next name, behind its describing words, is that of a finding."""
        following = self._next(
            at, ("filler", "attr", "determiner", "size", "count", "order", "side")
        )
        named = following is not None and following.kind == "mention"
        if following is None or not named:
            return following is not None and following.kind == "generic"
        return self.lexicon.is_finding(following.value)

    def _only_size_follows(self, at: int) -> bool:
        kinds = {item.kind for item in self.items[at + 1 :]}
        return "size" in kinds and not kinds & {"mention", "generic"}

    def _change_follows(self, at: int) -> bool:
        following = self._next(at, _TRANSPARENT)
        return following is not None and following.kind == "change"

    def _sound_follows(self, at: int) -> bool:
        """Whether nothing but "normal" is said behind a place."""
        return any(not _SOUND.isdisjoint(i.text.lower().split(" ")) for i in self.items[at + 1 :])

    def _before_follows(self, at: int) -> bool:
        """Whether what follows speaks of an earlier examination: "on the prior CT"."""
        following = self._next(at, ("filler", "in"))
        word = following.text.lower().split(" ")[0] if following is not None else ""
        behind = takewhile(lambda i: i.kind not in ("comma", "but", "stop"), self.items[at + 1 :])
        return word in _EARLIER or bool(_THEN.search(" ".join(i.text.lower() for i in behind)))

    def _list_ahead(self) -> bool:
        """Whether the list that is being read ends in "or"."""
        seen = sum(1 for phrase in self.phrases for _ in phrase.mentions)
        for item in self.items:
            if item.kind in ("mention", "generic"):
                seen -= 1
            if seen < 0 and item.kind in ("but", "neg_pre", "stop", "exclude"):
                return False
            if seen < 0 and item.kind == "or":
                return True
        return False
