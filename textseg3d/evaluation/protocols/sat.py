"""SAT's scores: Dice and NSD at 1 mm per label, averaged per label, then over labels.

An empty truth scores 1 if the prediction is empty too, else 0, for both numbers. With ``--chill``
a missing prediction counts as an empty one. Label maps with nnU-Net's dataset.json name the labels.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import InputError
from textseg3d.evaluation.grids import on_grid_of, read_labels
from textseg3d.evaluation.metrics import bootstrap_mean, dice, normalized_surface_dice
from textseg3d.evaluation.protocols.folders import (
    FilePair,
    FolderRequest,
    LabelSet,
    label_set,
    pair_files,
    run_all,
)
from textseg3d.evaluation.surface import Spacing

TOLERANCE_MM = 1.0


def score_mask(
    truth: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing_mm: Spacing
) -> tuple[float, float]:
    """(Dice, NSD at 1 mm) of one mask [D, H, W]; an empty truth gives 1 or 0."""
    if not truth.any():
        value = 0.0 if prediction.any() else 1.0
        return value, value
    return (
        dice(truth, prediction),
        normalized_surface_dice(truth, prediction, spacing_mm, TOLERANCE_MM),
    )


def score_folder(request: FolderRequest) -> dict[str, Any]:
    """Score two folders of label maps.

    Raises:
        InputError: for missing files, unreadable labels or a foreign dataset.json.
        GeometryError: for a prediction on another grid, unless ``request.resample``.
    """
    labels = label_set(request)
    if not labels.scored:
        raise InputError("there is no foreground label to score; check `labels` in dataset.json")
    pairs = pair_files(request, labels.file_ending)
    work = partial(_score_pair, labels=labels, resample=request.resample)
    cases = run_all(work, pairs, request.processes)
    per_label = {}
    for name in labels.names:
        found = [case["labels"][name] for case in cases]
        per_label[name] = {
            "dice": bootstrap_mean([f["dice"] for f in found]).to_json(),
            "nsd": bootstrap_mean([f["nsd"] for f in found]).to_json(),
        }
    summary = {
        key: float(np.mean([entry[key]["mean"] for entry in per_label.values()]))
        for key in ("dice", "nsd")
    }
    return {"protocol": "sat", "summary": summary, "per_label": per_label, "cases": cases}


def _score_pair(pair: FilePair, *, labels: LabelSet, resample: bool) -> dict[str, Any]:
    truth = read_labels(pair.truth)
    prediction: NDArray[Any] = np.zeros(truth.shape, dtype=np.uint8)
    if pair.prediction is not None:
        prediction = on_grid_of(truth, read_labels(pair.prediction), resample=resample)
    use = np.ones(truth.shape, bool) if labels.ignore is None else truth.array[0] != labels.ignore
    scores = {}
    for label, name in zip(labels.scored, labels.names):
        members = label if isinstance(label, tuple) else (label,)
        one = score_mask(
            np.isin(truth.array[0], members) & use,
            np.isin(prediction, members) & use,
            truth.spacing_mm,
        )
        scores[name] = {"dice": one[0], "nsd": one[1]}
    return {"name": pair.name, "missing": pair.prediction is None, "labels": scores}
