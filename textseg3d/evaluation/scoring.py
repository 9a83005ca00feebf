"""Scores a model on labelled scans: per case and concept, with laterality and presence."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.evaluation.cases import CaseFolder
from textseg3d.evaluation.grids import on_grid_of, read_labels
from textseg3d.evaluation.instances import InstanceMatch, match_masks
from textseg3d.evaluation.laterality import Laterality, body_midline_x, check_laterality
from textseg3d.evaluation.mapping import ConceptTask, LabelMapping, NotScored, plan_tasks
from textseg3d.evaluation.metrics import MaskScores, score_mask
from textseg3d.evaluation.pictures import OverviewBuilder, PlaneSet, capture_planes
from textseg3d.evaluation.predictors import Predict, PromptAnswer
from textseg3d.io.volume import Volume
from textseg3d.text.knowledge import KnowledgeTree

log = logging.getLogger(__name__)

PRESENT = 0.5
"""Presence scores from here on say "it is there"."""


@dataclass(frozen=True)
class Row:
    """One concept of one case, scored.

    Attributes:
        case: name of the case.
        task: what was asked for and compared.
        scores: of the mask.
        presence: highest presence score of the prompts; None where there is none.
        ignored_voxels: that counted for nothing.
        laterality: for a concept with a side.
        instances: components of truth and prediction, matched.
        planes: three slices through the largest error, for pictures.
    """

    case: str
    task: ConceptTask
    scores: MaskScores
    presence: float | None
    ignored_voxels: int
    laterality: Laterality | None
    instances: InstanceMatch
    planes: PlaneSet | None = field(default=None, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """A flat JSON object."""
        return {
            "concept": self.task.name,
            "group": self.task.group,
            "side": self.task.side,
            "prompts": list(self.task.prompts),
            **self.scores.to_json(),
            "presence": self.presence,
            "ignored_voxels": self.ignored_voxels,
            "laterality": self.laterality.to_json() if self.laterality else None,
            "instances": self.instances.to_json(),
        }


@dataclass(frozen=True)
class AbsentRow:
    """A prompt for something that the case does not show.

    Attributes:
        prompt: as asked.
        status: the model's; "unknown" prompts are not counted.
        presence: score in 0..1, or None.
        voxels: of the mask, none of which is right.
    """

    prompt: str
    status: str
    presence: float | None
    voxels: int

    @property
    def correct(self) -> bool:
        """An empty mask, and a presence below 0.5 where there is one."""
        return self.voxels == 0 and (self.presence is None or self.presence < PRESENT)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "prompt": self.prompt,
            "status": self.status,
            "presence": self.presence,
            "voxels": self.voxels,
            "correct": self.correct if self.status != "unknown" else None,
        }


@dataclass(frozen=True)
class CaseResult:
    """All that was found out about one case.

    Attributes:
        case: the case.
        spacing_mm: (z, y, x).
        shape: (D, H, W).
        rows: scored concepts.
        not_scored: labels and rows that were left out, with reasons.
        absent: prompts for what is not there.
        seconds: wall time of the prediction.
        overview: slices with all concepts, for the picture of the case.
    """

    case: CaseFolder
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]
    rows: tuple[Row, ...]
    not_scored: tuple[NotScored, ...]
    absent: tuple[AbsentRow, ...]
    seconds: float
    overview: PlaneSet | None = field(default=None, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "case": self.case.name,
            "split": self.case.split,
            "licence": self.case.licence,
            "labels_by": self.case.labels_by,
            "shape": list(self.shape),
            "spacing_mm": list(self.spacing_mm),
            "seconds": round(self.seconds, 3),
            "rows": [row.to_json() for row in self.rows],
            "not_scored": [{"label": n.label, "reason": n.reason} for n in self.not_scored],
            "absent": [row.to_json() for row in self.absent],
        }


def score_cases(
    cases: Sequence[CaseFolder],
    predict: Predict,
    mapping: LabelMapping,
    tree: KnowledgeTree,
    *,
    tolerance_mm: float = 3.0,
    on_progress: Callable[[str, int, int], Any] | None = None,
) -> list[CaseResult]:
    """Predict and score every case.

    Args:
        cases: labelled scans.
        predict: the model.
        mapping: what label names mean.
        tree: the knowledge tree.
        tolerance_mm: of the surface Dice.
        on_progress: called with (stage, done, total) after each case.

    Raises:
        InputError: if a scan or a label map cannot be read.
        GeometryError: if a truth is not on the grid of its scan.
    """
    results = []
    for done, case in enumerate(cases, start=1):
        results.append(score_case(case, predict, mapping, tree, tolerance_mm=tolerance_mm))
        log.info("%s: %d concepts scored", case.name, len(results[-1].rows))
        if on_progress is not None:
            on_progress("evaluate", done, len(cases))
    return results


def score_case(
    case: CaseFolder,
    predict: Predict,
    mapping: LabelMapping,
    tree: KnowledgeTree,
    *,
    tolerance_mm: float = 3.0,
) -> CaseResult:
    """Predict and score one case; arguments and errors as in :func:`score_cases`."""
    from textseg3d.io import read_volume

    image, truth = read_volume(case.image), read_labels(case.truth)
    more = [read_volume(path) for path in case.more_images]
    if more:
        arrays = [volume.array for volume in (image, *more)]
        image = dataclasses.replace(image, array=np.concatenate(arrays))
    labels = on_grid_of(image, truth, resample=False)
    tasks, left_out = plan_tasks(case.labels, mapping, tree, case.targets)
    empty = [task for task in tasks if not np.isin(labels, task.truth_ids).any()]
    tasks = [task for task in tasks if task not in empty]
    left_out += [NotScored(task.name, "its label has no voxel in this scan") for task in empty]
    absent = tuple(dict.fromkeys((*mapping.absent_prompts(case.name), *case.absent)))
    prompts = list(dict.fromkeys([*(p for task in tasks for p in task.prompts), *absent]))
    start = time.perf_counter()
    answers = predict(image, prompts) if prompts else {}
    seconds = time.perf_counter() - start

    rows = []
    overview = OverviewBuilder(image)
    midline_x = body_midline_x(image.array[0], _pairs(tasks, labels))
    for task in tasks:
        unknown = [p for p in task.prompts if answers[p].status in ("unknown", "negated")]
        if unknown:
            names = ", ".join(repr(p) for p in unknown)
            left_out.append(NotScored(task.name, f"the model does not know {names}"))
            continue
        mask = np.zeros(image.shape, dtype=bool)
        for prompt in task.prompts:
            answers[prompt].add_to(mask)
        row = _score_row(case, task, tasks, image, labels, mask, answers, midline_x, tolerance_mm)
        rows.append(row)
        overview.add(task.name, np.isin(labels, task.truth_ids), mask)
    return CaseResult(
        case=case,
        spacing_mm=image.spacing_mm,
        shape=image.shape,
        rows=tuple(rows),
        not_scored=tuple(left_out),
        absent=tuple(_absent_row(prompt, answers[prompt]) for prompt in absent),
        seconds=seconds,
        overview=overview.planes(),
    )


def _score_row(
    case: CaseFolder,
    task: ConceptTask,
    tasks: Sequence[ConceptTask],
    image: Volume,
    labels: NDArray[Any],
    mask: NDArray[np.bool_],
    answers: dict[str, PromptAnswer],
    midline_x: float,
    tolerance_mm: float,
) -> Row:
    is_true = np.isin(labels, task.truth_ids)
    ignore = np.isin(labels, task.ignore_ids) if task.ignore_ids else None
    scores = score_mask(is_true, mask, image.spacing_mm, tolerance_mm=tolerance_mm, ignore=ignore)
    laterality = None
    if task.side is not None:
        other = _opposite(task, tasks)
        opposite = np.isin(labels, other.truth_ids) if other is not None else None
        laterality = check_laterality(mask, task.side, midline_x, is_true, opposite)  # type: ignore[arg-type]
    presences = [p for p in (answers[text].presence for text in task.prompts) if p is not None]
    return Row(
        case=case.name,
        task=task,
        scores=scores,
        presence=max(presences) if presences else None,
        ignored_voxels=int(np.count_nonzero(ignore)) if ignore is not None else 0,
        laterality=laterality,
        instances=match_masks(is_true, mask, ignore),
        planes=capture_planes(image, is_true, mask),
    )


def _absent_row(prompt: str, answer: PromptAnswer) -> AbsentRow:
    return AbsentRow(prompt, answer.status, answer.presence, answer.voxel_count)


def _opposite(task: ConceptTask, tasks: Sequence[ConceptTask]) -> ConceptTask | None:
    other = {"left": "right", "right": "left"}[task.side or ""]
    return next((t for t in tasks if t.group == task.group and t.side == other), None)


def _pairs(
    tasks: Sequence[ConceptTask], labels: NDArray[Any]
) -> tuple[tuple[NDArray[np.bool_], NDArray[np.bool_]], ...]:
    """(left, right) truth masks of the concepts that are labelled on both sides."""
    pairs = []
    for task in tasks:
        other = _opposite(task, tasks) if task.side == "left" else None
        if other is not None:
            pairs.append((np.isin(labels, task.truth_ids), np.isin(labels, other.truth_ids)))
    return tuple(pairs)
