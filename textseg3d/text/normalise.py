"""The one normal form of a text, used by encoders and the embedding bank alike."""

from __future__ import annotations

import re
import unicodedata

_DASHES = dict.fromkeys(map(ord, "‐‑‒–—―−"), "-")
_QUOTES = {**dict.fromkeys(map(ord, "‘’‚′`"), "'"), **dict.fromkeys(map(ord, "“”„″"), '"')}
_SPACES = re.compile(r"[\s_]+")


def normalise_text(text: str) -> str:
    """``text`` in Unicode NFKC, lower case, single spaces, plain dashes and quotes.

    Underscores count as spaces ("kidney_left"); control characters and a full stop, comma,
    colon or semicolon at the end are dropped. Applying it twice changes nothing.
    """
    previous = None
    while text != previous:  # NFKC can yield new capitals and marks after lower-casing
        previous = text
        text = unicodedata.normalize("NFKC", text).lower().translate(_DASHES).translate(_QUOTES)
        text = "".join(c for c in text if c.isspace() or unicodedata.category(c) not in _DROPPED)
        text = _SPACES.sub(" ", text).strip().rstrip(".,;: ")
    return text


_DROPPED = frozenset({"Cc", "Cf", "Cs"})
