"""Text to tokens: words, numbers and marks, with their places in the text."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from textseg3d.text.knowledge import normalise

_TOKEN = re.compile(
    r"(?P<ordinal>\d+(?:st|nd|rd|th|[a-d])(?![^\W_]))"
    r"|(?P<number>\d+(?:[.,]\d+)*|(?<![\w.])[.,]\d+)"
    r"|(?P<ideograph>[\u3400-\u9fff])"
    r"|(?P<times>(?<=\d)x(?=\d))"
    r"|(?P<elision>\b[ld]['’](?=[^\W\d_]))"
    r"|(?P<word>[^\W\d_\u3400-\u9fff][^\W_\u3400-\u9fff]*(?:['’][st]\b)?)"
    r"|(?P<newline>\n+)"
    r"|(?P<mark><=|>=|[^\w\s]|_)",
    re.IGNORECASE,
)
_MARKS = {"–": "-", "—": "-", "−": "-", "‐": "-", "‑": "-", "≤": "<=", "≥": ">=", "\u2044": "/"}
_MARKS |= {"≦": "<=", "≧": ">=", "⩽": "<=", "⩾": ">=", "≈": "~", "×": "x", "*": "*", "、": ","}
_MARKS |= {"。": "."}


_FRACTIONS = {"½": ".5", "¼": ".25", "¾": ".75"}


class Token(NamedTuple):
    """A token.

    Attributes:
        kind: "word", "number" or "mark" (a line end is a mark too).
        norm: how it is looked up (case-folded, American spelling, no possessive).
        raw: as written.
        start: offset in the normalised text.
        end: offset behind it.
    """

    kind: str
    norm: str
    raw: str
    start: int
    end: int


def tokenise(text: str) -> list[Token]:
    """The tokens of ``text`` in NFKC form; ideographs are one token each.

    >>> [token.norm for token in tokenise("6mm nodule, LT. tumour")]
    ['6', 'mm', 'nodule', ',', 'lt', '.', 'tumor']
    """
    tokens = []
    text = re.sub(r"(?<=\d)·(?=\d)", ".", text.replace("->", "→").replace("=>", "→"))
    for sign, value in _FRACTIONS.items():
        text = re.sub(rf"(?<=\d)\s?{sign}", value, text).replace(sign, f"0{value}")
    for match in _TOKEN.finditer(unicodedata.normalize("NFKC", text)):
        kind, raw = match.lastgroup or "mark", match.group()
        if kind == "elision":  # French l' and d', not the side L
            continue
        if kind in ("ordinal", "ideograph"):
            kind, norm = "word", raw.lower()
        elif kind == "word":
            norm = normalise(raw) or raw.casefold()
        elif kind == "number":
            norm = raw
        else:
            kind, norm = "mark", "\n" if raw[0] == "\n" else _MARKS.get(raw, raw.lower())
        tokens.append(Token(kind, norm, raw, match.start(), match.end()))
    return tokens


def fold(word: str) -> str:
    """``word`` without accents: "riñón" gives "rinon"."""
    if word.isascii():
        return word
    decomposed = unicodedata.normalize("NFKD", word)
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def is_ideograph(word: str) -> bool:
    """Whether ``word`` is one ideograph, which is written without blanks around it."""
    return len(word) == 1 and "\u3400" <= word <= "\u9fff"


def join(words: list[str]) -> str:
    """Words joined as the knowledge tree writes them: blanks except between ideographs."""
    text = ""
    for word in words:
        text += word if not text or (is_ideograph(word) and text[-1] >= "\u3400") else f" {word}"
    return text
