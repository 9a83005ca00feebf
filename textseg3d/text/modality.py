"""The modality token: one more token of a prompt, that says what kind of scan it is asked of.

It is the pooled vector of a plain text ("magnetic resonance imaging") from the model's own text
encoder, in one place in front of the prompt's tokens. For a scan of unknown kind the place is
masked, and the answer is that without the place.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from textseg3d.text.types import TextFeatures

MODALITIES = ("CT", "MR", "PET")
TEXTS = {
    "CT": "computed tomography",
    "MR": "magnetic resonance imaging",
    "PET": "positron emission tomography",
}


def channel_modality(name: str) -> str:
    """The modality of a channel of ``dataset.json``; any but CT and PET counts as MR."""
    return {"ct": "CT", "pet": "PET", "pt": "PET"}.get(name.casefold(), "MR")


def common_modality(channels: Iterable[str]) -> str | None:
    """What all channels of a scan are; None for channels of several modalities."""
    found = {channel_modality(name) for name in channels}
    return found.pop() if len(found) == 1 else None


def with_modality(prompts: TextFeatures, modality: TextFeatures | None) -> TextFeatures:
    """Prompts with the place in front.

    Args:
        prompts: features of N texts, L tokens each.
        modality: features of one of :data:`TEXTS`; None masks the place.

    Returns:
        features of N texts, L + 1 tokens each.
    """
    count, _, width = prompts.tokens.shape
    place = np.zeros((count, 1, width), np.float32)
    if modality is not None:
        place[:] = modality.pooled[0]
    known = np.full((count, 1), modality is not None)
    return TextFeatures(
        np.concatenate([place, prompts.tokens], axis=1),
        np.concatenate([known, prompts.mask], axis=1),
        prompts.pooled,
    )
