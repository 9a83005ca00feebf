"""ReXGroundingCT: Dice per finding, hits, instance precision, recall and F1.

Truth and prediction are NIfTI files (F, H, W, D), finding first. Rules:

- Dice of a finding over all its non-zero voxels; 1 if both are empty, 0 if one is. The global
  Dice is the mean over all findings of all cases.
- A hit is a finding with Dice >= 0.1.
- True instances are the non-zero values of the finding's mask. Predicted instances are the same
  where a prediction has several values, otherwise its 26-connected components of at least 10
  voxels. A predicted instance is a true positive if its Dice with a true one is >= 0.2; partners
  are chosen one to one, best Dice first. Precision, recall and F1 are over all findings together.
- With ``--chill`` a missing prediction counts as an empty one: Dice 0, every true instance missed.

The scorer ignores the affine, as the benchmark's files carry no meaningful one for four axes; a
differing shape is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import GeometryError, InputError
from textseg3d.evaluation.grids import read_nifti_array
from textseg3d.evaluation.instances import InstanceMatch, components, match_instances
from textseg3d.evaluation.metrics import bootstrap_mean, dice
from textseg3d.evaluation.protocols.folders import (
    FilePair,
    FolderRequest,
    pair_files,
    read_json,
    run_all,
)

HIT_DICE = 0.1
INSTANCE_DICE = 0.2
MIN_VOXELS = 10
CONNECTIVITY: Literal[26] = 26


@dataclass(frozen=True)
class FindingScore:
    """One finding of one case.

    Attributes:
        dice: over all voxels of the finding.
        hit: whether ``dice`` reaches 0.1.
        match: instances.
    """

    dice: float
    hit: bool
    match: InstanceMatch


def score_finding(
    truth: NDArray[np.integer[Any]], prediction: NDArray[np.integer[Any]]
) -> FindingScore:
    """Score one finding.

    Args:
        truth: integer [H, W, D], 0 background, each other value one instance.
        prediction: integer [H, W, D]; 0/1, or one value per instance.

    Raises:
        GeometryError: if the shapes differ.
    """
    overall = dice(truth != 0, prediction != 0)
    if np.isnan(overall):
        overall = 1.0
    values = np.unique(prediction[prediction != 0])
    if values.size > 1:
        predicted: NDArray[Any] = prediction
    else:
        predicted = components(prediction, connectivity=CONNECTIVITY, min_voxels=MIN_VOXELS)
    match = match_instances(
        truth, predicted, threshold=INSTANCE_DICE, measure="dice", rule="greedy"
    )
    return FindingScore(overall, overall >= HIT_DICE, match)


def score_case(
    truth: NDArray[np.integer[Any]], prediction: NDArray[np.integer[Any]] | None
) -> list[FindingScore]:
    """Score all findings of one case.

    Args:
        truth: integer [F, H, W, D].
        prediction: integer of the same shape; None counts as empty.

    Raises:
        GeometryError: if the shapes differ, or there are not four axes.
    """
    if prediction is None:
        prediction = np.zeros(truth.shape, dtype=np.uint8)
    if truth.ndim != 4 or truth.shape != prediction.shape:
        raise GeometryError(
            f"expected truth and prediction of one shape (F, H, W, D), got {truth.shape} and "
            f"{prediction.shape}; write one mask per finding on the grid of the scan"
        )
    return [score_finding(t, p) for t, p in zip(truth, prediction)]


def score_folder(request: FolderRequest) -> dict[str, Any]:
    """Score two folders of (F, H, W, D) files; ``request.dataset`` adds categories.

    Raises:
        InputError: for missing files or a list of findings that does not fit.
        GeometryError: for a prediction of another shape.
    """
    pairs = pair_files(request, ".nii.gz")
    entries = _entries(request.dataset) if request.dataset is not None else {}
    cases = run_all(partial(_score_pair, entries=entries), pairs, request.processes)
    return summarise(cases)


def summarise(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Global numbers, per category where known, with 95 % intervals over cases."""
    rows = [(case["name"], finding) for case in cases for finding in case["findings"]]
    summary = _summary([finding for _, finding in rows])
    names = [name for name, _ in rows]
    summary["dice_interval"] = bootstrap_mean([f["dice"] for _, f in rows], names).to_json()
    summary["hit_rate_interval"] = bootstrap_mean(
        [float(f["hit"]) for _, f in rows], names
    ).to_json()
    categories = sorted({f["category"] for _, f in rows if f["category"] is not None})
    return {
        "protocol": "rexgroundingct",
        "summary": summary,
        "per_category": {
            c: _summary([f for _, f in rows if f["category"] == c]) for c in categories
        },
        "cases": cases,
    }


def _summary(findings: list[dict[str, Any]]) -> dict[str, Any]:
    match = InstanceMatch(
        sum(f["true_positives"] for f in findings),
        sum(f["false_positives"] for f in findings),
        sum(f["false_negatives"] for f in findings),
    )
    return {
        "findings": len(findings),
        "dice": float(np.mean([f["dice"] for f in findings])) if findings else None,
        "hit_rate": float(np.mean([f["hit"] for f in findings])) if findings else None,
        "instances": match.to_json(),
    }


def _score_pair(pair: FilePair, *, entries: dict[str, dict[str, Any]]) -> dict[str, Any]:
    truth = read_nifti_array(pair.truth)
    prediction = read_nifti_array(pair.prediction) if pair.prediction is not None else None
    try:
        scores = score_case(truth, prediction)
    except GeometryError as error:
        raise GeometryError(f"{pair.prediction or pair.truth}: {error}") from None
    entry = entries.get(pair.name, {})
    texts, categories = entry.get("findings", {}), entry.get("categories", {})
    if texts and len(texts) != len(scores):
        raise InputError(
            f"{pair.truth} has {len(scores)} findings, its entry in the list {len(texts)}; "
            "pass the list that belongs to these masks"
        )
    return {
        "name": pair.name,
        "missing": pair.prediction is None,
        "findings": [
            {
                "index": index,
                "text": texts.get(str(index)),
                "category": categories.get(str(index)),
                "dice": score.dice,
                "hit": score.hit,
                "true_positives": score.match.true_positives,
                "false_positives": score.match.false_positives,
                "false_negatives": score.match.false_negatives,
            }
            for index, score in enumerate(scores)
        ],
    }


def _entries(path: Path) -> dict[str, dict[str, Any]]:
    """Entries of the benchmark's list by file name; splits of an object are joined."""
    data = read_json(path)
    lists = list(data.values()) if isinstance(data, dict) else [data]
    entries: dict[str, dict[str, Any]] = {}
    for entry in (e for part in lists if isinstance(part, list) for e in part):
        if not isinstance(entry, dict) or "name" not in entry:
            raise InputError(f"{path} has an entry without `name`; expected ReXGroundingCT's list")
        entries[str(entry["name"])] = entry
    if not entries:
        raise InputError(f"{path} lists no case; expected ReXGroundingCT's list of findings")
    return entries
