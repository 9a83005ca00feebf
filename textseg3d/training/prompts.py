"""Features of every wording of every target, computed once: the text encoder is frozen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from textseg3d.text.types import TextEncoder
from textseg3d.training.cases import TargetEntry


@dataclass(frozen=True)
class PromptFeatures:
    """tokens [N, L, E], mask bool [N, L], pooled [N, E], and where each target's rows start."""

    tokens: Tensor
    mask: Tensor
    pooled: Tensor
    first_row: Tensor

    @classmethod
    def build(cls, encoder: TextEncoder, targets: tuple[TargetEntry, ...]) -> PromptFeatures:
        """Encode the canonical name (row 0 of a target) and its wordings."""
        texts: list[str] = []
        first = []
        for target in targets:
            first.append(len(texts))
            texts += [target.name, *target.wordings]
        features = encoder.encode(texts)
        return cls(
            torch.from_numpy(features.tokens),
            torch.from_numpy(features.mask),
            torch.from_numpy(features.pooled),
            torch.tensor(first),
        )

    def to(self, device: torch.device) -> PromptFeatures:
        """The same on another device."""
        return PromptFeatures(
            self.tokens.to(device),
            self.mask.to(device),
            self.pooled.to(device),
            self.first_row.to(device),
        )

    def select(self, targets: Tensor, wordings: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features of (target, wording) pairs: [P, L, E], [P, L], [P, E]."""
        rows = self.first_row[targets] + wordings
        return self.tokens[rows], self.mask[rows], self.pooled[rows]
