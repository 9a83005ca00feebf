"""Look at every case of a dataset once, and say what planning needs to know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from textseg3d.dataset.description import Label
from textseg3d.dataset.folder import Dataset, DatasetCase
from textseg3d.dataset.parallel import map_in_processes
from textseg3d.dataset.reading import read_case
from textseg3d.errors import InputError
from textseg3d.plans.fingerprint import Fingerprint
from textseg3d.preprocessing.crop import crop_to_nonzero

FOREGROUND_SAMPLES = 100_000_000  # of the whole dataset, as in nnU-Net
SEED = 1234  # nnU-Net's
SIDE_SHARE = 0.05  # of a label's voxels, to count as present on a side
Progress = Callable[[str, int, int], object]


@dataclass(frozen=True)
class _CaseFacts:
    """``intensities``: per channel, values that occur in the foreground sample, and how often."""

    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]
    relative_size: float
    intensities: tuple[tuple[NDArray[np.float32], NDArray[np.int64]], ...]
    voxels: dict[str, int]
    sides: dict[str, tuple[str, ...]]


def extract_fingerprint(
    dataset: Dataset,
    *,
    processes: int = 1,
    assume_orientation: str | None = None,
    on_progress: Progress | None = None,
) -> Fingerprint:
    """The fingerprint of a dataset, with the numbers of nnU-Net's extractor.

    Intensity statistics are those of an equal number of foreground voxels per case, drawn with
    replacement by nnU-Net's generator; they are kept as counts of values, not as 400 MB of them.

    Args:
        dataset: whose cases are read.
        processes: that read.
        assume_orientation: for files that state none, see `read_volume`.
        on_progress: called with ("fingerprint", done, total).

    Raises:
        InputError: for an unreadable case, or a dataset without any foreground.
    """
    work = partial(
        _case_facts,
        labels=dataset.description.labels,
        channels=len(dataset.description.channel_names),
        samples=FOREGROUND_SAMPLES // len(dataset.cases),
        assume_orientation=assume_orientation,
    )
    facts: list[_CaseFacts] = []
    for found in map_in_processes(work, dataset.cases, processes):
        facts.append(found)
        if on_progress is not None:
            on_progress("fingerprint", len(facts), len(dataset.cases))
    names = [label.name for label in dataset.description.labels]
    return Fingerprint(
        spacings=tuple(f.spacing for f in facts),
        shapes_after_crop=tuple(f.shape for f in facts),
        foreground_intensity_properties_per_channel={
            str(channel): _statistics([f.intensities[channel] for f in facts], dataset.name)
            for channel in range(len(dataset.description.channel_names))
        },
        median_relative_size_after_cropping=float(np.median([f.relative_size for f in facts])),
        cases=tuple(case.name for case in dataset.cases),
        foreground_voxels={name: tuple(f.voxels[name] for f in facts) for name in names},
        sides_present={
            name: {side: sum(side in f.sides[name] for f in facts) for side in ("left", "right")}
            for name in names
        },
    )


def _case_facts(
    case: DatasetCase,
    *,
    labels: tuple[Label, ...],
    channels: int,
    samples: int,
    assume_orientation: str | None,
) -> _CaseFacts:
    arrays = read_case(case, assume_orientation=assume_orientation)
    if len(arrays.image) != channels:
        raise InputError(
            f"case {case.name} has {len(arrays.image)} channels, dataset.json {channels}"
        )
    image, truth, _ = crop_to_nonzero(arrays.image, arrays.labels)
    foreground = truth > 0
    generator = np.random.RandomState(SEED)
    intensities = []
    for channel in image:
        values = channel[foreground]
        if len(values):
            drawn = np.bincount(generator.randint(0, len(values), samples), minlength=len(values))
            distinct, where = np.unique(values, return_inverse=True)
            counts = np.bincount(where, weights=drawn).astype(np.int64)
            intensities.append((distinct, counts))
        else:
            intensities.append((values, np.zeros(0, np.int64)))
    voxels, sides = {}, {}
    for label in labels:
        columns = np.isin(truth, label.values).sum(axis=(0, 1))
        voxels[label.name] = total = int(columns.sum())
        middle = len(columns) / 2  # x grows to the left
        left = int(columns[int(np.ceil(middle)) :].sum())
        right = int(columns[: int(middle)].sum())
        enough = max(1.0, SIDE_SHARE * total)
        sides[label.name] = tuple(
            side for side, n in (("left", left), ("right", right)) if n >= enough
        )
    d, h, w = image.shape[1:]
    return _CaseFacts(
        spacing=arrays.volume.spacing_mm,
        shape=(d, h, w),
        relative_size=float(d * h * w / np.prod(arrays.image.shape[1:])),
        intensities=tuple(intensities),
        voxels=voxels,
        sides=sides,
    )


def _statistics(
    parts: list[tuple[NDArray[np.float32], NDArray[np.int64]]], name: str
) -> dict[str, float]:
    """Statistics of values with counts, over cases."""
    values = np.concatenate([v for v, _ in parts]).astype(np.float64)
    counts = np.concatenate([n for _, n in parts])
    values, counts = values[counts > 0], counts[counts > 0]
    if not len(values):
        raise InputError(f"{name} has no foreground voxel in any case; check its labels")
    order = np.argsort(values)
    values, counts = values[order], counts[order]
    mean = float(np.average(values, weights=counts))
    low, median, high = (_percentile(values, counts, p) for p in (0.5, 50.0, 99.5))
    return {
        "mean": mean,
        "median": median,
        "std": float(np.sqrt(np.average((values - mean) ** 2, weights=counts))),
        "min": float(values[0]),
        "max": float(values[-1]),
        "percentile_99_5": high,
        "percentile_00_5": low,
    }


def _percentile(values: NDArray[np.float64], counts: NDArray[np.int64], percent: float) -> float:
    """``np.percentile`` (linear) of rising ``values`` that occur ``counts`` times."""
    ends = np.cumsum(counts)
    position = percent / 100 * (int(ends[-1]) - 1)
    below = int(np.floor(position))
    above = min(below + 1, int(ends[-1]) - 1)
    low = values[np.searchsorted(ends, below, side="right")]
    high = values[np.searchsorted(ends, above, side="right")]
    return float(low + (high - low) * (position - below))
