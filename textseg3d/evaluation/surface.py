"""Surface distances between two masks: surface Dice (NSD) and robust Hausdorff distance.

The definition is the one of DeepMind's surface-distance (Nikolov et al. 2018), which the
CVPR-2025 and SAT scorers use: surface elements sit on the corners between voxels, each
weighted by the area that marching cubes gives its 2x2x2 neighbourhood. Distances come from
the exact Euclidean transform of the package ``edt``, inside the bounding box of both masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import GeometryError
from textseg3d.evaluation.surface_table import triangle_vectors

Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances between two surfaces, one entry per surface element.

    Attributes:
        truth_to_prediction_mm: float64 [N], ``inf`` where the prediction is empty.
        prediction_to_truth_mm: float64 [M], ``inf`` where the truth is empty.
        truth_area_mm2: float64 [N].
        prediction_area_mm2: float64 [M].
    """

    truth_to_prediction_mm: NDArray[np.float64]
    prediction_to_truth_mm: NDArray[np.float64]
    truth_area_mm2: NDArray[np.float64]
    prediction_area_mm2: NDArray[np.float64]

    def surface_dice(self, tolerance_mm: float) -> float:
        """Share of both surfaces that lies within ``tolerance_mm`` of the other one.

        NaN if both masks are empty, 0 if one of them is.
        """
        total = self.truth_area_mm2.sum() + self.prediction_area_mm2.sum()
        if total == 0:
            return float("nan")
        near = self.truth_area_mm2[self.truth_to_prediction_mm <= tolerance_mm].sum()
        near += self.prediction_area_mm2[self.prediction_to_truth_mm <= tolerance_mm].sum()
        return float(near / total)

    def hausdorff_mm(self, percentile: float = 95.0) -> float:
        """Larger of the two area-weighted percentiles of the distances, in mm.

        NaN if both masks are empty, ``inf`` if one of them is.
        """
        if self.truth_area_mm2.size == 0 and self.prediction_area_mm2.size == 0:
            return float("nan")
        if self.truth_area_mm2.size == 0 or self.prediction_area_mm2.size == 0:
            return float("inf")
        return max(
            _weighted_percentile(self.truth_to_prediction_mm, self.truth_area_mm2, percentile),
            _weighted_percentile(self.prediction_to_truth_mm, self.prediction_area_mm2, percentile),
        )


def surface_distances(
    truth: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing_mm: Spacing
) -> SurfaceDistances:
    """Distances from each surface to the other.

    Args:
        truth: bool [D, H, W].
        prediction: bool [D, H, W].
        spacing_mm: along the same three axes.

    Raises:
        GeometryError: if the shapes differ or are not 3-D.
    """
    if truth.shape != prediction.shape or truth.ndim != 3:
        raise GeometryError(
            f"surface distances need two 3-D masks of one shape, got {truth.shape} and "
            f"{prediction.shape}; bring the prediction to the grid of the truth first"
        )
    box = bounding_box(truth | prediction)
    none = np.zeros(0)
    if box is None:
        return SurfaceDistances(none, none, none, none)
    areas = _area_table(tuple(float(s) for s in spacing_mm))
    codes_truth = _corner_codes(truth[box])
    codes_prediction = _corner_codes(prediction[box])
    border_truth = (codes_truth != 0) & (codes_truth != 255)
    border_prediction = (codes_prediction != 0) & (codes_prediction != 255)
    return SurfaceDistances(
        truth_to_prediction_mm=_distance_at(border_truth, border_prediction, spacing_mm),
        prediction_to_truth_mm=_distance_at(border_prediction, border_truth, spacing_mm),
        truth_area_mm2=areas[codes_truth[border_truth]],
        prediction_area_mm2=areas[codes_prediction[border_prediction]],
    )


def bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice] | None:
    """Smallest box [z, y, x] around the true voxels of a 3-D mask, or None if there are none."""
    slices = []
    for axis in range(3):
        line = mask.any(axis=tuple(a for a in range(3) if a != axis))
        where = np.flatnonzero(line)
        if where.size == 0:
            return None
        slices.append(slice(int(where[0]), int(where[-1]) + 1))
    return slices[0], slices[1], slices[2]


def _corner_codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Per voxel corner, the 8 voxels around it as bits: uint8 [D+1, H+1, W+1]."""
    padded = np.pad(mask, 1).astype(np.uint8)
    d, h, w = (n + 1 for n in mask.shape)
    codes = np.zeros((d, h, w), dtype=np.uint8)
    for z in (0, 1):
        for y in (0, 1):
            for x in (0, 1):
                bit = np.uint8(1 << (7 - (4 * z + 2 * y + x)))
                codes |= padded[z : z + d, y : y + h, x : x + w] * bit
    return codes


def _distance_at(
    at: NDArray[np.bool_], target: NDArray[np.bool_], spacing_mm: Spacing
) -> NDArray[np.float64]:
    """Distance in mm to the nearest element of ``target``, read at the elements of ``at``."""
    if not target.any():
        return np.full(int(at.sum()), np.inf)
    import edt

    distance = edt.edt(
        np.ascontiguousarray(~target), anisotropy=spacing_mm, black_border=False, parallel=1
    )
    return distance[at].astype(np.float64)


def _weighted_percentile(
    values: NDArray[np.float64], weights: NDArray[np.float64], percentile: float
) -> float:
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weights[order]) / weights.sum()
    index = min(int(np.searchsorted(share, percentile / 100.0)), values.size - 1)
    return float(values[order[index]])


@lru_cache(maxsize=64)
def _area_table(spacing_mm: tuple[float, ...]) -> NDArray[np.float64]:
    """float64 [256]: area in mm² of the surface inside each 2x2x2 neighbourhood code."""
    z, y, x = spacing_mm
    scale = np.array([y * x, z * x, z * y])
    vectors, codes = triangle_vectors()
    areas = np.linalg.norm(vectors * scale, axis=1)
    return np.bincount(codes, weights=areas, minlength=256).astype(np.float64)
