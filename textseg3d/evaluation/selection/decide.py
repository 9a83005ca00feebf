"""Decides postprocessing: rules that raise the mean Dice of validation cases, by a table.

Removing components changes a Dice by sums alone, so each case is looked at once per label: the
size of each predicted component and its overlap with the truth say what any rule would give.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.evaluation.grids import on_grid_of, read_labels
from textseg3d.evaluation.instances import components
from textseg3d.evaluation.metrics import mean_or_nan
from textseg3d.evaluation.protocols.folders import FilePair, LabelSet, run_all
from textseg3d.inference.postprocess import Postprocessing, Rule, clean
from textseg3d.io import write_volume_like

VOLUMES_ML = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
MARGIN = 1e-6  # of mean Dice: rounding is no improvement


@dataclass(frozen=True)
class Components:
    """The predicted components of one label in one case.

    Attributes:
        sizes: voxels per component.
        overlaps: of them inside the truth.
        truth: voxels of the truth.
        voxel_ml: volume of a voxel.
    """

    sizes: NDArray[np.int64]
    overlaps: NDArray[np.int64]
    truth: int
    voxel_ml: float

    def dice(self, rule: Rule) -> float:
        """Dice after a rule; NaN where truth and prediction are empty, as nnU-Net counts."""
        kept = rule.keeps(self.sizes, self.voxel_ml)
        total = int(self.sizes[kept].sum()) + self.truth
        return 2 * int(self.overlaps[kept].sum()) / total if total else float("nan")


def measure_components(
    truth: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
) -> Components:
    """The table of one mask [D, H, W]; components are 26-connected."""
    labels = components(prediction, connectivity=26)
    count = int(labels.max()) + 1
    sizes = np.bincount(labels.ravel(), minlength=count)[1:]
    overlaps = np.bincount(labels[truth], minlength=count)[1:]
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    return Components(sizes, overlaps, int(np.count_nonzero(truth)), voxel_ml)


def decide_rule(concept: str, cases: Sequence[Components]) -> Rule | None:
    """The rule with the highest mean Dice, if it beats doing nothing; of equal ones the mildest.

    Tried are: only the largest component, seven least volumes, and both together.

    Args:
        concept: what the rule is for.
        cases: one table per validation case.
    """
    rules = [
        Rule(concept, keep_largest=True),
        *(Rule(concept, min_volume_ml=volume) for volume in VOLUMES_ML),
        *(Rule(concept, keep_largest=True, min_volume_ml=volume) for volume in VOLUMES_ML),
    ]
    before = mean_or_nan([case.dice(Rule(concept)) for case in cases])
    best, highest = None, before
    for rule in rules:
        after = mean_or_nan([case.dice(rule) for case in cases])
        if after > highest + MARGIN:  # NaN, where everything went, is not higher
            best, highest = rule, after
    if best is None:
        return None
    return dataclasses.replace(best, dice_before=before, dice_after=highest)


def decide_postprocessing(
    pairs: Sequence[FilePair],
    labels: LabelSet,
    *,
    decided_on: str = "",
    processes: int = 1,
) -> Postprocessing:
    """Rules for label maps, label by label; a later label sees what earlier rules left.

    Args:
        pairs: truth and prediction files of validation cases.
        labels: to decide on.
        decided_on: for the file.
        processes: that read cases.

    Raises:
        InputError: for an unreadable file.
        GeometryError: for a prediction on another grid.
    """
    rules: list[Rule] = []
    for name, label in zip(labels.names, labels.scored):
        work = partial(_measure_pair, label=label, ignore=labels.ignore, rules=(labels, (*rules,)))
        told = [pair for pair in pairs if name not in pair.unknown]
        rule = decide_rule(name, run_all(work, told, processes)) if told else None
        rules += [rule] if rule is not None else []
    return Postprocessing(tuple(rules), decided_on)


def clean_labels(
    values: NDArray[Any],
    spacing_mm: tuple[float, float, float],
    labels: LabelSet,
    rules: Iterable[Rule],
) -> NDArray[Any]:
    """A label map [D, H, W] after the rules; removed voxels become background.

    Rules for labels that the map does not have do nothing.
    """
    members = dict(zip(labels.names, labels.scored))
    result = values.copy()
    for rule in rules:
        if rule.concept in members:
            mask = np.isin(result, members[rule.concept])
            result[mask & ~clean(mask, spacing_mm, rule)] = 0
    return result


def apply_to_file(
    source: Path, target: Path, labels: LabelSet, postprocessing: Postprocessing
) -> None:
    """Write a label file with the rules applied, on its own grid.

    Raises:
        InputError: if it cannot be read.
    """
    volume = read_labels(source)
    values = volume.array[0]
    cleaned = clean_labels(values, volume.spacing_mm, labels, postprocessing.rules)
    write_volume_like(target, cleaned, volume, dtype=np.uint8 if values.max() < 256 else np.int16)


def _measure_pair(
    pair: FilePair,
    *,
    label: int | tuple[int, ...],
    ignore: int | None,
    rules: tuple[LabelSet, tuple[Rule, ...]],
) -> Components:
    assert pair.prediction is not None
    truth = read_labels(pair.truth)
    found = on_grid_of(truth, read_labels(pair.prediction), resample=False)
    found = clean_labels(found, truth.spacing_mm, *rules)
    drawn = truth.array[0]
    is_true, is_found = np.isin(drawn, label), np.isin(found, label)
    if ignore is not None:
        is_true, is_found = is_true & (drawn != ignore), is_found & (drawn != ignore)
    return measure_components(is_true, is_found, truth.spacing_mm)
