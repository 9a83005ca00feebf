"""Instances: connected components, one-to-one matching, precision, recall and F1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import GeometryError

Measure = Literal["dice", "iou"]
Rule = Literal["hungarian", "greedy"]


@dataclass(frozen=True)
class InstanceMatch:
    """Which predicted instance belongs to which true one.

    Attributes:
        true_positives: matched pairs.
        false_positives: predicted instances without a partner.
        false_negatives: true instances without a partner.
        pairs: (true label, predicted label, score by the chosen measure, Dice) per match.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    pairs: tuple[tuple[int, int, float, float], ...] = ()

    @property
    def precision(self) -> float:
        """TP / (TP + FP); 0 if nothing was predicted."""
        return _ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """TP / (TP + FN); 0 if nothing is true."""
        return _ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 without a true positive."""
        total = 2 * self.true_positives + self.false_positives + self.false_negatives
        return _ratio(2 * self.true_positives, total)

    @property
    def matched_dice(self) -> float:
        """Mean Dice of the matched pairs; NaN without one."""
        return float(np.mean([p[3] for p in self.pairs])) if self.pairs else float("nan")

    def __add__(self, other: InstanceMatch) -> InstanceMatch:
        """Counts of both together (micro average); the pairs are kept in order."""
        return InstanceMatch(
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
            self.pairs + other.pairs,
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON object with the counts and the three rates."""
        return {
            "true_positives": self.true_positives,
            "false_positives": self.false_positives,
            "false_negatives": self.false_negatives,
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
        }


def components(
    mask: NDArray[Any], *, connectivity: Literal[6, 18, 26] = 26, min_voxels: int = 1
) -> NDArray[np.int32]:
    """Connected components of the non-zero voxels, smaller ones left out.

    Args:
        mask: [D, H, W], any value but 0 is foreground.
        connectivity: neighbours that connect: 6 faces, 18 also edges, 26 also corners.
        min_voxels: components with fewer voxels become background.

    Returns:
        int32 [D, H, W]: 0 background, 1..N the components.
    """
    import cc3d

    labels = cc3d.connected_components(
        np.ascontiguousarray(mask != 0), connectivity=connectivity, out_dtype=np.uint32
    ).astype(np.int32)
    if min_voxels > 1:
        sizes = np.bincount(labels.ravel())
        keep = sizes >= min_voxels
        keep[0] = False
        labels = np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels]
    return labels


MASK_DICE = 0.2  # ReXGroundingCT's, as are the voxels and the connectivity
MASK_VOXELS = 10


def match_masks(
    truth: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    ignore: NDArray[np.bool_] | None = None,
) -> InstanceMatch:
    """Instances of two masks by ReXGroundingCT's rule.

    Both are split into 26-connected components, the prediction's of at least 10 voxels; partners
    are one to one, best Dice first, from 0.2 on.

    Args:
        truth: bool [D, H, W].
        prediction: bool [D, H, W].
        ignore: bool [D, H, W]; voxels that belong to neither.

    Raises:
        GeometryError: if the shapes differ.
    """
    if ignore is not None:
        truth, prediction = truth & ~ignore, prediction & ~ignore
    return match_instances(
        components(truth),
        components(prediction, min_voxels=MASK_VOXELS),
        threshold=MASK_DICE,
        measure="dice",
        rule="greedy",
    )


def match_instances(
    truth: NDArray[np.integer[Any]],
    prediction: NDArray[np.integer[Any]],
    *,
    threshold: float,
    measure: Measure,
    rule: Rule,
) -> InstanceMatch:
    """One-to-one matching of the labelled instances of two maps.

    ``greedy`` takes the best-scoring free pair first. ``hungarian`` maximises the number of
    pairs at or above the threshold, then their summed score (the CVPR-2025 rule).

    Args:
        truth: integer [D, H, W], each value but 0 one instance.
        prediction: integer [D, H, W], the same.
        threshold: a pair counts from this score on (inclusive).
        measure: what the threshold is applied to.
        rule: how partners are chosen.

    Raises:
        GeometryError: if the shapes differ.
    """
    if truth.shape != prediction.shape:
        raise GeometryError(
            f"the prediction has shape {prediction.shape}, the truth {truth.shape}; "
            "bring the prediction to the grid of the truth first"
        )
    true_ids, predicted_ids, overlap, true_sizes, predicted_sizes = _overlaps(truth, prediction)
    if true_ids.size == 0 or predicted_ids.size == 0:
        return InstanceMatch(0, int(predicted_ids.size), int(true_ids.size))
    sums = true_sizes[:, None] + predicted_sizes[None, :]
    dice = 2.0 * overlap / sums
    score = dice if measure == "dice" else overlap / (sums - overlap)
    chosen = (_hungarian if rule == "hungarian" else _greedy)(score, threshold)
    pairs = tuple(
        (int(true_ids[t]), int(predicted_ids[p]), float(score[t, p]), float(dice[t, p]))
        for t, p in sorted(chosen)
    )
    return InstanceMatch(
        len(pairs), int(predicted_ids.size) - len(pairs), int(true_ids.size) - len(pairs), pairs
    )


def _overlaps(
    truth: NDArray[Any], prediction: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Labels of both maps, their overlap matrix [T, P] and sizes [T], [P] in voxels."""
    foreground = (truth != 0) | (prediction != 0)
    true_ids, true_index = np.unique(truth[foreground], return_inverse=True)
    predicted_ids, predicted_index = np.unique(prediction[foreground], return_inverse=True)
    table = np.zeros((true_ids.size, predicted_ids.size), dtype=np.float64)
    np.add.at(table, (true_index, predicted_index), 1.0)
    true_sizes, predicted_sizes = table.sum(axis=1), table.sum(axis=0)
    t, p = true_ids != 0, predicted_ids != 0
    return true_ids[t], predicted_ids[p], table[t][:, p], true_sizes[t], predicted_sizes[p]


def _hungarian(score: NDArray[np.float64], threshold: float) -> list[tuple[int, int]]:
    from scipy.optimize import linear_sum_assignment

    good = score >= threshold
    # The tie-break by summed score stays below one match: at most min(shape) pairs of score 1.
    cost = -(good.astype(np.float64) + np.where(good, score, 0.0) / (2 * min(score.shape)))
    rows, columns = linear_sum_assignment(cost)
    return [(int(r), int(c)) for r, c in zip(rows, columns) if good[r, c]]


def _greedy(score: NDArray[np.float64], threshold: float) -> list[tuple[int, int]]:
    order = np.argsort(-score, axis=None, kind="stable")
    used_rows: set[int] = set()
    used_columns: set[int] = set()
    chosen = []
    for flat in order:
        row, column = divmod(int(flat), score.shape[1])
        if score[row, column] < threshold or score[row, column] <= 0:
            break
        if row in used_rows or column in used_columns:
            continue
        used_rows.add(row)
        used_columns.add(column)
        chosen.append((row, column))
    return chosen


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
