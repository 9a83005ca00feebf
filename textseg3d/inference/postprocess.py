"""What is done to a mask after prediction: components and soft rims go, enhanced rims are added.

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
from textseg3d.inference.enhanced import EnhancedRim, with_enhanced_rim
from textseg3d.inference.masks import PackedMask
from textseg3d.inference.measure import runs_of
from textseg3d.inference.presence import SureMask
from textseg3d.inference.rims import below, half_is_below, reach_voxels, shaved, values_in
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
class SoftRim:
    """Voxels at the surface of structures that are too soft to belong to them.

    A network of 3 mm draws a surface up to a voxel off; the scan itself knows better, where it is
    finer than that: fat is no liver, muscle no bone. What lies deeper, such as marrow, stays
    whatever its density.

    Attributes:
        concepts: canonical names; the rule is for the mask of each.
        within_mm: from the centre of the nearest voxel outside the mask.
        below_hu: voxels with less go.
        beside_hu: the usual density of what lies around (fat: -100). Then only voxels go that are
            also nearer to it than to the median of the mask: where a border is blurred, it lies
            half-way up the edge. ``below_hu`` keeps what is no fat in enhanced organs: cysts at
            their surface, thrombus at a vessel's wall.
    """

    concepts: tuple[str, ...]
    within_mm: float
    below_hu: float
    beside_hu: float | None = None

    def limit_hu(self, inside: NDArray[np.number]) -> float:
        """The density below which voxels of the rim go, given the voxels of the mask."""
        if self.beside_hu is None:
            return self.below_hu
        return min(self.below_hu, (float(np.median(inside)) + self.beside_hu) / 2)


@dataclass(frozen=True)
class Postprocessing:
    """The rules of a model.

    Attributes:
        rules: at most one per concept; they apply after the rims.
        decided_on: what they were decided on, in words.
        soft_rims: what goes from surfaces, at most one per concept; in prompt models.
        enhanced_rims: what is added there afterwards, at most one per concept; likewise.
        sure_mask: when a mask overrules its presence score; likewise.
    """

    rules: tuple[Rule, ...] = ()
    decided_on: str = ""
    soft_rims: tuple[SoftRim, ...] = ()
    enhanced_rims: tuple[EnhancedRim, ...] = ()
    sure_mask: SureMask | None = None

    def rule(self, concept: str) -> Rule | None:
        """The rule of a concept, if it has one."""
        return next((rule for rule in self.rules if rule.concept == concept), None)

    def rim(self, concept: str) -> SoftRim | None:
        """What goes from the surface of a concept, if anything."""
        return next((rim for rim in self.soft_rims if concept in rim.concepts), None)

    def enhanced_rim(self, concept: str) -> EnhancedRim | None:
        """What is added to the surface of a concept, if anything."""
        return next((rim for rim in self.enhanced_rims if concept in rim.concepts), None)

    def changes(self, concept: str) -> bool:
        """Whether anything is done to the mask of a concept."""
        found = (self.rule(concept), self.rim(concept), self.enhanced_rim(concept))
        return any(one is not None for one in found)

    def clean_packed(
        self,
        concept: str,
        mask: PackedMask,
        spacing_mm: tuple[float, float, float],
        image: NDArray[np.number],
    ) -> PackedMask:
        """The mask of a concept after all that is done to it; ``image`` [D, H, W] in HU."""
        rim = self.rim(concept)
        if rim is not None:
            mask = without_soft_rim(mask, spacing_mm, image, rim)
        bright = self.enhanced_rim(concept)
        if bright is not None:
            mask = with_enhanced_rim(mask, spacing_mm, image, bright)
        return clean_packed(mask, spacing_mm, self.rule(concept))

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


def without_soft_rim(
    mask: PackedMask,
    spacing_mm: tuple[float, float, float],
    image: NDArray[np.number],
    rim: SoftRim,
) -> PackedMask:
    """The mask without the soft voxels near its surface; the scan's edge is no surface.

    Args:
        mask: on the scan's grid.
        spacing_mm: (z, y, x).
        image: [D, H, W], in HU.
        rim: how near, how soft.
    """
    if not mask.bits.size or not any(reach_voxels(spacing_mm, rim.within_mm)):
        return mask
    limit = rim.below_hu
    if rim.beside_hu is not None and half_is_below(mask, image, 2 * limit - rim.beside_hu):
        limit = rim.limit_hu(values_in(mask, image))  # else the median is too high to count
    return shaved(mask, spacing_mm, rim.within_mm, image, below(image, limit))
