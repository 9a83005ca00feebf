"""What a text encoder gives, and the protocol that every encoder follows. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from textseg3d.errors import InputError


@dataclass(frozen=True)
class TextFeatures:
    """Features of N texts.

    Attributes:
        tokens: float32 [N, L, E], one vector per token; zero where ``mask`` is False.
        mask: bool [N, L], True for a real token (start and end markers included).
        pooled: float32 [N, E], one unit vector per text.
    """

    tokens: np.ndarray
    mask: np.ndarray
    pooled: np.ndarray

    def __post_init__(self) -> None:
        if self.tokens.ndim != 3 or self.mask.ndim != 2 or self.pooled.ndim != 2:
            raise InputError(
                f"text features of shapes {self.tokens.shape}, {self.mask.shape}, "
                f"{self.pooled.shape}; expected [N, L, E], [N, L], [N, E]"
            )
        count, _, width = self.tokens.shape
        if self.mask.shape != self.tokens.shape[:2] or self.pooled.shape != (count, width):
            raise InputError(
                f"text features do not fit together: tokens {self.tokens.shape}, mask "
                f"{self.mask.shape}, pooled {self.pooled.shape}"
            )

    def __len__(self) -> int:
        return int(self.tokens.shape[0])

    def select(self, rows: Sequence[int]) -> TextFeatures:
        """The features of the given rows, in that order."""
        index = np.asarray(rows, dtype=np.int64)
        return TextFeatures(self.tokens[index], self.mask[index], self.pooled[index])


def concatenate(parts: Sequence[TextFeatures]) -> TextFeatures:
    """One :class:`TextFeatures` from several of equal L and E, rows in order.

    Raises:
        InputError: if ``parts`` is empty or their L or E differ.
    """
    if not parts:
        raise InputError("no text features to put together; give at least one")
    shapes = {part.tokens.shape[1:] for part in parts}
    if len(shapes) > 1:
        raise InputError(f"text features of different [L, E] cannot be joined: {sorted(shapes)}")
    return TextFeatures(
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([part.mask for part in parts]),
        np.concatenate([part.pooled for part in parts]),
    )


def finished(tokens: np.ndarray, mask: np.ndarray, pooled: np.ndarray) -> TextFeatures:
    """Features in the form that every encoder gives: unit vectors, zero padding, fp16 precision.

    Rounding to what fp16 holds exactly makes an embedding bank give the same bits as the encoder.

    Args:
        tokens: float [N, L, E].
        mask: bool [N, L].
        pooled: float [N, E], of any length.
    """
    lengths = np.linalg.norm(pooled, axis=1, keepdims=True)
    pooled = pooled / np.maximum(lengths, np.finfo(np.float32).tiny)
    tokens = np.where(mask[:, :, np.newaxis], tokens, 0.0)
    return TextFeatures(_rounded(tokens), mask, _rounded(pooled))


def _rounded(values: np.ndarray) -> np.ndarray:
    limit = np.finfo(np.float16).max
    return np.clip(values, -limit, limit).astype(np.float16).astype(np.float32)


@runtime_checkable
class TextEncoder(Protocol):
    """Turns texts into features. The row of a text does not depend on the other texts.

    Attributes:
        embed_dim: E, the width of token and pooled vectors.
        context_length: L, the fixed number of token places.
        hash: hex sha256 that changes whenever the features could change.
    """

    embed_dim: int
    context_length: int
    hash: str

    def encode(self, texts: Sequence[str]) -> TextFeatures:
        """Features of ``texts``: tokens [N, L, E], mask [N, L], pooled [N, E]."""
        ...
