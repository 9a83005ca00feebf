"""`textseg3d find_best_configuration`: what to predict with, decided on validation cases."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from textseg3d.errors import InputError

if TYPE_CHECKING:
    from textseg3d.dataset import Dataset
    from textseg3d.evaluation.selection.best import Selection

HELP = """Choose the best configuration, or ensemble of two, on the validation cases of the folds.

Compares mean foreground Dice over all cases, each predicted by the fold that did not see it, and
decides postprocessing (largest component only, least volume) label by label. The folds of the
winner become one model folder with these rules, which `predict --model` takes. Ensembles need
`textseg3d train --npz`. nnU-Net's own results are compared as well."""

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command, with nnU-Net's names."""
    parser.add_argument("dataset", metavar="DATASET", help="number, name or folder")
    parser.add_argument(
        "-p", dest="plans", nargs="+", default=["nnUNetPlans"], metavar="NAME",
        help="names of plans (nnUNetPlans)",
    )  # fmt: skip
    parser.add_argument(
        "-c", dest="configurations", nargs="+", metavar="NAME",
        help="configurations (all that were trained)",
    )  # fmt: skip
    parser.add_argument(
        "-tr", dest="trainers", nargs="+", default=["PromptTrainer"], metavar="NAME",
        help="trainers (PromptTrainer)",
    )  # fmt: skip
    parser.add_argument(
        "-f", dest="folds", nargs="+", default=list("01234"), metavar="FOLD", help="(0 1 2 3 4)"
    )
    parser.add_argument(
        "-np", dest="processes", type=int, default=min(8, os.cpu_count() or 1), metavar="N",
        help="worker processes (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--disable_ensembling", action="store_true", help="no ensembles of two")
    parser.add_argument(
        "--no_overwrite", action="store_true", help="keep label maps of ensembles that are there"
    )


def run(args: argparse.Namespace) -> int:
    """Choose, write the model folder, and print what was found.

    Raises:
        InputError: for missing results.
    """
    from textseg3d.dataset import Dataset, dataset_folder
    from textseg3d.evaluation.selection.best import INFORMATION, find_best

    dataset = Dataset.load(dataset_folder(args.dataset))
    results = dataset_folder(args.dataset, "results")
    names = [
        name
        for trainer in args.trainers
        for plans in args.plans
        for name in _trained(results, trainer, plans, args.configurations)
    ]
    if not names:
        raise InputError(
            f"{results} has no folder such as {args.trainers[0]}__{args.plans[0]}__3d_fullres; "
            "train first, or name others with -tr, -p and -c"
        )
    selection = find_best(
        dataset, results, names, args.folds,
        ensembles=not args.disable_ensembling, overwrite=not args.no_overwrite,
        processes=args.processes,
    )  # fmt: skip
    for name, dice in sorted(selection.dice.items(), key=lambda item: -item[1]):
        print(f"{name}\t{dice:.4f}")
    best = selection.best
    print(f"best\t{best.name}\t{selection.dice_postprocessed:.4f} after postprocessing")
    for rule in selection.postprocessing.rules:
        parts = ["largest component"] if rule.keep_largest else []
        parts += [f"at least {rule.min_volume_ml:g} ml"] if rule.min_volume_ml else []
        print(f"rule\t{rule.concept}\t{', '.join(parts)}")
    for line in _instructions(selection, dataset, args.folds):
        print(line)
    logger.info("written: %s", results / INFORMATION)
    return 0


def _trained(results: Path, trainer: str, plans: str, wanted: list[str] | None) -> list[str]:
    if wanted:
        return [f"{trainer}__{plans}__{configuration}" for configuration in wanted]
    found = results.glob(f"{trainer}__{plans}__*")
    return sorted(path.name for path in found if any(path.glob("fold_*/validation")))


def _instructions(selection: Selection, dataset: Dataset, folds: list[str]) -> list[str]:
    """Model folders for the winner, and how to predict with them."""
    from textseg3d.evaluation.selection.models import merge_folds
    from textseg3d.inference.postprocess import Postprocessing
    from textseg3d.training.targets import dataset_targets

    best = selection.best
    targets = dataset_targets(dataset.description)
    concepts = {label: concept for concept, label in targets.labels.items()}
    rules = Postprocessing(
        tuple(
            dataclasses.replace(rule, concept=concepts[rule.concept])
            for rule in selection.postprocessing.rules
        ),
        selection.postprocessing.decided_on,
    )
    lines = []
    for member in best.members:
        models = [member / f"fold_{fold}" / "model" for fold in folds]
        if not all((model / "card.json").is_file() for model in models):
            lines.append(f"# {member.name} has no model folders; textseg3d convert nnunet {member}")
            continue
        out = member / f"model_folds_{'_'.join(folds)}"
        name = f"{dataset.name}-{member.name.split('__')[-1]}"
        merge_folds(
            models, out, name=name, overwrite=True,
            postprocessing=rules if len(best.members) == 1 else None,
        )  # fmt: skip
        prompts = " ".join(f"'{entry.name}'" for entry in targets.entries[:2])
        lines.append(f"textseg3d predict --model {out} -i SCAN -p {prompts} -o OUT")
    if len(best.members) > 1:
        lines.append("# then average the .npz of both: textseg3d ensemble -i A B -o OUT")
        lines.append(
            f"# and: textseg3d apply_postprocessing -pp_file {best.folder}/postprocessing.json"
        )
    return lines
