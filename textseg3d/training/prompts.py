"""Features of every wording of every target, computed once: the text encoder is frozen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from textseg3d.text.modality import MODALITIES, TEXTS, with_modality
from textseg3d.text.types import TextEncoder
from textseg3d.training.cases import TargetEntry


@dataclass(frozen=True)
class PromptFeatures:
    """tokens [N, L, E], mask bool [N, L], pooled [N, E], and where each target's rows start.

    With a modality token, L has one place more in front, masked until :meth:`select`, and
    ``modalities`` [3, E] are the vectors of CT, MR and PET.
    """

    tokens: Tensor
    mask: Tensor
    pooled: Tensor
    first_row: Tensor
    modalities: Tensor | None = None

    @classmethod
    def build(
        cls,
        encoder: TextEncoder,
        targets: tuple[TargetEntry, ...],
        *,
        modality_token: bool = False,
    ) -> PromptFeatures:
        """Encode the canonical name (row 0 of a target) and its wordings."""
        texts: list[str] = []
        first = []
        for target in targets:
            first.append(len(texts))
            texts += [target.name, *target.wordings]
        features, modalities = encoder.encode(texts), None
        if modality_token:
            features = with_modality(features, None)
            words = encoder.encode([TEXTS[name] for name in MODALITIES])
            modalities = torch.from_numpy(words.pooled)
        return cls(
            torch.from_numpy(features.tokens),
            torch.from_numpy(features.mask),
            torch.from_numpy(features.pooled),
            torch.tensor(first),
            modalities,
        )

    def to(self, device: torch.device) -> PromptFeatures:
        """The same on another device."""
        return PromptFeatures(
            self.tokens.to(device),
            self.mask.to(device),
            self.pooled.to(device),
            self.first_row.to(device),
            None if self.modalities is None else self.modalities.to(device),
        )

    def select(
        self, targets: Tensor, wordings: Tensor, modality: str | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features of (target, wording) pairs: [P, L, E], [P, L], [P, E].

        ``modality`` of the scan fills the place in front, where there is one.
        """
        rows = self.first_row[targets] + wordings
        tokens, mask = self.tokens[rows], self.mask[rows]
        if self.modalities is not None and modality is not None:
            tokens[:, 0] = self.modalities[MODALITIES.index(modality)]
            mask[:, 0] = True
        return tokens, mask, self.pooled[rows]
