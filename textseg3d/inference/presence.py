"""Whether something is there at all: what windows say of it, and what its mask says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

PRESENT = 0.5
"""Score from which on something counts as there; below it the mask is empty."""


@dataclass(frozen=True)
class SureMask:
    """When a mask overrules a score that is below :data:`PRESENT`.

    The score is read from a few image tokens, the mask from features of all resolutions. Where a
    scan shows only a part of a structure, or looks unlike those of the training, a model can
    doubt what it outlines well. Such a mask counts, with a score of exactly :data:`PRESENT`.

    Attributes:
        volume_ml: that must be sure, on the network's grid.
        probability: from which on a voxel is sure, above 0.5.
        presence: the least score; what is as good as excluded stays absent.
    """

    volume_ml: float
    probability: float
    presence: float


class PresenceScores:
    """Scores of some prompts, from windows and from planes of logits as they come.

    Args:
        count: prompts.
        voxel_ml: of the network's grid.
        by_voxels: the most certain voxel decides, not the windows.
        sure: when a mask overrules the windows; None if it never does.
    """

    def __init__(
        self, count: int, voxel_ml: float, *, by_voxels: bool, sure: SureMask | None = None
    ) -> None:
        self.by_voxels, self._voxel_ml = by_voxels, voxel_ml
        self._sure = None if by_voxels else sure
        self._logits = np.full(count, -np.inf)
        self._voxels = np.zeros(count, np.int64)

    def __len__(self) -> int:
        return len(self._logits)

    def hear(self, logits: Tensor) -> None:
        """What a window says, [P]."""
        if not self.by_voxels:
            np.maximum(self._logits, logits.float().cpu().numpy(), out=self._logits)

    def see(self, prompt: int, planes: NDArray[np.float32] | Tensor | None) -> None:
        """Logits of one prompt that no other call has shown; None where all are low."""
        if planes is None:
            return
        if self.by_voxels:
            self._logits[prompt] = max(self._logits[prompt], float(planes.max()))
        elif self._sure is not None and self._logits[prompt] < logit(PRESENT):
            self._voxels[prompt] += int((planes >= logit(self._sure.probability)).sum())

    def possible(self) -> NDArray[np.int64]:
        """Prompts that can still turn out to be there, once all windows are heard."""
        if self.by_voxels:
            return np.arange(len(self._logits))
        least = PRESENT if self._sure is None else min(PRESENT, self._sure.presence)
        return np.flatnonzero(self._logits >= logit(least))

    def result(self) -> list[float]:
        """Scores, 0 to 1."""
        import torch

        scores = torch.tensor(self._logits, dtype=torch.float32).sigmoid().numpy()
        if self._sure is not None:
            enough = self._voxels * self._voxel_ml >= self._sure.volume_ml
            doubted = (scores >= self._sure.presence) & (scores < PRESENT)
            scores[enough & doubted] = PRESENT
        return [float(score) for score in scores]


def logit(probability: float) -> float:
    """Natural logarithm of the odds."""
    return math.log(probability / (1 - probability))
