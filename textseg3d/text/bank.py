"""Embedding bank: features of known texts in one file, read without torch or open_clip.

File format (safetensors): ``tokens`` fp16 [T, E], the real tokens of all texts one after the
other; ``lengths`` int32 [N]; ``pooled`` fp16 [N, E]. Metadata: ``format``, ``encoder_hash``,
``context_length`` and ``texts`` (JSON list of the N normalised texts).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from textseg3d.errors import InputError, ModelError
from textseg3d.text.encoder import folder_hash, load_encoder
from textseg3d.text.normalise import normalise_text
from textseg3d.text.types import TextEncoder, TextFeatures, concatenate

FORMAT = "textseg3d-bank-1"


@dataclass(frozen=True, eq=False)
class EmbeddingBank:
    """Features of N texts, looked up by normalised text.

    Attributes:
        texts: the N normalised texts.
        tokens: float16 [T, E], real tokens of all texts in a row.
        lengths: int32 [N], tokens per text; their sum is T.
        pooled: float16 [N, E].
        context_length: L, token places of the features handed out.
        encoder_hash: hash of the encoder that made them.
    """

    texts: tuple[str, ...]
    tokens: np.ndarray
    lengths: np.ndarray
    pooled: np.ndarray
    context_length: int
    encoder_hash: str
    _rows: dict[str, int] = field(init=False, repr=False)
    _starts: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        count = len(self.texts)
        fits = (
            self.tokens.ndim == 2
            and self.pooled.shape == (count, self.tokens.shape[1])
            and self.lengths.shape == (count,)
            and int(self.lengths.sum()) == len(self.tokens)
            and (count == 0 or 1 <= self.lengths.min() <= self.lengths.max() <= self.context_length)
        )
        if not fits:
            raise ModelError(
                f"embedding bank of {count} texts has tokens {self.tokens.shape}, lengths "
                f"{self.lengths.shape}, pooled {self.pooled.shape}, which do not fit together; "
                "build it again"
            )
        object.__setattr__(self, "_rows", {text: row for row, text in enumerate(self.texts)})
        object.__setattr__(self, "_starts", np.concatenate([[0], np.cumsum(self.lengths)]))

    def __len__(self) -> int:
        return len(self.texts)

    def __contains__(self, text: str) -> bool:
        return normalise_text(text) in self._rows

    def get(self, text: str) -> TextFeatures | None:
        """Features of one text (N = 1), or None if the bank does not have it."""
        row = self._rows.get(normalise_text(text))
        if row is None:
            return None
        length = int(self.lengths[row])
        tokens = np.zeros((1, self.context_length, self.tokens.shape[1]), np.float32)
        start = self._starts[row]
        tokens[0, :length] = self.tokens[start : start + length]
        mask = (np.arange(self.context_length) < length)[None]
        return TextFeatures(tokens, mask, self.pooled[row : row + 1].astype(np.float32))

    def empty(self) -> TextFeatures:
        """Features of no text (N = 0), of this bank's L and E."""
        width = self.tokens.shape[1]
        return TextFeatures(
            np.zeros((0, self.context_length, width), np.float32),
            np.zeros((0, self.context_length), bool),
            np.zeros((0, width), np.float32),
        )

    @classmethod
    def build(cls, encoder: TextEncoder, texts: Iterable[str]) -> EmbeddingBank:
        """Encodes ``texts``; those of equal normal form are stored once.

        Raises:
            InputError: if the encoder's masks are not a run of real tokens from the start.
        """
        unique = sorted({normalise_text(text) for text in texts})
        features = encoder.encode(unique)
        lengths = features.mask.sum(axis=1).astype(np.int32)
        if not np.array_equal(
            features.mask, np.arange(features.mask.shape[1]) < lengths[:, np.newaxis]
        ):
            raise InputError("an embedding bank needs an encoder that pads at the end")
        return cls(
            texts=tuple(unique),
            tokens=features.tokens[features.mask].astype(np.float16),
            lengths=lengths,
            pooled=features.pooled.astype(np.float16),
            context_length=int(features.mask.shape[1]),
            encoder_hash=encoder.hash,
        )

    def extended(self, encoder: TextEncoder, texts: Iterable[str]) -> EmbeddingBank:
        """The bank with further texts behind its own, which stay as they are to the bit.

        Raises:
            ModelError: if another encoder made the bank.
        """
        if encoder.hash != self.encoder_hash:
            raise ModelError(
                f"the bank was made by text encoder {self.encoder_hash[:12]}, not by "
                f"{encoder.hash[:12]}; extend it with its own"
            )
        missing = [text for text in texts if text not in self]
        if not missing:
            return self
        new = self.build(encoder, missing)
        return EmbeddingBank(
            self.texts + new.texts,
            np.concatenate([self.tokens, new.tokens]),
            np.concatenate([self.lengths, new.lengths]),
            np.concatenate([self.pooled, new.pooled]),
            self.context_length,
            self.encoder_hash,
        )

    def save(self, path: str | Path) -> None:
        """Writes the bank (safetensors), by a temporary name in the same folder."""
        from safetensors.numpy import save

        metadata = {
            "format": FORMAT,
            "encoder_hash": self.encoder_hash,
            "context_length": str(self.context_length),
            "texts": json.dumps(self.texts, ensure_ascii=False),
        }
        arrays = {"tokens": self.tokens, "lengths": self.lengths, "pooled": self.pooled}
        content = save({name: np.ascontiguousarray(a) for name, a in arrays.items()}, metadata)
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_bytes(content)
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: str | Path, *, encoder_hash: str | None = None) -> EmbeddingBank:
        """Reads a bank.

        Args:
            path: the safetensors file.
            encoder_hash: hash of the encoder in use (:func:`folder_hash` of its folder); a bank
                of another encoder is refused. None takes any bank.

        Raises:
            ModelError: if the file is missing, damaged, of another format or of another encoder.
        """
        from safetensors import SafetensorError, safe_open

        path = Path(path)
        try:
            with safe_open(str(path), framework="np") as file:
                metadata = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"{path} cannot be read as an embedding bank ({error}); build or download it again"
            ) from error
        if metadata.get("format") != FORMAT or set(arrays) != {"tokens", "lengths", "pooled"}:
            raise ModelError(
                f"{path} is no embedding bank of format {FORMAT!r} "
                f"(format {metadata.get('format')!r}, arrays {sorted(arrays)}); build it again"
            )
        if encoder_hash is not None and metadata["encoder_hash"] != encoder_hash:
            raise ModelError(
                f"{path} was made by text encoder {metadata['encoder_hash'][:12]}, the model's "
                f"encoder is {encoder_hash[:12]}; build the bank again with this encoder"
            )
        return cls(
            texts=tuple(json.loads(metadata["texts"])),
            context_length=int(metadata["context_length"]),
            encoder_hash=metadata["encoder_hash"],
            **arrays,
        )


class BankedEncoder:
    """A text encoder that answers known texts from a bank and loads its tower for new ones only.

    Args:
        folder: encoder folder.
        bank_path: bank made by that encoder, or None.

    Raises:
        ModelError: if the folder is incomplete or the bank is another encoder's.
    """

    def __init__(self, folder: str | Path, bank_path: str | Path | None = None) -> None:
        self.folder = Path(folder)
        self.hash = folder_hash(self.folder)
        self.bank = (
            None if bank_path is None else EmbeddingBank.load(bank_path, encoder_hash=self.hash)
        )
        self._encoder: TextEncoder | None = None

    def _tower(self) -> TextEncoder:
        if self._encoder is None:
            self._encoder = load_encoder(self.folder)
        return self._encoder

    @property
    def embed_dim(self) -> int:
        """E, width of token and pooled vectors."""
        return self._tower().embed_dim if self.bank is None else int(self.bank.tokens.shape[1])

    @property
    def context_length(self) -> int:
        """L, number of token places."""
        return self._tower().context_length if self.bank is None else self.bank.context_length

    def encode(self, texts: Sequence[str]) -> TextFeatures:
        """Features of ``texts``: tokens [N, L, E], mask [N, L], pooled [N, E]."""
        if not texts:
            return self._tower().encode([]) if self.bank is None else self.bank.empty()
        known = [None if self.bank is None else self.bank.get(text) for text in texts]
        return concatenate(
            [
                self._tower().encode([text]) if part is None else part
                for text, part in zip(texts, known)
            ]
        )
