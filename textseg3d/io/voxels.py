"""Rules about the voxels themselves, whatever format they came in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.io.findings import Finding, FindingLog, rule
from textseg3d.io.options import ReadOptions

AIR_HU = -1024
_LOOKS_LIKE_AIR = -500


@dataclass(frozen=True)
class VoxelFacts:
    """Numbers of one pass over the voxels.

    Attributes:
        dtype: of the array.
        count: number of voxels.
        not_finite: how many are NaN or Inf.
        low: smallest finite value (0 where there is none).
        high: largest finite value (0 where there is none).
        modality: "CT", "MR" or "" where the format does not say.
    """

    dtype: np.dtype[Any]
    count: int
    not_finite: int
    low: float
    high: float
    modality: str = ""


def voxel_facts(array: NDArray[Any], modality: str = "") -> VoxelFacts:
    """One pass over an array [i, j, k] of any dtype and memory order."""
    if array.dtype.kind != "f":
        return VoxelFacts(
            array.dtype, array.size, 0, float(array.min()), float(array.max()), modality
        )
    low, high = float(array.min()), float(array.max())
    not_finite = 0
    if not (np.isfinite(low) and np.isfinite(high)):
        finite = np.isfinite(array)
        not_finite = int(array.size - np.count_nonzero(finite))
        low = high = 0.0
        if not_finite < array.size:
            low = float(array.min(where=finite, initial=np.inf))
            high = float(array.max(where=finite, initial=-np.inf))
    return VoxelFacts(array.dtype, array.size, not_finite, low, high, modality)


@rule("N20", "voxels", "all voxels are finite")
def _n20(facts: VoxelFacts, options: ReadOptions) -> Iterator[Finding]:
    if facts.not_finite * 2 > facts.count:
        yield Finding(
            "N20",
            "reject",
            f"{facts.not_finite} of {facts.count} voxels are NaN or Inf; export the scan anew",
        )
    elif facts.not_finite:
        yield Finding(
            "N20",
            "fix",
            f"{facts.not_finite} voxels are NaN or Inf, set to {fill_value(facts):g}",
        )


@rule("N22", "voxels", "intensities vary and look like HU")
def _n22(facts: VoxelFacts, options: ReadOptions) -> Iterator[Finding]:
    if facts.modality == "MR" or facts.not_finite == facts.count:
        return
    what = ""
    if facts.low == facts.high:
        what = f"all voxels are {facts.low:g}"
    elif facts.high <= -900:
        what = f"all voxels are air ({facts.low:g} to {facts.high:g})"
    elif facts.low >= 0 and facts.high <= 255:
        what = f"values run from {facts.low:g} to {facts.high:g}"
    if what:
        yield Finding(
            "N22",
            "warn",
            f"intensities do not look like HU: {what}; a window/levelled image or a label map?",
        )


def fill_value(facts: VoxelFacts) -> float:
    """What a voxel without a value becomes: air where values look like HU, else the minimum."""
    return float(AIR_HU) if facts.low <= _LOOKS_LIKE_AIR else facts.low


def check_voxels(
    array: NDArray[Any], log: FindingLog, options: ReadOptions, modality: str = ""
) -> None:
    """Run the voxel rules, and repair (in place) what they allow.

    Raises:
        InputError: N20 when most voxels have no value.
    """
    facts = voxel_facts(array, modality)
    log.run("voxels", facts, options)
    if facts.not_finite:
        array[~np.isfinite(array)] = fill_value(facts)
