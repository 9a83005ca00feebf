"""Ensembles of label probabilities: the mean of ``.npz`` files that several models left.

The files are nnU-Net's: ``probabilities`` [channels, k, j, i] in the file order of the label map
of the same name. Channels are background and labels; or labels alone, for nnU-Net's regions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.dataset.description import Description
from textseg3d.errors import GeometryError, InputError
from textseg3d.evaluation.grids import read_labels
from textseg3d.evaluation.protocols.folders import run_all
from textseg3d.io import Volume, atomic_path, write_volume_like

Progress = Callable[[str, int, int], object]
logger = logging.getLogger(__name__)


def mean_probabilities(paths: Sequence[Path]) -> NDArray[np.float32]:
    """Mean of ``probabilities`` over files, one in memory at a time.

    Returns:
        float32 [channels, k, j, i].

    Raises:
        InputError: for a missing or damaged file.
        GeometryError: for files of different shapes.
    """
    total: NDArray[np.float32] | None = None
    for path in paths:
        try:
            with np.load(path, allow_pickle=False) as archive:
                values = archive["probabilities"].astype(np.float32)
        except Exception as error:
            raise InputError(
                f"{path} has no readable `probabilities` ({error}); predict with --npz"
            ) from None
        if total is not None and values.shape != total.shape:
            raise GeometryError(f"{path} has shape {values.shape}, {paths[0]} {total.shape}")
        total = values if total is None else total + values
    if total is None:
        raise InputError("an ensemble needs at least one file of probabilities")
    mean: NDArray[np.float32] = (total / len(paths)).astype(np.float32)
    return mean


def labels_of(probabilities: NDArray[np.float32], description: Description) -> NDArray[np.int16]:
    """Label values [k, j, i] of probabilities [channels, k, j, i].

    The likeliest channel wins; regions above one half are painted in nnU-Net's order.

    Raises:
        InputError: for a number of channels that does not fit dataset.json.
    """
    labels, channels = description.labels, len(probabilities)
    with_background = channels == len(labels) + 1
    if not with_background and not (description.has_regions and channels == len(labels)):
        raise InputError(
            f"{channels} channels of probabilities, {description.path} names {len(labels)} labels "
            "and the background"
        )
    if description.has_regions:
        result = np.zeros(probabilities.shape[1:], np.int16)
        order = description.regions_class_order or ()
        for mask, value in zip(probabilities[-len(labels) :] > 0.5, order, strict=True):
            result[mask] = value
        return result
    values = np.array([0, *(label.values[0] for label in labels)], np.int16)
    return values[probabilities.argmax(axis=0)]


def ensemble_case(
    name: str,
    *,
    folders: Sequence[Path],
    out: Path,
    description: Description,
    save_npz: bool = False,
) -> None:
    """Write the label map of the mean probabilities of one case, on its own grid.

    Args:
        name: of the case.
        folders: with ``<name>.npz``, and the label map in the first.
        out: folder.
        description: of dataset.json.
        save_npz: also write the mean probabilities.

    Raises:
        InputError: for a missing or damaged file.
        GeometryError: for files of different shapes.
    """
    mean = mean_probabilities([folder / f"{name}.npz" for folder in folders])
    file = f"{name}{description.file_ending}"
    like = read_labels(folders[0] / file)
    values = from_file_order(labels_of(mean, description), like)
    small = max(description.values) < 256
    write_volume_like(out / file, values, like, dtype=np.uint8 if small else np.int16)
    if save_npz:
        with atomic_path(out / f"{name}.npz") as temporary, temporary.open("wb") as target:
            np.savez_compressed(target, probabilities=mean.astype(np.float16))


def ensemble_folders(
    folders: Sequence[Path],
    out: Path,
    description: Description,
    *,
    save_npz: bool = False,
    processes: int = 1,
) -> list[str]:
    """Ensemble every case; the names, sorted.

    Raises:
        InputError: if the folders hold different cases, or none.
    """
    names = [sorted(path.stem for path in Path(folder).glob("*.npz")) for folder in folders]
    for folder, found in zip(folders, names):
        if found != names[0] or not found:
            differing = sorted(set(found) ^ set(names[0]))[:3]
            raise InputError(
                f"{folder} has {len(found)} files of probabilities, {folders[0]} {len(names[0])}"
                + (f" (differing: {', '.join(differing)})" if differing else "")
                + "; predict the same cases with --npz"
            )
    out.mkdir(parents=True, exist_ok=True)
    work = partial(
        ensemble_case, folders=folders, out=out, description=description, save_npz=save_npz
    )
    run_all(work, names[0], processes)
    logger.info("%d cases of %d members: %s", len(names[0]), len(folders), out)
    return names[0]


def from_file_order(values: NDArray[Any], like: Volume) -> NDArray[Any]:
    """A volume [k, j, i] in the file order of ``like`` as canonical [D, H, W].

    Raises:
        GeometryError: for another shape than the file's.
    """
    index = np.arange(np.prod(like.shape), dtype=np.int64).reshape(like.shape)
    order = like.to_source(index).transpose(2, 1, 0)
    if order.shape != values.shape:
        raise GeometryError(
            f"probabilities have shape {values.shape}, their label map {order.shape}"
        )
    result = np.empty(like.shape, values.dtype)
    result.reshape(-1)[order.reshape(-1)] = values.reshape(-1)
    return result
