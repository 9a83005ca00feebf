"""Which configuration, or ensemble of two, is best on the validation cases of all folds.

Reads nnU-Net's results layout: ``TRAINER__PLANS__CONFIGURATION/fold_X/validation`` with label
maps and, for ensembles, ``.npz`` probabilities. Judged is the mean foreground Dice over all
cases, each predicted by the one fold that did not train on it.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from textseg3d.dataset import Dataset
from textseg3d.dataset.case_notes import CaseNotes, load_case_notes
from textseg3d.dataset.description import FILE_NAME
from textseg3d.errors import InputError
from textseg3d.evaluation.grids import on_grid_of, read_labels
from textseg3d.evaluation.protocols.folders import (
    FilePair,
    FolderRequest,
    LabelSet,
    label_set,
    run_all,
)
from textseg3d.evaluation.protocols.nnunet import case_record, mean_dice, summarise
from textseg3d.evaluation.report import write_text
from textseg3d.evaluation.selection.decide import clean_labels, decide_postprocessing
from textseg3d.evaluation.selection.ensembling import ensemble_case
from textseg3d.inference.postprocess import FILE_NAME as RULES_FILE
from textseg3d.inference.postprocess import Postprocessing, Rule

INFORMATION = "inference_information.json"
SUMMARY, CLEANED = "summary.json", "summary_postprocessed.json"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """Something that could be chosen.

    Attributes:
        name: as in the files.
        members: results folders of one configuration each.
        pairs: truth and prediction of every validation case.
        folder: where its cross-validation results go.
    """

    name: str
    members: tuple[Path, ...]
    pairs: tuple[FilePair, ...] = field(repr=False)
    folder: Path


@dataclass(frozen=True)
class Selection:
    """What was chosen.

    Attributes:
        best: the winner.
        dice: candidate → mean foreground Dice.
        postprocessing: rules for the winner's label maps, by label name.
        dice_postprocessed: of the winner, with the rules.
    """

    best: Candidate
    dice: dict[str, float]
    postprocessing: Postprocessing
    dice_postprocessed: float


def find_best(
    dataset: Dataset,
    results: Path,
    names: Sequence[str],
    folds: Sequence[str],
    *,
    ensembles: bool = True,
    overwrite: bool = True,
    processes: int = 1,
) -> Selection:
    """Score all candidates, choose one, decide its postprocessing, and write it all down.

    Args:
        dataset: raw, for the truth.
        results: ``nnUNet_results/DatasetXXX_Name``.
        names: results folders to consider, ``TRAINER__PLANS__CONFIGURATION``.
        folds: such as "0".
        ensembles: also the mean probabilities of every two.
        overwrite: make label maps of ensembles anew.
        processes: that work.

    Returns:
        the choice; ``inference_information.json`` in ``results`` says the same.

    Raises:
        InputError: for missing validation results, or candidates with different cases.
    """
    request = FolderRequest(dataset.folder, results, dataset.folder / FILE_NAME)
    labels = label_set(request)
    suffix = f"crossval_results_folds_{'_'.join(folds)}"
    candidates = [
        Candidate(
            name,
            (results / name,),
            validation_pairs(dataset, results / name, folds),
            results / name / suffix,
        )
        for name in names
    ]
    for other in candidates[1:]:
        _same_cases(candidates[0], other)
    if ensembles:
        for one, other in itertools.combinations(list(candidates), 2):
            made = _ensemble(dataset, results, one, other, folds, overwrite, processes)
            candidates += [made] if made is not None else []
    dice: dict[str, float] = {}
    for candidate in candidates:
        summary = score_pairs(candidate.pairs, labels, processes=processes)
        candidate.folder.mkdir(parents=True, exist_ok=True)
        _write_json(candidate.folder / SUMMARY, summary)
        dice[candidate.name] = mean_dice(summary)
        logger.info("%s: mean foreground Dice %.4f", candidate.name, dice[candidate.name])
    best = max(candidates, key=lambda c: (dice[c.name], -len(c.members)))
    where = f"{len(best.pairs)} validation cases of folds {', '.join(folds)} of {dataset.name}"
    rules = decide_postprocessing(best.pairs, labels, decided_on=where, processes=processes)
    cleaned = score_pairs(best.pairs, labels, rules.rules, processes=processes)
    _write_json(best.folder / CLEANED, cleaned)
    rules.save(best.folder / RULES_FILE)
    selection = Selection(best, dice, rules, mean_dice(cleaned))
    _write_json(results / INFORMATION, _information(selection, dataset, names, folds, ensembles))
    return selection


def validation_pairs(dataset: Dataset, folder: Path, folds: Sequence[str]) -> tuple[FilePair, ...]:
    """Truth and prediction of every validation case of some folds, by name.

    Raises:
        InputError: for a fold without results, a case of no dataset, or one in two folds.
    """
    truths = {case.name: case.label for case in dataset.cases}
    ending = dataset.description.file_ending
    names = [label.name for label in dataset.description.labels]
    notes = load_case_notes(dataset.folder, names)
    found: dict[str, Path] = {}
    for fold in folds:
        validation = folder / f"fold_{fold}" / "validation"
        if not (validation / SUMMARY).is_file():
            raise InputError(
                f"{validation} has no {SUMMARY}; train that fold, or name others with -f"
            )
        for path in sorted(validation.glob(f"*{ending}")):
            name = path.name.removesuffix(ending)
            if name not in truths:
                raise InputError(f"{path} is of no case of {dataset.folder}")
            if name in found:
                raise InputError(f"{path} and {found[name]}: one case in two folds")
            found[name] = path
    return tuple(
        FilePair(truths[name], found[name], notes.get(name, CaseNotes()).unknown(names))
        for name in sorted(found)
    )


def score_pairs(
    pairs: Sequence[FilePair],
    labels: LabelSet,
    rules: Sequence[Rule] = (),
    *,
    processes: int = 1,
) -> dict[str, Any]:
    """``summary.json`` of label files, after some rules of postprocessing.

    Raises:
        InputError: for an unreadable file.
        GeometryError: for a prediction on another grid.
    """
    work = partial(_score, labels=labels, rules=tuple(rules))
    return summarise(run_all(work, pairs, processes), labels)


def _score(pair: FilePair, *, labels: LabelSet, rules: tuple[Rule, ...]) -> dict[str, Any]:
    assert pair.prediction is not None
    truth = read_labels(pair.truth)
    found = on_grid_of(truth, read_labels(pair.prediction), resample=False)
    found = clean_labels(found, truth.spacing_mm, labels, rules)
    return case_record(pair, truth.array[0], found, labels)


def _same_cases(one: Candidate, other: Candidate) -> None:
    differing = {p.truth for p in one.pairs} ^ {p.truth for p in other.pairs}
    if differing:
        raise InputError(
            f"{one.name} and {other.name} were validated on different cases (first: "
            f"{min(differing).name}); compare the same folds"
        )


def _ensemble(
    dataset: Dataset,
    results: Path,
    one: Candidate,
    other: Candidate,
    folds: Sequence[str],
    overwrite: bool,
    processes: int,
) -> Candidate | None:
    """The ensemble of two candidates as label files; None where probabilities are missing."""
    ending = dataset.description.file_ending
    work = []
    name = f"ensemble___{one.name}___{other.name}___{'_'.join(folds)}"
    out = results / "ensembles" / name
    pairs = []
    for first, second in zip(one.pairs, other.pairs):
        assert first.prediction is not None
        assert second.prediction is not None
        case = first.prediction.name.removesuffix(ending)
        folders = (first.prediction.parent, second.prediction.parent)
        if not all((folder / f"{case}.npz").is_file() for folder in folders):
            logger.info("no ensemble of %s and %s: no .npz (--npz)", one.name, other.name)
            return None
        target = out / f"{case}{ending}"
        pairs.append(FilePair(first.truth, target, first.unknown))
        if overwrite or not target.is_file():
            work.append((case, folders))
    out.mkdir(parents=True, exist_ok=True)
    run_all(partial(_ensemble_case, out=out, dataset=dataset), work, processes)
    members = (*one.members, *other.members)
    return Candidate(name, members, tuple(pairs), out)


def _ensemble_case(item: tuple[str, tuple[Path, ...]], *, out: Path, dataset: Dataset) -> None:
    name, folders = item
    ensemble_case(name, folders=folders, out=out, description=dataset.description)


def _information(
    selection: Selection,
    dataset: Dataset,
    names: Sequence[str],
    folds: Sequence[str],
    ensembles: bool,
) -> dict[str, Any]:
    """``inference_information.json`` with nnU-Net's keys."""

    def model(name: str) -> dict[str, str]:
        trainer, plans, configuration = name.split("__")
        return {"configuration": configuration, "trainer": trainer, "plans_identifier": plans}

    best = selection.best
    return {
        "dataset_name_or_id": dataset.name,
        "considered_models": [model(name) for name in names],
        "ensembling_allowed": ensembles,
        "all_results": selection.dice,
        "best_model_or_ensemble": {
            "result_on_crossval_pre_pp": selection.dice[best.name],
            "result_on_crossval_post_pp": selection.dice_postprocessed,
            "postprocessing_file": str(best.folder / RULES_FILE),
            "some_plans_file": str(best.members[0] / "plans.json"),
            "selected_model_or_models": [model(folder.name) for folder in best.members],
        },
        "folds": list(folds),
    }


def _write_json(path: Path, data: dict[str, Any]) -> None:
    write_text(path, json.dumps(data, indent=4, sort_keys=True, ensure_ascii=False) + "\n")
