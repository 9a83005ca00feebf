"""Token ids of a text: open_clip's SimpleTokenizer with merges of our own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from textseg3d.errors import ModelError
from textseg3d.text.normalise import normalise_text

_PAD = "<pad>"


class BpeTokenizer:
    """Byte-pair tokenizer with start, end and padding tokens.

    Padding has an id of its own: SimpleTokenizer pads with 0, which is also the id of "!".
    Markers such as ``<end_of_text>`` that a user types are dropped.

    Args:
        bpe_path: gzip file of merges.
        context_length: L, number of token places.

    Raises:
        ModelError: if the file is missing or not a merges file.
    """

    def __init__(self, bpe_path: Path, context_length: int) -> None:
        from open_clip.tokenizer import SimpleTokenizer

        try:
            self._inner = SimpleTokenizer(bpe_path=str(bpe_path), additional_special_tokens=[_PAD])
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise ModelError(
                f"{bpe_path} is not a gzip file of byte-pair merges ({error}); "
                "download or copy the model folder again"
            ) from error
        if any(len(pair) != 2 for pair in self._inner.bpe_ranks):
            raise ModelError(f"{bpe_path} has a line that is not a pair of symbols")
        self.context_length = context_length
        self.vocab_size: int = self._inner.vocab_size
        self.start_id, self.end_id, self.pad_id = self._inner.all_special_ids

    def split(self, text: str) -> list[int]:
        """Ids of ``text`` after normalisation, without markers, of any length."""
        ids: list[int] = self._inner.encode(normalise_text(text))
        return [token for token in ids if token < self.start_id]

    def decode(self, ids: Sequence[int]) -> str:
        """The text that ``ids`` stand for; markers are left out."""
        plain = [token for token in ids if token < self.start_id]
        text: str = self._inner.decode(plain)
        return text.strip()

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Ids int64 [N, L]: start, at most L - 2 tokens, end, padding."""
        out = np.full((len(texts), self.context_length), self.pad_id, dtype=np.int64)
        for row, text in enumerate(texts):
            ids = [self.start_id, *self.split(text)[: self.context_length - 2], self.end_id]
            out[row, : len(ids)] = ids
        return out
