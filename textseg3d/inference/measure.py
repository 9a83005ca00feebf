"""Measurements of a mask: instances, sizes, densities, and the side on which it lies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.inference.masks import PackedMask
from textseg3d.io import Volume

MAX_INSTANCES = 200


@dataclass(frozen=True)
class Instance:
    """One connected component (26 neighbours) of a mask.

    Attributes:
        volume_ml: voxels times voxel volume.
        centroid_mm_lps: (x, y, z) of the mean voxel centre.
        longest_axial_diameter_mm: over the scan's axial slices, the largest distance between
            two voxel centres of the component in one slice, plus one mean in-plane voxel size
            (so that a single voxel has its own size).
        mean_hu: mean scan value (channel 0) over its voxels.
    """

    volume_ml: float
    centroid_mm_lps: tuple[float, float, float]
    longest_axial_diameter_mm: float
    mean_hu: float

    def to_json(self) -> dict[str, Any]:
        """The object of `<case>.json`."""
        return {
            "volume_ml": round(self.volume_ml, 4),
            "centroid_mm_lps": [round(c, 2) for c in self.centroid_mm_lps],
            "longest_axial_diameter_mm": round(self.longest_axial_diameter_mm, 2),
            "mean_hu": round(self.mean_hu, 2),
        }


def voxel_ml(volume: Volume) -> float:
    """Volume of one voxel in millilitres."""
    return float(np.prod(volume.spacing_mm)) / 1000


def measure_instances(mask: PackedMask, volume: Volume) -> tuple[list[Instance], int]:
    """The components of a mask, largest first, at most :data:`MAX_INSTANCES`.

    Returns:
        The instances, and the number of components in all.
    """
    import cc3d

    if not mask.bits.size:
        return [], 0
    crop = mask.crop()
    labels, count = cc3d.connected_components(crop, connectivity=26, return_N=True)
    statistics = cc3d.statistics(labels)
    voxels = statistics["voxel_counts"]
    sums = _sums(labels, crop, volume.array[0][mask.box], count)
    del crop
    order = np.argsort(-voxels[1:].astype(np.int64), kind="stable")[:MAX_INSTANCES] + 1
    origin = np.array([s.start for s in mask.box], dtype=np.float64)
    instances = []
    for label in order:
        box = statistics["bounding_boxes"][label]
        zyx = statistics["centroids"][label] + origin
        world = volume.affine_lps @ [*zyx[::-1], 1.0]
        instances.append(
            Instance(
                float(voxels[label]) * voxel_ml(volume),
                (float(world[0]), float(world[1]), float(world[2])),
                axial_diameter_mm(labels[box] == label, volume.spacing_mm),
                float(sums[label] / voxels[label]),
            )
        )
    return instances, int(count)


def _sums(
    labels: NDArray[Any], mask: NDArray[np.bool_], values: NDArray[Any], count: int
) -> NDArray[np.float64]:
    """Sum of ``values`` per label [count + 1], slice by slice to stay small."""
    total = np.zeros(count + 1)
    for plane, inside, value in zip(labels, mask, values):
        if inside.any():
            total += np.bincount(plane[inside], weights=value[inside], minlength=count + 1)
    return total


def axial_diameter_mm(
    component: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> float:
    """See :attr:`Instance.longest_axial_diameter_mm`; ``component`` is bool [D, H, W]."""
    best = 0.0
    for points in _outlines(component, spacing_mm[1], spacing_mm[2]):
        if np.hypot(*np.ptp(points, axis=0)) <= best:
            continue
        hull = _hull(points)
        difference = hull[:, None] - hull[None]
        best = max(best, float(np.hypot(difference[..., 0], difference[..., 1]).max()))
    return best + (spacing_mm[1] + spacing_mm[2]) / 2


def _outlines(component: NDArray[np.bool_], dy: float, dx: float) -> Iterator[NDArray[np.float64]]:
    """Per slice, the first and last voxel centre of each row in mm [N, 2], widest slice first."""
    width = component.shape[2]
    sizes = component.sum(axis=(1, 2))
    for z in np.argsort(-sizes, kind="stable"):
        if not sizes[z]:
            return
        rows = np.flatnonzero(component[z].any(axis=1))
        plane = component[z, rows]
        first, last = plane.argmax(axis=1), width - 1 - plane[:, ::-1].argmax(axis=1)
        yield np.column_stack([np.tile(rows * dy, 2), np.concatenate([first, last]) * dx])


def _hull(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners of the convex hull, or all points where they are few or on a line."""
    from scipy.spatial import ConvexHull, QhullError

    if len(points) < 64:
        return points
    try:
        return points[ConvexHull(points).vertices]
    except QhullError:
        return points


def side_warning(
    text: str, side: str, mask: PackedMask, midline: NDArray[np.float64] | None, low_width: int
) -> str | None:
    """A warning if the centroid of a sided mask lies on the other side of the body's midline.

    Args:
        text: of the prompt, for the message.
        side: "left" or "right".
        mask: on the scan's grid.
        midline: x of the body's middle per slice of the network's grid, NaN without body.
        low_width: voxels of the network's grid along x.
    """
    if midline is None or not mask.voxels:
        return None
    depth, _, width = mask.shape
    crop = mask.crop()
    per_x, per_z = crop.sum(axis=(0, 1)), crop.sum(axis=(1, 2))
    x = mask.box[2].start + float((per_x * np.arange(len(per_x))).sum() / per_x.sum())
    slices = np.flatnonzero(per_z) + mask.box[0].start
    low_slices = ((slices + 0.5) * len(midline) / depth).astype(int).clip(0, len(midline) - 1)
    middles = midline[low_slices]
    weights = per_z[per_z > 0] * np.isfinite(middles)
    if not weights.sum():
        return None
    middle = float((np.nan_to_num(middles) * weights).sum() / weights.sum())
    low_x = (x + 0.5) * low_width / width - 0.5
    if (low_x > middle) == (side == "left"):  # x grows to the left
        return None
    other = "right" if side == "left" else "left"
    return f"the mask of {text!r} lies {other} of the body's midline; check its side"
