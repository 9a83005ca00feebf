"""Overlap, volume and presence scores of masks, and bootstrap confidence intervals."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from textseg3d.errors import GeometryError, UsageError
from textseg3d.evaluation.surface import Spacing, surface_distances


def dice(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> float:
    """Dice coefficient of two masks of one shape; NaN if both are empty.

    Raises:
        GeometryError: if the shapes differ.
    """
    _same_shape(truth, prediction)
    total = int(np.count_nonzero(truth)) + int(np.count_nonzero(prediction))
    if total == 0:
        return float("nan")
    return 2.0 * int(np.count_nonzero(truth & prediction)) / total


def iou(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks of one shape; NaN if both are empty.

    Raises:
        GeometryError: if the shapes differ.
    """
    _same_shape(truth, prediction)
    union = int(np.count_nonzero(truth | prediction))
    if union == 0:
        return float("nan")
    return int(np.count_nonzero(truth & prediction)) / union


def volume_ml(mask: NDArray[np.bool_], spacing_mm: Spacing) -> float:
    """Volume of a mask [D, H, W] in millilitres."""
    return int(np.count_nonzero(mask)) * float(np.prod(spacing_mm)) / 1000.0


def normalized_surface_dice(
    truth: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    spacing_mm: Spacing,
    tolerance_mm: float,
) -> float:
    """NSD: share of both surfaces within ``tolerance_mm`` of each other (see ``surface``)."""
    return surface_distances(truth, prediction, spacing_mm).surface_dice(tolerance_mm)


def hausdorff95_mm(
    truth: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing_mm: Spacing
) -> float:
    """HD95 in mm: area-weighted 95th percentile, the larger of both directions."""
    return surface_distances(truth, prediction, spacing_mm).hausdorff_mm(95.0)


@dataclass(frozen=True)
class MaskScores:
    """Scores of one mask; NaN where a score has no meaning (both empty).

    Attributes:
        dice: 0..1.
        nsd: surface Dice at ``tolerance_mm``, 0..1.
        tolerance_mm: of ``nsd``.
        hd95_mm: ``inf`` if exactly one mask is empty.
        truth_ml: volume of the truth.
        prediction_ml: volume of the prediction.
        volume_error_ml: prediction minus truth.
        relative_volume_error: that, divided by the truth's volume; NaN for an empty truth.
    """

    dice: float
    nsd: float
    tolerance_mm: float
    hd95_mm: float
    truth_ml: float
    prediction_ml: float
    volume_error_ml: float
    relative_volume_error: float

    def to_json(self) -> dict[str, float | None]:
        """A JSON object; NaN and infinities become null."""
        return {key: finite_or_none(value) for key, value in asdict(self).items()}


def score_mask(
    truth: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    spacing_mm: Spacing,
    *,
    tolerance_mm: float,
    ignore: NDArray[np.bool_] | None = None,
) -> MaskScores:
    """All scores of one mask.

    Args:
        truth: bool [D, H, W].
        prediction: bool [D, H, W].
        spacing_mm: (z, y, x).
        tolerance_mm: of the surface Dice.
        ignore: bool [D, H, W]; voxels that count neither as truth nor as prediction. Surfaces
            are compared as if the truth agreed with the prediction there.

    Raises:
        GeometryError: if the shapes differ.
    """
    _same_shape(truth, prediction)
    if ignore is None:
        distances = surface_distances(truth, prediction, spacing_mm)
    else:
        # Cutting holes would give both masks the same extra surface; taking the prediction's
        # word inside them adds none that the prediction has not.
        agreed = np.where(ignore, prediction, truth)
        distances = surface_distances(agreed, prediction, spacing_mm)
        truth, prediction = truth & ~ignore, prediction & ~ignore
    truth_ml = volume_ml(truth, spacing_mm)
    prediction_ml = volume_ml(prediction, spacing_mm)
    error = prediction_ml - truth_ml
    return MaskScores(
        dice=dice(truth, prediction),
        nsd=distances.surface_dice(tolerance_mm),
        tolerance_mm=tolerance_mm,
        hd95_mm=distances.hausdorff_mm(95.0),
        truth_ml=truth_ml,
        prediction_ml=prediction_ml,
        volume_error_ml=error,
        relative_volume_error=error / truth_ml if truth_ml > 0 else float("nan"),
    )


def presence_auc(present: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve: P(score of a present one > score of an absent one).

    Ties count half. NaN if all are present or all are absent.

    Args:
        present: bool [N].
        score: float [N].

    Raises:
        UsageError: if the lengths differ.
    """
    labels, scores = np.asarray(present, dtype=bool), np.asarray(score, dtype=np.float64)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise UsageError(
            f"presence_auc needs two lists of one length, got {labels.shape} and {scores.shape}"
        )
    positive, negative = int(labels.sum()), int((~labels).sum())
    if positive == 0 or negative == 0:
        return float("nan")
    from scipy.stats import rankdata

    ranks = rankdata(scores)
    return float((ranks[labels].sum() - positive * (positive + 1) / 2) / (positive * negative))


@dataclass(frozen=True)
class Interval:
    """A mean with a bootstrap confidence interval.

    Attributes:
        mean: over all values that are not NaN.
        low: lower bound; NaN with fewer than two clusters.
        high: upper bound.
        values: how many values went in.
        clusters: how many independent units (patients) they come from.
    """

    mean: float
    low: float
    high: float
    values: int
    clusters: int

    def to_json(self) -> dict[str, Any]:
        """A JSON object; NaN becomes null."""
        return {key: finite_or_none(value) for key, value in asdict(self).items()}


def bootstrap_mean(
    values: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean and percentile bootstrap interval; whole clusters (patients) are drawn.

    Values of one scan are not independent of each other, so scans are resampled, not values.

    Args:
        values: NaN entries are left out.
        clusters: one key per value; None takes each value as its own cluster.
        level: 0.95 gives the 2.5th and 97.5th percentile.
        resamples: number of bootstrap draws.
        seed: of the draws; equal seeds give equal intervals.

    Raises:
        UsageError: if ``clusters`` has another length than ``values``.
    """
    keys = list(range(len(values))) if clusters is None else list(clusters)
    if len(keys) != len(values):
        raise UsageError(f"got {len(values)} values but {len(keys)} clusters; give one per value")
    pairs = [(k, float(v)) for k, v in zip(keys, values) if not np.isnan(v)]
    if not pairs:
        return Interval(float("nan"), float("nan"), float("nan"), 0, 0)
    names = list(dict.fromkeys(k for k, _ in pairs))
    sums = np.array([sum(v for k, v in pairs if k == n) for n in names])
    counts = np.array([sum(1 for k, _ in pairs if k == n) for n in names])
    mean = float(sums.sum() / counts.sum())
    if len(names) < 2:
        return Interval(mean, float("nan"), float("nan"), len(pairs), len(names))
    draw = np.random.default_rng(seed).integers(0, len(names), size=(resamples, len(names)))
    means = sums[draw].sum(axis=1) / counts[draw].sum(axis=1)
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return Interval(mean, float(low), float(high), len(pairs), len(names))


def mean_or_nan(values: Sequence[float]) -> float:
    """Mean of the values that are not NaN; NaN if there are none."""
    kept = [v for v in values if not np.isnan(v)]
    return float(np.mean(kept)) if kept else float("nan")


def finite_or_none(value: Any) -> Any:
    """The value itself, or None for NaN and infinities (which JSON does not have)."""
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value


def _same_shape(truth: NDArray[Any], prediction: NDArray[Any]) -> None:
    if truth.shape != prediction.shape:
        raise GeometryError(
            f"the prediction has shape {prediction.shape}, the truth {truth.shape}; "
            "bring the prediction to the grid of the truth first"
        )
