"""CVPR-2025 text-guided challenge: npz files, classes or instances.

Truth files hold ``gts`` (D, H, W) and ``spacing``; predictions hold ``segs``. Rules:

- Classes: Dice and NSD at 2 mm, averaged over the classes that are present in the truth (and,
  where prompts are given, named there). ``spacing`` is applied to the axes in the order that it
  is stored, as the challenge's scorer does.
- Instances (``instance_label`` 1): F1 at IoU 0.5 with the matching that gives the most pairs; and
  the mean Dice of the matched. A prediction with a single value is split into its 6-connected
  components first. F1 is 0 where nothing is matched.
- With ``--chill`` a missing prediction counts as an empty one.

The challenge's own files keep ``text_prompts`` as a pickled object, which is never loaded here:
pass the prompts as JSON (``-djfile``): ``{"case.npz": {"1": "liver", "instance_label": 0}}``.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import GeometryError, InputError
from textseg3d.evaluation.grids import as_integers
from textseg3d.evaluation.instances import components, match_instances
from textseg3d.evaluation.metrics import (
    bootstrap_mean,
    dice,
    finite_or_none,
    mean_or_nan,
    normalized_surface_dice,
)
from textseg3d.evaluation.protocols.folders import (
    FilePair,
    FolderRequest,
    pair_files,
    read_json,
    run_all,
)
from textseg3d.evaluation.surface import Spacing

TOLERANCE_MM = 2.0
INSTANCE_IOU = 0.5


def score_classes(
    truth: NDArray[np.integer[Any]],
    prediction: NDArray[np.integer[Any]],
    spacing_mm: Spacing,
    classes: tuple[int, ...] | None = None,
) -> dict[str, Any]:
    """Dice and NSD of the classes present in the truth, and their means.

    Args:
        truth: integer [D, H, W].
        prediction: integer [D, H, W].
        spacing_mm: per axis, as stored.
        classes: the classes that were asked for; None takes all.

    Raises:
        GeometryError: if the shapes differ.
    """
    present = [int(c) for c in np.unique(truth) if c != 0 and (classes is None or c in classes)]
    per_class = {}
    for label in present:
        is_true, is_predicted = truth == label, prediction == label
        per_class[str(label)] = {
            "dice": dice(is_true, is_predicted),
            "nsd": normalized_surface_dice(is_true, is_predicted, spacing_mm, TOLERANCE_MM),
        }
    return {
        "dice": mean_or_nan([c["dice"] for c in per_class.values()]),
        "nsd": mean_or_nan([c["nsd"] for c in per_class.values()]),
        "classes": per_class,
    }


def score_instances(
    truth: NDArray[np.integer[Any]], prediction: NDArray[np.integer[Any]]
) -> dict[str, Any]:
    """F1 at IoU 0.5 and the mean Dice of the matched instances.

    Args:
        truth: integer [D, H, W], one value per instance.
        prediction: integer [D, H, W]; a single value is split into components.

    Raises:
        GeometryError: if the shapes differ.
    """
    predicted: NDArray[Any] = prediction
    if np.unique(prediction[prediction != 0]).size == 1:
        predicted = components(prediction, connectivity=6)
    match = match_instances(
        truth, predicted, threshold=INSTANCE_IOU, measure="iou", rule="hungarian"
    )
    return {**match.to_json(), "matched_dice": match.matched_dice}


def score_folder(request: FolderRequest) -> dict[str, Any]:
    """Score two folders of npz files.

    Raises:
        InputError: for missing files or arrays, or prompts that are only there as a pickle.
        GeometryError: for a prediction of another shape.
    """
    prompts = read_json(request.dataset) if request.dataset is not None else {}
    if not isinstance(prompts, dict):
        raise InputError(f"{request.dataset} is not an object of prompts per file; see --help")
    pairs = pair_files(request, ".npz")
    cases = run_all(partial(_score_pair, prompts=prompts), pairs, request.processes)
    return summarise(cases)


def summarise(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over cases, with 95 % intervals."""
    summary = {}
    for key in ("dice", "nsd", "f1", "matched_dice"):
        values = [float("nan") if case[key] is None else case[key] for case in cases]
        summary[key] = bootstrap_mean(values).to_json()
    return {"protocol": "cvpr2025", "summary": summary, "cases": cases}


def _score_pair(pair: FilePair, *, prompts: dict[str, Any]) -> dict[str, Any]:
    arrays = _load(pair.truth, ("gts", "spacing", "text_prompts"))
    if "gts" not in arrays:
        raise InputError(f"{pair.truth} has no array `gts`; expected the challenge's truth files")
    truth = as_integers(arrays["gts"], pair.truth)
    prediction = np.zeros(truth.shape, dtype=np.uint8)
    if pair.prediction is not None:
        found = _load(pair.prediction, ("segs",))
        if "segs" not in found:
            raise InputError(f"{pair.prediction} has no array `segs`; write the labels under it")
        prediction = as_integers(found["segs"], pair.prediction)
    if truth.shape != prediction.shape:
        raise GeometryError(
            f"{pair.prediction}: segs has shape {prediction.shape}, gts {truth.shape}; "
            "write the prediction on the grid of imgs"
        )
    asked = prompts.get(pair.name, prompts.get(Path(pair.name).stem, _own_prompts(arrays)))
    if asked is None:
        raise InputError(
            f"nothing says whether {pair.name} has classes or instances; pass its text prompts "
            "as JSON with -djfile (the pickled ones inside the npz are never loaded)"
        )
    result: dict[str, Any] = {"name": pair.name, "missing": pair.prediction is None}
    empty = {"dice": None, "nsd": None, "f1": None, "matched_dice": None}
    if int(asked.get("instance_label", 0)) == 1:
        return result | empty | {"kind": "instances", **_clean(score_instances(truth, prediction))}
    spacing = arrays.get("spacing")
    if spacing is None or spacing.shape != (3,):
        raise InputError(f"{pair.truth} has no `spacing` of three numbers; NSD needs it in mm")
    classes = tuple(int(key) for key in asked if key != "instance_label")
    millimetres = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    scores = score_classes(truth, prediction, millimetres, classes or None)
    return result | empty | {"kind": "classes", **_clean(scores)}


def _own_prompts(arrays: dict[str, NDArray[Any]]) -> dict[str, Any] | None:
    """Prompts inside the npz, if they are stored as a JSON string."""
    stored = arrays.get("text_prompts")
    if stored is None:
        return None
    try:
        value = json.loads(str(stored.item()))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _load(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """The named arrays that are there and are not pickled."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {}
            for name in names:
                if name not in archive.files:
                    continue
                try:
                    found[name] = archive[name]
                except ValueError:
                    if name != "text_prompts":
                        raise
            return found
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path} cannot be read as npz without pickle ({reason}); write it again"
        ) from error


def _clean(record: dict[str, Any]) -> dict[str, Any]:
    return {key: finite_or_none(value) for key, value in record.items()}
