"""The one place where evaluation touches a model: prompts in, cropped masks out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import GeometryError
from textseg3d.evaluation.surface import bounding_box
from textseg3d.io.volume import Volume

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class PromptAnswer:
    """What a model says to one prompt.

    Attributes:
        status: "ok", "empty" (nothing there), "negated" or "unknown" (to the model).
        presence: score in 0..1 that it is there at all; None where the model gives none.
        box: where the mask's voxels lie, [z, y, x] in LPS+; None for an empty mask.
        voxels: bool, the mask inside ``box``.
    """

    status: str
    presence: float | None = None
    box: Box | None = None
    voxels: NDArray[np.bool_] | None = None

    @property
    def voxel_count(self) -> int:
        """Number of voxels of the mask."""
        return 0 if self.voxels is None else int(np.count_nonzero(self.voxels))

    def add_to(self, mask: NDArray[np.bool_]) -> None:
        """Set this answer's voxels in ``mask`` [D, H, W]."""
        if self.box is not None and self.voxels is not None:
            mask[self.box] |= self.voxels


Predict = Callable[[Volume, Sequence[str]], dict[str, PromptAnswer]]
"""(scan, prompts) → answer per prompt, on the scan's grid in canonical order."""


@dataclass(frozen=True)
class LoadedModel:
    """A model to evaluate.

    Attributes:
        predict: answers prompts on a scan.
        description: name, hash and device, for the report.
    """

    predict: Predict
    description: dict[str, Any]


def load_segmenter(model: str | Path, *, device: str = "auto", exact: bool = False) -> LoadedModel:
    """A bundled or local model, behind the interface that evaluation uses.

    Args:
        model: name, folder or hf-hub address.
        device: as in ``textseg3d predict``.
        exact: no shortcut.

    Raises:
        ModelError: if there is no such model, or its files are damaged.
        UsageError: for a device that is not there.
    """
    from textseg3d.inference.segmenter import Segmenter

    segmenter = Segmenter(model=model, device=device)
    description = {
        "name": segmenter.card.name,
        "version": segmenter.card.version,
        "device": segmenter.device,
        "exact": exact,
    }

    def predict(image: Volume, prompts: Sequence[str]) -> dict[str, PromptAnswer]:
        prediction = segmenter.predict(image, list(prompts), exact=exact)
        description["sha256"] = prediction.model_sha256
        answers = {}
        for text in prompts:
            result = prediction[text]
            mask = None if result.packed is None else result.array
            answers[text] = crop_answer(result.status, result.presence, mask, image)
        return answers

    return LoadedModel(predict, description)


def crop_answer(
    status: str, presence: float | None, mask: NDArray[np.bool_] | None, image: Volume
) -> PromptAnswer:
    """An answer with its mask [D, H, W] cropped to its bounding box.

    Raises:
        GeometryError: if the mask has another shape than the scan.
    """
    if mask is None:
        return PromptAnswer(status, presence)
    if mask.shape != image.shape:
        raise GeometryError(f"the mask has shape {mask.shape}, the scan {image.shape}")
    box = bounding_box(mask)
    if box is None:
        return PromptAnswer(status, presence)
    return PromptAnswer(status, presence, box, mask[box].copy())
