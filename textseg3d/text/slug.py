"""File-name slugs of prompts: short, lower-case ASCII, and never shared by two prompts."""

from __future__ import annotations

import hashlib
import re
import unicodedata

MAX_LENGTH = 80
_HASH_LENGTH = 10
_PLAIN = re.compile(r"[a-z0-9]+(?:[ _][a-z0-9]+)*")
_DEVICE_NAME = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])")


def slugify(text: str) -> str:
    """The slug of ``text`` for file names: ``[a-z0-9_-]``, 1 to 80 characters.

    Plain text (lower-case ASCII letters and digits, single blanks or underscores between
    words) is kept word for word, with hyphens for blanks: ``left lower lobe nodule`` gives
    ``left-lower-lobe-nodule``. Whatever loses something on the way (capitals, punctuation,
    accents, length, other scripts) gets ``--`` and a short hash of the exact text, so that
    ``T1-2`` and ``T1 2`` have different slugs. A plain slug never contains ``--``, hence the
    two kinds cannot meet.
    """
    plain = _PLAIN.fullmatch(text) and not _DEVICE_NAME.fullmatch(text)
    if plain and len(text) <= MAX_LENGTH:
        return text.replace(" ", "-")
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_LENGTH]
    folded = unicodedata.normalize("NFKD", text[: 4 * MAX_LENGTH]).lower()
    words = re.findall(r"[a-z0-9]+", "".join(c for c in folded if not unicodedata.combining(c)))
    stem = "-".join(words)[: MAX_LENGTH - _HASH_LENGTH - 2].strip("-") or "prompt"
    return f"{stem}--{digest}"
