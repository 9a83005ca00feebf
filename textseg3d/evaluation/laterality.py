"""Left-right errors, counted on their own: a swapped kidney is worse than a poor outline."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from textseg3d.evaluation.metrics import finite_or_none

Side = Literal["left", "right"]


@dataclass(frozen=True)
class Laterality:
    """Where a sided mask lies.

    Attributes:
        side: that the prompt asked for.
        wrong_side_share: share of the predicted voxels beyond the midline, 0..1.
        overlap_own: share of the predicted voxels inside the truth of that side.
        overlap_opposite: share inside the truth of the other side; NaN where that is unknown.
        error: the mask lies mostly on the wrong side, or overlaps the opposite truth more
            than its own.
    """

    side: Side
    wrong_side_share: float
    overlap_own: float
    overlap_opposite: float
    error: bool

    def to_json(self) -> dict[str, Any]:
        """A JSON object; NaN becomes null."""
        return {key: finite_or_none(value) for key, value in asdict(self).items()}


def body_midline_x(
    image_hu: NDArray[Any],
    pairs: tuple[tuple[NDArray[np.bool_], NDArray[np.bool_]], ...] = (),
) -> float:
    """Voxel index x of the body's midline, constant over the scan.

    With true left-right pairs, the mean over pairs of the middle between their centroids;
    otherwise the centre of mass of what is not air (above -300 HU).

    Args:
        image_hu: [D, H, W] in LPS+ order (x grows to the Left).
        pairs: (left, right) truth masks [D, H, W], none of them empty.
    """
    if pairs:
        return float(np.mean([(_mean_x(left) + _mean_x(right)) / 2 for left, right in pairs]))
    body = image_hu > -300
    return _mean_x(body) if body.any() else (image_hu.shape[2] - 1) / 2


def check_laterality(
    prediction: NDArray[np.bool_],
    side: Side,
    midline_x: float,
    own_truth: NDArray[np.bool_],
    opposite_truth: NDArray[np.bool_] | None = None,
) -> Laterality:
    """Whether a sided mask lies on the side that was asked for; an empty one is no error.

    Args:
        prediction: bool [D, H, W] in LPS+ order.
        side: of the prompt.
        midline_x: voxel index x of the midline.
        own_truth: bool [D, H, W].
        opposite_truth: bool [D, H, W], None where the other side is not annotated.
    """
    total = int(np.count_nonzero(prediction))
    if total == 0:
        return Laterality(side, 0.0, 0.0, 0.0 if opposite_truth is not None else np.nan, False)
    per_x = np.count_nonzero(prediction, axis=(0, 1))
    x = np.arange(prediction.shape[2])
    wrong = per_x[x < midline_x].sum() if side == "left" else per_x[x > midline_x].sum()
    own = float(np.count_nonzero(prediction & own_truth)) / total
    opposite = float("nan")
    if opposite_truth is not None:
        opposite = float(np.count_nonzero(prediction & opposite_truth)) / total
    share = float(wrong) / total
    return Laterality(side, share, own, opposite, bool(share > 0.5 or opposite > own))


def _mean_x(mask: NDArray[np.bool_]) -> float:
    per_x = np.count_nonzero(mask, axis=(0, 1))
    return float((per_x * np.arange(mask.shape[2])).sum() / per_x.sum())
