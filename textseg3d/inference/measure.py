"""Measurements of a mask: instances, sizes, densities, and the side on which it lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from textseg3d.inference.masks import PackedMask, count_bits
from textseg3d.inference.runs import Runs
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


class Instances(Sequence[Instance]):
    """The components of a mask, largest first; measured when somebody looks.

    Args:
        mask: on the scan's grid.
        volume: the scan.
    """

    def __init__(self, mask: PackedMask, volume: Volume) -> None:
        self._mask, self._volume = mask, volume

    @cached_property
    def _measured(self) -> tuple[tuple[Instance, ...], int]:
        found, count = measure_instances(self._mask, self._volume)
        return tuple(found), count

    @property
    def total(self) -> int:
        """Components in all; more than :data:`MAX_INSTANCES` are not listed."""
        return self._measured[1]

    @overload
    def __getitem__(self, index: int) -> Instance: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Instance, ...]: ...

    def __getitem__(self, index: int | slice) -> Instance | tuple[Instance, ...]:
        return self._measured[0][index]

    def __len__(self) -> int:
        return len(self._measured[0])

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Instances):
            return self is other or self._measured == other._measured
        return isinstance(other, tuple) and self._measured[0] == other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self._measured[0])


def voxel_ml(volume: Volume) -> float:
    """Volume of one voxel in millilitres."""
    return float(np.prod(volume.spacing_mm)) / 1000


def measure_instances(mask: PackedMask, volume: Volume) -> tuple[list[Instance], int]:
    """The components of a mask, largest first, at most :data:`MAX_INSTANCES`.

    Returns:
        The instances, and the number of components in all.
    """
    runs = runs_of(mask)
    label, count = runs.components()
    if not count:
        return [], 0
    length = runs.length
    voxels = np.bincount(label, length, count)
    sums = runs.sums(label, count, volume.array[0][mask.box][mask.crop()])
    middle = (runs.z, runs.y, (runs.first + runs.last) / 2)
    centres = np.stack([np.bincount(label, m * length, count) for m in middle], axis=1)
    order = np.argsort(-voxels, kind="stable")[:MAX_INSTANCES]
    by_label = np.argsort(label, kind="stable")
    edges = np.searchsorted(label[by_label], np.arange(count + 1))
    origin = np.array([s.start for s in mask.box], dtype=np.float64)
    instances = []
    for one in order:
        zyx = centres[one] / voxels[one] + origin
        world = volume.affine_lps @ [*zyx[::-1], 1.0]
        own = runs[by_label[edges[one] : edges[one + 1]]]
        instances.append(
            Instance(
                float(voxels[one]) * voxel_ml(volume),
                (float(world[0]), float(world[1]), float(world[2])),
                _diameter_mm(own, volume.spacing_mm),
                float(sums[one] / voxels[one]),
            )
        )
    return instances, count


def runs_of(mask: PackedMask) -> Runs:
    """Runs of a mask; their z, y, x count from the start of its box."""
    z, y, x = (s.stop - s.start for s in mask.box)
    return Runs.of_bits(mask.bits, (z, y, x))


def _centre(mask: PackedMask) -> tuple[NDArray[np.int64], float]:
    """Voxels of each slice of a mask's box, and the mean x of all."""
    if not (mask.aligned and hasattr(np, "bitwise_count")):
        runs = runs_of(mask)
        length = runs.length
        total = int((length * (runs.first + runs.last)).sum())
        per_z = np.bincount(runs.z, length).astype(np.int64)
        return per_z, mask.box[2].start + total / 2 / int(length.sum())
    rows = mask.rows
    kind = np.uint16 if 8 * rows.shape[1] < 2**16 else np.int64
    per_byte = np.einsum("zyx->zx", np.bitwise_count(rows), dtype=kind, casting="unsafe")
    per_byte = per_byte.astype(np.int64)  # [z, x / 8]
    places = 8 * int((per_byte.sum(axis=0) * np.arange(rows.shape[2])).sum())
    for bits, distance in ((0x0F, 4), (0x33, 2), (0x55, 1)):  # of x in its byte
        places += distance * count_bits(rows, bits)
    per_z = per_byte.sum(axis=1)
    return per_z, mask.box[2].start + places / int(per_z.sum())


def axial_diameter_mm(
    component: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> float:
    """See :attr:`Instance.longest_axial_diameter_mm`; ``component`` is bool [D, H, W]."""
    return _diameter_mm(Runs.of(component), spacing_mm)


def _diameter_mm(runs: Runs, spacing_mm: tuple[float, float, float]) -> float:
    _, dy, dx = spacing_mm
    return runs.axial_diameter(dy, dx) + (dy + dx) / 2


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
    per_z, x = _centre(mask)
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
