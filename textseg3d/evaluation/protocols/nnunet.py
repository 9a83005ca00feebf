"""nnU-Net's evaluation: the same numbers and the same keys in ``summary.json``.

Per case and label (or region): Dice, IoU, FP, TP, FN, TN, n_pred, n_ref, in voxels; Dice and IoU
are NaN where neither has the label. ``mean`` averages over cases without the NaN;
``foreground_mean`` is the plain mean of those means. With ``--chill`` a case without a
prediction is left out, as nnU-Net does.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import InputError
from textseg3d.evaluation.grids import on_grid_of, read_labels
from textseg3d.evaluation.protocols.folders import (
    FilePair,
    FolderRequest,
    LabelSet,
    label_set,
    pair_files,
    read_json,
    run_all,
)

METRICS = ("Dice", "IoU", "FP", "TP", "FN", "TN", "n_pred", "n_ref")


def score_labels(
    truth: NDArray[Any],
    prediction: NDArray[Any],
    labels: tuple[int | tuple[int, ...], ...],
    ignore: int | None = None,
) -> dict[str, dict[str, float | int]]:
    """nnU-Net's numbers for one case, keyed by ``str(label or region)``.

    Args:
        truth: integer [D, H, W].
        prediction: integer [D, H, W] on the same grid.
        labels: labels, or regions as tuples of labels.
        ignore: voxels with this label in the truth count for nothing.
    """
    use = np.ones(truth.shape, dtype=bool) if ignore is None else truth != ignore
    result: dict[str, dict[str, float | int]] = {}
    for label in labels:
        members = label if isinstance(label, tuple) else (label,)
        is_true, is_predicted = np.isin(truth, members), np.isin(prediction, members)
        tp = int(np.count_nonzero(is_true & is_predicted & use))
        fp = int(np.count_nonzero(~is_true & is_predicted & use))
        fn = int(np.count_nonzero(is_true & ~is_predicted & use))
        tn = int(np.count_nonzero(use)) - tp - fp - fn
        any_voxel = tp + fp + fn > 0
        result[str(label)] = {
            "Dice": 2 * tp / (2 * tp + fp + fn) if any_voxel else float("nan"),
            "IoU": tp / (tp + fp + fn) if any_voxel else float("nan"),
            "FP": fp,
            "TP": tp,
            "FN": fn,
            "TN": tn,
            "n_pred": fp + tp,
            "n_ref": fn + tp,
        }
    return result


def score_folder(request: FolderRequest) -> dict[str, Any]:
    """``summary.json`` of a folder (metric_per_case, mean, foreground_mean).

    Raises:
        InputError: for missing files, unreadable labels or a foreign dataset.json.
        GeometryError: for a prediction on another grid, unless ``request.resample``.
    """
    if request.plans is not None:
        _check_plans(request)
    labels = label_set(request)
    if not labels.scored:
        raise InputError("there is no foreground label to score; check `labels` in dataset.json")
    pairs = [p for p in pair_files(request, labels.file_ending) if p.prediction is not None]
    if not pairs:
        raise InputError(f"{request.prediction} has no prediction at all; nothing can be scored")
    work = partial(score_pair, labels=labels, resample=request.resample)
    cases = run_all(work, pairs, request.processes)
    return summarise(cases, labels)


def summarise(cases: list[dict[str, Any]], labels: LabelSet) -> dict[str, Any]:
    """nnU-Net's means over cases; a label without any value keeps NaN."""
    mean: dict[str, dict[str, float]] = {}
    for label in labels.scored:
        key = str(label)
        mean[key] = {
            metric: _nanmean([case["metrics"][key][metric] for case in cases]) for metric in METRICS
        }
    foreground = {
        metric: float(np.mean([mean[str(label)][metric] for label in labels.scored]))
        for metric in METRICS
    }
    return {"metric_per_case": cases, "mean": mean, "foreground_mean": foreground}


def score_pair(pair: FilePair, *, labels: LabelSet, resample: bool) -> dict[str, Any]:
    """nnU-Net's record of one case: both files, and the numbers per label."""
    assert pair.prediction is not None
    truth = read_labels(pair.truth)
    prediction = on_grid_of(truth, read_labels(pair.prediction), resample=resample)
    return case_record(pair, truth.array[0], prediction, labels)


def case_record(
    pair: FilePair, truth: NDArray[Any], prediction: NDArray[Any], labels: LabelSet
) -> dict[str, Any]:
    """The record of one case; every figure of a label of unknown truth is NaN."""
    metrics = score_labels(truth, prediction, labels.scored, labels.ignore)
    for name, label in zip(labels.names, labels.scored, strict=True):
        if name in pair.unknown:
            metrics[str(label)] = dict.fromkeys(METRICS, float("nan"))
    return {
        "reference_file": str(pair.truth),
        "prediction_file": str(pair.prediction),
        "metrics": metrics,
    }


def mean_dice(summary: dict[str, Any]) -> float:
    """``foreground_mean``'s Dice over the labels that have one."""
    return _nanmean([float(mean["Dice"]) for mean in summary["mean"].values()])


def _check_plans(request: FolderRequest) -> None:
    assert request.plans is not None
    plans = read_json(request.plans)
    if not isinstance(plans, dict) or "configurations" not in plans:
        raise InputError(
            f"{request.plans} has no `configurations`; expected nnU-Net's plans.json after -pfile"
        )
    manager = plans.get("label_manager", "LabelManager")
    if manager != "LabelManager":
        raise InputError(
            f"{request.plans} asks for the label manager {manager!r}, only 'LabelManager' is "
            "known; score these predictions with nnUNetv2_evaluate_folder"
        )


def _nanmean(values: list[float]) -> float:
    kept = [v for v in values if not np.isnan(v)]
    return float(np.mean(kept)) if kept else float("nan")
