"""Task that compares written masks with the slow reference, voxel by voxel."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def parity(request: dict[str, Any]) -> dict[str, Any]:
    """For each candidate, how far its masks are from the slow reference.

    Args:
        request: ``model``, ``scan``, ``prompts``; ``candidates``: name → ``{"files": {prompt:
            path}}`` (a prompt without a file has an empty mask) or ``{"labels": path}``.
    """
    from textseg3d.inference.closed.engine import is_closed
    from textseg3d.io import read_volume
    from textseg3d.zoo import find_model

    folder = find_model(request["model"])
    volume = read_volume(request["scan"])
    start = time.monotonic()
    closed = is_closed(folder)
    if closed:
        from textseg3d.benchmark.reference import reference_labels
        from textseg3d.inference.closed.spec import ClosedSpec

        labels = volume.to_source(reference_labels(folder, volume))
        values = {item.name: item.values for item in ClosedSpec.load(folder).classes}
    else:
        truth = _prompt_masks(folder, volume, request["prompts"])
    seconds = time.monotonic() - start
    found = {}
    for name, candidate in request["candidates"].items():
        if closed:
            theirs = _label_map(candidate, values, labels.shape)
            found[name] = compare_labels(labels, theirs)
        else:
            found[name] = compare_masks(truth, candidate["files"])
    return {
        "candidates": found,
        "reference_seconds": seconds,
        "voxels": int(np.prod(volume.shape)),
    }


def _prompt_masks(folder: Path, volume: Any, prompts: list[str]) -> dict[str, NDArray[np.bool_]]:
    """Reference masks in the order of the file, of prompts that name one known structure.

    Those that a stage answers are left out: the reference is the main network.
    """
    from textseg3d.benchmark.reference import reference_masks
    from textseg3d.inference.prompts import Vocabulary
    from textseg3d.plans.schema import Plans
    from textseg3d.zoo import ModelCard

    requests = Vocabulary.of(ModelCard.read(folder)).understand_all(prompts)
    stages = Plans.load(folder / "plans.json").configurations.values()
    answered = {name for stage in stages for name in stage.answers}
    single = [r for r in requests if r.status == "ok" and len(r.names) == 1]
    names = {r.text: r.names[0] for r in single if r.names[0] not in answered}
    masks = reference_masks(folder, volume, list(dict.fromkeys(names.values())))
    return {text: volume.to_source(masks[name].view(np.uint8)) > 0 for text, name in names.items()}


def read_file_order(path: str) -> NDArray[Any]:
    """Values of a NIfTI file in its own order."""
    import nibabel as nib

    return np.asarray(nib.load(path).dataobj)  # type: ignore[attr-defined]


def _label_map(
    candidate: dict[str, Any], values: dict[str, tuple[int, ...]], shape: tuple[int, ...]
) -> NDArray[Any]:
    if "labels" in candidate:
        found = read_file_order(candidate["labels"])
        return np.rint(found).astype(np.uint16).reshape(shape)
    labels = np.zeros(shape, np.uint16)
    for name, path in candidate["files"].items():
        labels[read_file_order(path) > 0] = values[name][0]
    return labels


def compare_labels(truth: NDArray[Any], found: NDArray[Any]) -> dict[str, float]:
    """Differing voxels, and Dice of the classes that either map has.

    Returns:
        ``differing``; ``dice`` of all foreground classes' voxels pooled; ``dice_mean`` and
        ``dice_min`` over classes; ``classes`` that were there.
    """
    count = int(max(truth.max(), found.max())) + 1
    table = np.zeros((count, count), np.int64)
    for a, b in zip(truth, found):  # slabs: no third copy of the volume
        pairs = a.astype(np.int64) * count + b
        table += np.bincount(pairs.ravel(), minlength=count * count).reshape(count, count)
    same, sizes = np.diag(table)[1:], (table.sum(0) + table.sum(1))[1:]
    return _scores(int(table.sum() - np.trace(table)), same, sizes)


def compare_masks(truth: dict[str, NDArray[np.bool_]], files: dict[str, str]) -> dict[str, float]:
    """As :func:`compare_labels`, for masks that may overlap; a voxel counts once per mask."""
    differing, same, sizes = 0, [], []
    for text, mask in truth.items():
        found = read_file_order(files[text]) > 0 if text in files else np.zeros_like(mask)
        differing += int(np.count_nonzero(found != mask))
        same.append(int(np.count_nonzero(found & mask)))
        sizes.append(int(np.count_nonzero(found)) + int(np.count_nonzero(mask)))
    return _scores(differing, np.array(same), np.array(sizes))


def _scores(differing: int, same: NDArray[Any], sizes: NDArray[Any]) -> dict[str, float]:
    there = sizes > 0
    dice = 2 * same[there] / sizes[there]
    return {
        "differing": differing,
        "dice": float(2 * same.sum() / max(1, sizes.sum())),
        "dice_mean": float(dice.mean()) if len(dice) else 1.0,
        "dice_min": float(dice.min()) if len(dice) else 1.0,
        "classes": int(there.sum()),
    }
