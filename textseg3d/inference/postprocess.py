"""What is removed from a mask after prediction: small components, or all but the largest.

The rules of a model are in ``postprocessing.json`` of its folder; they are decided on validation
cases (`textseg3d find_best_configuration`), never on the scan at hand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import ModelError, PlansError
from textseg3d.inference.masks import PackedMask
from textseg3d.inference.measure import runs_of
from textseg3d.inference.runs import Runs
from textseg3d.io.atomic import atomic_path
from textseg3d.plans.jsonio import from_json, to_json

FILE_NAME = "postprocessing.json"


@dataclass(frozen=True)
class Rule:
    """What is done to the mask of one concept.

    Attributes:
        concept: canonical name that the model knows; label name in a rule for label maps.
        keep_largest: only the largest component stays (26-connected; of equal ones the first).
        min_volume_ml: smaller components go; before ``keep_largest``, which then has less to do.
        dice_before: mean Dice of the validation cases without the rule.
        dice_after: with it.
    """

    concept: str
    keep_largest: bool = False
    min_volume_ml: float = 0.0
    dice_before: float | None = None
    dice_after: float | None = None

    def keeps(self, sizes: NDArray[np.int64], voxel_ml: float) -> NDArray[np.bool_]:
        """Which components stay, by their sizes in voxels."""
        kept = sizes * voxel_ml >= self.min_volume_ml * (1 - 1e-9)
        if self.keep_largest and len(sizes):
            kept &= np.arange(len(sizes)) == int(np.argmax(sizes))
        return kept


@dataclass(frozen=True)
class Postprocessing:
    """The rules of a model.

    Attributes:
        rules: at most one per concept.
        decided_on: what they were decided on, in words.
    """

    rules: tuple[Rule, ...] = ()
    decided_on: str = ""

    def rule(self, concept: str) -> Rule | None:
        """The rule of a concept, if it has one."""
        return next((rule for rule in self.rules if rule.concept == concept), None)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        text = json.dumps(to_json(self), indent=1, ensure_ascii=False, allow_nan=False)
        with atomic_path(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Postprocessing:
        """Read a file.

        Raises:
            ModelError: if it is missing or damaged.
        """
        try:
            return from_json(cls, json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, PlansError) as error:
            raise ModelError(f"{path} is no list of rules ({error})") from None


def clean(
    mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float], rule: Rule
) -> NDArray[np.bool_]:
    """The mask [D, H, W] without what the rule removes.

    Args:
        mask: of one concept.
        spacing_mm: (z, y, x).
        rule: for it.
    """
    left = np.array(mask, dtype=bool, order="C")
    left.reshape(-1)[_removed(Runs.of(left), spacing_mm, rule)] = False
    return left


def _removed(runs: Runs, spacing_mm: tuple[float, float, float], rule: Rule) -> NDArray[np.int64]:
    """Voxels, in raster order, that the rule takes away."""
    label, count = runs.components()
    sizes = np.bincount(label, runs.length, count).astype(np.int64)
    kept = rule.keeps(sizes, float(np.prod(spacing_mm)) / 1000.0)
    return runs[~kept[label]].voxels()


def clean_packed(
    mask: PackedMask, spacing_mm: tuple[float, float, float], rule: Rule | None
) -> PackedMask:
    """The same for a packed mask; without a rule it is the mask itself."""
    if rule is None or not mask.bits.size:
        return mask
    removed = _removed(runs_of(mask), spacing_mm, rule)
    if not len(removed):
        return mask
    crop = mask.crop()
    crop.reshape(-1)[removed] = False
    return PackedMask.pack(mask.shape, mask.box, crop)
