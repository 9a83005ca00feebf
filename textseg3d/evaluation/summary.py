"""What a set of scored cases adds up to: means with intervals, laterality, presence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import textseg3d
from textseg3d.evaluation.instances import InstanceMatch
from textseg3d.evaluation.metrics import bootstrap_mean, finite_or_none, presence_auc
from textseg3d.evaluation.scoring import PRESENT, CaseResult, Row

CSV_COLUMNS = (
    *("case", "concept", "group", "side", "dice", "nsd", "tolerance_mm", "hd95_mm", "truth_ml"),
    *("prediction_ml", "volume_error_ml", "relative_volume_error", "presence", "ignored_voxels"),
    *("wrong_side_share", "laterality_error"),
    *("instances_true", "instances_predicted", "instances_matched", "labels_by"),
)


def summarise(
    results: Sequence[CaseResult], model: dict[str, Any], *, seed: int = 0
) -> dict[str, Any]:
    """The whole report as one JSON object.

    Args:
        results: scored cases.
        model: name, hash and device of the model.
        seed: of the bootstrap.
    """
    rows = [row for result in results for row in result.rows]
    groups = {group: _group(group, rows, seed) for group in sorted({r.task.group for r in rows})}
    return {
        "textseg3d": textseg3d.__version__,
        "model": model,
        "tolerance_mm": rows[0].scores.tolerance_mm if rows else None,
        "interval": "95 %, bootstrap over scans, 2000 resamples",
        "seed": seed,
        "groups": groups,
        "laterality": _laterality(rows),
        "presence": _presence(results),
        "cases": [result.to_json() for result in results],
    }


def csv_rows(results: Sequence[CaseResult]) -> list[dict[str, Any]]:
    """One flat record per scored row, with the keys of ``CSV_COLUMNS``."""
    records = []
    for result in results:
        for row in result.rows:
            record = {"case": row.case, **row.to_json(), "labels_by": result.case.labels_by}
            laterality = record.pop("laterality") or {}
            record["wrong_side_share"] = laterality.get("wrong_side_share")
            record["laterality_error"] = laterality.get("error")
            match = row.instances
            record["instances_true"] = match.true_positives + match.false_negatives
            record["instances_predicted"] = match.true_positives + match.false_positives
            record["instances_matched"] = match.true_positives
            records.append({key: record.get(key) for key in CSV_COLUMNS})
    return records


def worst_rows(results: Sequence[CaseResult], count: int) -> list[Row]:
    """The rows with the lowest Dice that have something to show, worst first."""
    rows = [row for result in results for row in result.rows if row.planes is not None]
    return sorted(rows, key=lambda row: (row.scores.dice, row.case, row.task.name))[:count]


def _group(group: str, rows: Sequence[Row], seed: int) -> dict[str, Any]:
    own = [row for row in rows if row.task.group == group]
    cases = [row.case for row in own]
    hausdorff = [row.scores.hd95_mm for row in own if np.isfinite(row.scores.hd95_mm)]
    relative = [abs(row.scores.relative_volume_error) for row in own]
    return {
        "dice": bootstrap_mean([row.scores.dice for row in own], cases, seed=seed).to_json(),
        "nsd": bootstrap_mean([row.scores.nsd for row in own], cases, seed=seed).to_json(),
        "median_hd95_mm": float(np.median(hausdorff)) if hausdorff else None,
        "median_absolute_relative_volume_error": finite_or_none(float(np.median(relative))),
        "empty_predictions": sum(row.scores.prediction_ml == 0 for row in own),
        "instances": sum((row.instances for row in own), InstanceMatch(0, 0, 0)).to_json(),
    }


def _laterality(rows: Sequence[Row]) -> dict[str, Any]:
    sided = [row for row in rows if row.laterality is not None]
    wrong = [row for row in sided if row.laterality is not None and row.laterality.error]
    return {
        "sided_masks": len(sided),
        "errors": len(wrong),
        "where": [{"case": row.case, "concept": row.task.name} for row in wrong],
    }


def _presence(results: Sequence[CaseResult]) -> dict[str, Any]:
    present = [(r.presence, True) for c in results for r in c.rows if len(r.task.prompts) == 1]
    known = [row for c in results for row in c.absent if row.status != "unknown"]
    absent = [(row.presence, False) for row in known]
    scored = [(value, truth) for value, truth in present + absent if value is not None]
    found = [value >= PRESENT for value, truth in scored if truth]
    auc = presence_auc([truth for _, truth in scored], [value for value, _ in scored])
    return {
        "present_prompts": len(found),
        "present_found": sum(found),
        "absent_prompts": len(known),
        "absent_unknown_to_model": sum(len(c.absent) for c in results) - len(known),
        "absent_correct": sum(row.correct for row in known),
        "absent_correct_rate": sum(r.correct for r in known) / len(known) if known else None,
        "auc": finite_or_none(auc),
    }
