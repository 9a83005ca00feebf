"""Preprocess a dataset by its plans: transpose, crop, normalise, resample, store."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textseg3d.dataset.description import Label
from textseg3d.dataset.folder import Dataset, DatasetCase
from textseg3d.dataset.parallel import map_in_processes
from textseg3d.dataset.reading import CaseArrays, read_case
from textseg3d.errors import PlansError, UsageError
from textseg3d.plans.fingerprint import Fingerprint
from textseg3d.plans.jsonio import to_json
from textseg3d.plans.schema import Configuration, Plans
from textseg3d.preprocessing.body import body_box
from textseg3d.preprocessing.crop import crop_to_nonzero
from textseg3d.preprocessing.cubic import new_shape, resample_to_shape
from textseg3d.preprocessing.resample import resample
from textseg3d.preprocessing.schemes import normalise_channels
from textseg3d.preprocessing.store import CaseRecord, CaseStore, packed_bytes

RECIPE_VERSION = 2  # raise it when the same plans would give other arrays
# At the peak a worker holds the scan, its normalised copy, the resampled image, labels and the
# float64 scores of the label that is being resampled.
PEAK_BYTES_PER_VOXEL = 32
PROMPTED = "PromptUNet"  # its configurations are resampled with antialiasing
HU_SCHEMES = ("CTNormalization", "NoNormalization")
Progress = Callable[[str, int, int], object]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Recipe:
    """Everything that a case's arrays depend on besides its files."""

    plans: Plans
    configuration: Configuration
    labels: tuple[Label, ...]
    assume_orientation: str | None

    def hash(self, case: DatasetCase) -> str:
        """Changes with the settings that matter and with the files' size or time."""
        c = self.configuration
        files = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in _files(case)]
        settings = [
            RECIPE_VERSION, c.spacing, c.normalization_schemes, c.use_mask_for_norm,
            c.resampling_fn_data_kwargs, c.resampling_fn_seg_kwargs,
            self.plans.transpose_forward, self.assume_orientation,
            c.architecture.network_class_name == PROMPTED,
            self.plans.foreground_intensity_properties_per_channel,
            [to_json(label) for label in self.labels], files,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Estimate:
    """What preprocessing will need, from the fingerprint alone.

    Attributes:
        voxels: of all cases and channels together, after resampling.
        disk_bytes: at most, as compression only makes it less.
        worker_bytes: memory of one process at its largest case.
    """

    voxels: int
    disk_bytes: int
    worker_bytes: int


def estimate(fingerprint: Fingerprint, plans: Plans, configuration: Configuration) -> Estimate:
    """Disk and memory that a configuration's preprocessing needs."""
    spacing = [configuration.spacing[axis] for axis in plans.transpose_backward]
    channels = len(fingerprint.foreground_intensity_properties_per_channel)
    before = [math.prod(shape) for shape in fingerprint.shapes_after_crop]
    after = [
        math.prod(new_shape(shape, old, spacing))
        for shape, old in zip(fingerprint.shapes_after_crop, fingerprint.spacings, strict=True)
    ]
    largest = max(b + a for b, a in zip(before, after, strict=True))
    return Estimate(
        voxels=channels * sum(after),
        disk_bytes=sum(after) * (4 * channels + 2),  # float32 image, int16 labels
        worker_bytes=largest * channels * PEAK_BYTES_PER_VOXEL + 300_000_000,
    )


def seconds_per_voxel(configuration: Configuration, *, side: int = 48) -> float:
    """Processor time per resampled voxel of one channel, tried on a block of noise on this machine.

    Normalising, resampling, labels and compression are in it; reading files is not.

    Args:
        configuration: for the orders of resampling.
        side: of the block in voxels; it is enlarged by a third.
    """
    import time

    image = np.random.default_rng(0).normal(size=(1, side, side, side)).astype(np.float32)
    labels = (image[0] > 1).astype(np.int16)
    wide = (4 * side // 3,) * 3
    of_data = configuration.resampling_fn_data_kwargs or {}
    of_seg = configuration.resampling_fn_seg_kwargs or {"is_seg": True, "order": 1}
    spent = 0.0
    for _ in range(2):  # the first time loads libraries
        start = time.process_time()
        normal = (image - image.mean()) / image.std()
        data = resample_to_shape(normal, wide, (4.0,) * 3, (3.0,) * 3, **of_data).numpy()
        truth = resample_to_shape(labels[None], wide, (4.0,) * 3, (3.0,) * 3, **of_seg)[0]
        packed_bytes(data)
        packed_bytes(np.asarray(truth))
        spent = time.process_time() - start
    return spent / math.prod(wide)


def store_folder(preprocessed: Path, configuration: Configuration) -> Path:
    """Where a configuration's cases lie: beside nnU-Net's own, under a name of its own.

    Raises:
        PlansError: if the plans name no folder.
    """
    if not configuration.data_identifier:
        raise PlansError("the configuration has no data_identifier; plan again")
    return Path(preprocessed) / f"textseg3d_{configuration.data_identifier}"


def preprocess_dataset(
    dataset: Dataset,
    plans: Plans,
    name: str,
    preprocessed: Path,
    *,
    processes: int = 1,
    assume_orientation: str | None = None,
    on_progress: Progress | None = None,
) -> CaseStore:
    """Bring every case of a dataset to a configuration's grid and intensities.

    Cases that are there, made by the same plans from the same files, are kept. Files appear
    whole or not at all, so that a run which was killed goes on where it was, to the same bytes.

    Args:
        dataset: whose cases.
        plans: of the dataset.
        name: of the configuration.
        preprocessed: folder of the dataset; the store becomes a folder in it.
        processes: that work.
        assume_orientation: for files that state none, see `read_volume`.
        on_progress: called with ("preprocess NAME", done, total).

    Raises:
        PlansError: for an unknown configuration, or one that does not fit the data.
        InputError: for an unreadable case.
        UsageError: if another run writes there.
    """
    from filelock import FileLock, Timeout

    configuration = plans.configuration(name)
    store = CaseStore(store_folder(preprocessed, configuration))
    store.folder.mkdir(parents=True, exist_ok=True)
    recipe = _Recipe(plans, configuration, dataset.description.labels, assume_orientation)
    try:
        with FileLock(store.folder / ".lock", timeout=0):
            store.remove_leftovers()
            missing = [p for case in dataset.cases for p in _files(case) if not p.is_file()]
            if missing:
                raise PlansError(f"there is no file {missing[0]}; verify the dataset first")
            todo = [c for c in dataset.cases if not store.is_done(c.name, recipe.hash(c))]
            kept = len(dataset.cases) - len(todo)
            if kept:
                logger.info("%s: %d cases are there already", name, kept)
            work = partial(_process_and_save, recipe=recipe, store=store)
            for done, _ in enumerate(map_in_processes(work, todo, processes), start=kept + 1):
                if on_progress is not None:
                    on_progress(f"preprocess {name}", done, len(dataset.cases))
    except Timeout:
        raise UsageError(f"another run is preprocessing into {store.folder}; wait for it") from None
    return store


def free_disk_bytes(folder: Path) -> int:
    """Free bytes where ``folder`` is, or will be."""
    existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    return shutil.disk_usage(existing).free


def process_case(
    arrays: CaseArrays, plans: Plans, configuration: Configuration
) -> tuple[NDArray[np.float32], NDArray[np.int16], tuple[slice, slice, slice]]:
    """Transpose, crop, normalise and resample one case, in nnU-Net's order.

    Scans are resampled as nnU-Net does it, but for configurations of a prompted network as
    prediction does it: linearly, averaging where the grid becomes coarser.

    Args:
        arrays: of the case.
        plans: for the transposition and the foreground statistics.
        configuration: for everything else.

    Returns:
        image float32 [C, D, H, W], labels int16 [D, H, W] (−1 outside), and the box that was
        kept, along the transposed axes.

    Raises:
        PlansError: if the configuration does not fit the scan.
    """
    order = plans.transpose_forward
    image = arrays.image.transpose(0, *(axis + 1 for axis in order))
    image, labels, box = crop_to_nonzero(image, arrays.labels.transpose(order))
    spacing = [arrays.volume.spacing_mm[axis] for axis in order]
    shape = new_shape(labels.shape, spacing, configuration.spacing)
    if min(shape) < 1:
        raise PlansError(
            f"a scan of {labels.shape} voxels (z, y, x) at {spacing} mm has none left at "
            f"{list(configuration.spacing)} mm; choose a finer spacing"
        )
    if configuration.normalization_schemes is None:
        raise PlansError("the configuration has no normalization_schemes; plan again")
    normal = normalise_channels(
        image,
        configuration.normalization_schemes,
        plans.foreground_intensity_properties_per_channel or {},
        labels >= 0,
        configuration.use_mask_for_norm or [False] * len(image),
    )
    of_data = configuration.resampling_fn_data_kwargs or {}
    of_seg = configuration.resampling_fn_seg_kwargs or {"is_seg": True, "order": 1}
    target = configuration.spacing
    if configuration.architecture.network_class_name == PROMPTED:
        data = resample(normal, shape).numpy()  # as prediction does it, see there
    else:
        data = resample_to_shape(normal, shape, spacing, target, **of_data).numpy()
    truth = resample_to_shape(labels[None], shape, spacing, target, **of_seg)[0]
    return data, truth, box


def _process_and_save(case: DatasetCase, *, recipe: _Recipe, store: CaseStore) -> None:
    arrays = read_case(case, assume_orientation=recipe.assume_orientation)
    image, labels, box = process_case(arrays, recipe.plans, recipe.configuration)
    order = recipe.plans.transpose_forward
    spacing, shape = arrays.volume.spacing_mm, arrays.volume.shape
    voxels, boxes = {}, {}
    for label in recipe.labels:
        mask = np.isin(labels, label.values)
        voxels[label.name] = int(mask.sum())
        if voxels[label.name]:
            boxes[label.name] = _box_of(mask)
    z, y, x = order
    d, h, w = labels.shape
    record = CaseRecord(
        recipe=recipe.hash(case),
        spacing_mm=recipe.configuration.spacing,
        shape=(d, h, w),
        original_spacing_mm=(spacing[z], spacing[y], spacing[x]),
        original_shape=(shape[z], shape[y], shape[x]),
        box=_bounds(box),
        transpose_forward=order,
        foreground_voxels=voxels,
        foreground_boxes=boxes,
        body=_body(arrays, recipe.configuration, box, order),
    )
    store.save(case.name, image, labels, record)


def _body(
    arrays: CaseArrays,
    configuration: Configuration,
    box: tuple[slice, slice, slice],
    order: tuple[int, int, int],
) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float]] | None:
    """Where the body is, from the HU that normalisation may clip away."""
    if (configuration.normalization_schemes or ("",))[0] not in HU_SCHEMES:
        return None
    spacing = arrays.volume.spacing_mm
    found = body_box(arrays.image[0], spacing)
    sides = []
    for axis, side, target in zip(order, box, configuration.spacing, strict=True):
        ratio = spacing[axis] / target
        low, high = found[axis, 0] - side.start, found[axis, 1] + 1 - side.start
        sides.append((round(float(low) * ratio, 3), round(float(high) * ratio - 1, 3)))
    return sides[0], sides[1], sides[2]


Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def _box_of(mask: NDArray[np.bool_]) -> Box:
    sides = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        sides.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return _bounds((sides[0], sides[1], sides[2]))


def _bounds(box: tuple[slice, slice, slice]) -> Box:
    z, y, x = ((int(side.start), int(side.stop)) for side in box)
    return z, y, x


def _files(case: DatasetCase) -> tuple[Path, ...]:
    return (*case.images, case.label)
