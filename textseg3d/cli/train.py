"""`textseg3d train`: train a prompted model on a dataset in nnU-Net's layout, or a prepared set."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textseg3d.errors import UsageError
from textseg3d.suggest import did_you_mean

if TYPE_CHECKING:
    from textseg3d.plans import Plans
    from textseg3d.training.loop import Machine, TrainSettings

HELP = """Train a model that answers prompts.

`textseg3d train DATASET CONFIGURATION FOLD` trains on what `textseg3d preprocess` made; names of
labels become prompts. Results go to nnUNet_results (or TEXTSEG3D_results), as
DATASET/PromptTrainer__PLANS__CONFIGURATION/fold_FOLD: checkpoint, log.csv, progress.png, the model
folder that `predict --model` takes, and the fold's validation cases with summary.json.

`textseg3d train FOLDER CONFIGURATION -p plans.json --text FOLDER -o RUN` trains on a prepared set
(training.json). A CONFIGURATION with a `cascade` is a stage: it is added to the model of
--model-folder, which must have the configuration that localises for it. With
`torchrun --nproc-per-node N -m textseg3d.cli train …` N processes share the work. --continue goes
on at the exact next step."""

PLANS_NAME = "nnUNetPlans"
TRAINER = "PromptTrainer"

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "data", metavar="DATASET", help="number, name or folder; or a folder with training.json"
    )
    parser.add_argument("configuration", metavar="CONFIGURATION", help="of the plans: 3d_fullres")
    parser.add_argument("fold", metavar="FOLD", nargs="?", help="0 to 4, or all")
    parser.add_argument(
        "-p", "--plans", default=None, metavar="PLANS", help=f"name ({PLANS_NAME}) or file of plans"
    )
    parser.add_argument(
        "-device", "--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:N, mps"
    )
    parser.add_argument(
        "--continue", "--c", dest="resume", action="store_true", help="go on from the checkpoint"
    )
    parser.add_argument("--text", type=Path, help="folder of the text encoder (the bundled one)")
    parser.add_argument("--steps", type=int, help="optimiser steps (2000; datasets 5000)")
    parser.add_argument("--batch", type=int, help="windows per step (1; datasets: the plans')")
    parser.add_argument(
        "--accumulate", type=int, default=1, metavar="N", help="N batches per step (1)"
    )
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="peak (%(default)s)")
    parser.add_argument("--prompts", type=int, default=10, help="prompts per window (%(default)s)")
    parser.add_argument("--loaders", type=int, default=1, help="sample processes (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and samples (%(default)s)")
    parser.add_argument(
        "--checkpoint-seconds", type=float, default=180.0, metavar="S",
        help="time between checkpoints (%(default)s); 0: after every step",
    )  # fmt: skip
    parser.add_argument(
        "--tensorboard", action="store_true", help="also write event files to RUN/tensorboard"
    )
    _add_dataset_arguments(parser.add_argument_group("on a dataset"))
    prepared = parser.add_argument_group("on a prepared set")
    prepared.add_argument("-o", "--out", type=Path, help="run folder (needed)")
    prepared.add_argument(
        "--model-folder", type=Path, metavar="FOLDER",
        help="where the model goes (OUT/model); of a stage: the model that it is added to",
    )  # fmt: skip
    prepared.add_argument("--card", type=Path, help="JSON with the card's fields that people write")
    prepared.add_argument(
        "--withhold", nargs="+", default=[], metavar="NAME",
        help="trained concepts that the model shall not claim; it answers `unknown` to them",
    )  # fmt: skip
    prepared.add_argument(
        "--threshold", type=float, default=0.5, metavar="P",
        help="of a stage: probability from which on a voxel is part of its answer (0.5)",
    )  # fmt: skip
    prepared.add_argument(
        "--export-only", action="store_true", help="write the model of OUT's checkpoint and stop"
    )


def _add_dataset_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-tr", dest="trainer", default=TRAINER, metavar="NAME", help="in the results' folder name"
    )
    group.add_argument(
        "--network", metavar="SIZE", default="small", help="nano, small (default) or base"
    )
    group.add_argument(
        "--from", "-pretrained_weights", dest="base", metavar="MODEL",
        help="fine-tune this model (name or folder); plan with its plans.json as --preset",
    )  # fmt: skip
    group.add_argument(
        "--tune", choices=("all", "decoder", "lora"), default="all",
        help="what --from changes: all, decoder and fusion, or a rank-8 part of the fusion",
    )  # fmt: skip
    group.add_argument(
        "--modality-token", action="store_true",
        help="tell the network with each prompt whether the scan is CT, MR or PET",
    )  # fmt: skip
    group.add_argument(
        "--validate-every", type=int, default=500, metavar="N",
        help="score validation windows every N steps (500; 0: never)",
    )  # fmt: skip
    group.add_argument(
        "--patience", type=int, default=0, metavar="N",
        help="stop after N scores without a better one, and keep the best (0: never)",
    )  # fmt: skip
    group.add_argument("--val", action="store_true", help="only predict and score the fold")
    group.add_argument(
        "--val_best", action="store_true", help="export and validate the best-scored weights"
    )
    group.add_argument("--npz", action="store_true", help="keep the validation's probabilities")
    group.add_argument("--no-validation", action="store_true", help="train and export only")


def run(args: argparse.Namespace) -> int:
    """Train, then export; 0 on success."""
    from textseg3d.training.cases import INDEX

    if (Path(args.data) / INDEX).is_file():
        return _train_prepared(args)
    from textseg3d.cli.train_dataset import train_dataset

    return train_dataset(args)


def make_settings(args: argparse.Namespace, *, steps: int, batch: int) -> TrainSettings:
    """Settings that the arguments ask for, with defaults for steps and batch.

    Raises:
        UsageError: for numbers that cannot be meant.
    """
    from textseg3d.training.loop import TrainSettings

    for name in ("steps", "batch", "accumulate", "prompts"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name} is {value}, expected 1 or more")
    if args.learning_rate <= 0:
        raise UsageError(f"--learning-rate is {args.learning_rate:g}, expected more than 0")
    return TrainSettings(
        steps=args.steps or steps,
        seed=args.seed,
        learning_rate=args.learning_rate,
        prompts=args.prompts,
        loaders=args.loaders,
        batch=args.batch or batch,
        accumulate=args.accumulate,
        checkpoint_seconds=args.checkpoint_seconds,
        patience=args.patience,
    )


def make_machine(device: str, ranks: object) -> Machine:
    """Device and precision of this process."""
    from textseg3d.inference.device import choose_runtime
    from textseg3d.training.loop import Machine
    from textseg3d.training.ranks import Ranks

    assert isinstance(ranks, Ranks)
    runtime = choose_runtime(device)
    return Machine(runtime.device, runtime.autocast, ranks)


def _train_prepared(args: argparse.Namespace) -> int:
    from textseg3d.inference.device import tune_process
    from textseg3d.plans import Plans
    from textseg3d.plans.schema import stage_weights
    from textseg3d.text.encoder import load_encoder
    from textseg3d.training.cases import TrainingSet
    from textseg3d.training.crops import CropDataset
    from textseg3d.training.loop import train
    from textseg3d.training.model_folder import WEIGHTS, check_stage
    from textseg3d.training.ranks import joined
    from textseg3d.training.sampling import WindowDataset
    from textseg3d.training.tune import Start
    from textseg3d.zoo import find_model

    for flag, value in (("-p", args.plans), ("--text", args.text), ("-o", args.out)):
        if value is None:
            raise UsageError(f"a prepared training set needs {flag}; see `textseg3d train --help`")
    if args.fold is not None:
        raise UsageError(f"a prepared training set has no folds, got {args.fold!r}")
    for name in ("val", "val_best", "npz", "no_validation", "patience", "modality_token"):
        if getattr(args, name):
            flag = name if name == "val_best" else name.replace("_", "-")
            raise UsageError(f"--{flag} is for datasets; a prepared training set has no fold")
    tune_process()
    plans = Plans.load(Path(args.plans))
    configuration = plans.configuration(args.configuration)
    stage = configuration.cascade is not None
    if not 0 < args.threshold < 1 or (args.threshold != 0.5 and not stage):
        raise UsageError(
            f"--threshold is a probability between 0 and 1, of a stage; got {args.threshold} for "
            f"{args.configuration!r}"
        )
    if configuration.text.modality_token:
        raise UsageError(
            f"{args.plans} asks for a modality token; a prepared training set has one modality"
        )
    data = TrainingSet.load(Path(args.data))
    if data.modality == "MR" and (stage or configuration.intensity[0].scheme != "zscore"):
        raise UsageError(
            f"{args.data} is a set of MR, which trains a configuration without a cascade whose "
            f"intensity has the scheme 'zscore'; {args.configuration!r} is not one"
        )
    names = [target.name for target in data.targets]
    for name in (*args.withhold, *configuration.answers):
        if name not in names:
            near = did_you_mean(name, names)
            what = f"--withhold {name!r}" if name in args.withhold else f"the answer {name!r}"
            raise UsageError(f"{what}: no target of the training set{near}")
    if stage and args.model_folder is not None:
        check_stage(args.model_folder, plans, args.configuration, args.text)
    first, start = True, None
    if args.base is not None:
        file = stage_weights(args.configuration) if stage else WEIGHTS
        start = Start(find_model(args.base) / file, args.tune)
    if not args.export_only:
        settings = make_settings(args, steps=2000, batch=configuration.batch_size)
        encoder = load_encoder(args.text)
        kind = CropDataset if stage else WindowDataset
        source = kind(Path(args.data), data, configuration, args.seed, args.prompts)
        with joined(args.device) as (ranks, device):
            first = ranks.first
            train(
                source, encoder, args.out, settings, machine=make_machine(device, ranks),
                start=start, resume=args.resume, tensorboard=args.tensorboard,
            )  # fmt: skip
    if first:
        if stage:
            _export_stage(args, plans)
        else:
            _export(args, plans, names, data.modality)
    return 0


def _card_words(args: argparse.Namespace) -> dict[str, Any]:
    """What --card says."""
    return json.loads(args.card.read_text(encoding="utf-8")) if args.card else {}


def _export(args: argparse.Namespace, plans: Plans, names: list[str], modality: str) -> None:
    """Write a model folder of its own."""
    from textseg3d.training.model_folder import write_model_folder
    from textseg3d.zoo import ModelCard, write_card

    folder = args.model_folder or args.out / "model"
    concepts = [name for name in names if name not in args.withhold]
    write_model_folder(args.out, folder, concepts, plans, args.configuration, args.text)
    unknown = {
        "name": folder.name,
        "version": "0",
        "summary": "trained by `textseg3d train`",
        "modalities": [modality],
        "weights_licence": "unspecified",
        "training_sources": [],
    }
    card = ModelCard.from_json({**unknown, **_card_words(args), "concepts": concepts})
    write_card(folder, card)
    logger.info("model written to %s", folder)


def _export_stage(args: argparse.Namespace, plans: Plans) -> None:
    """Add a stage to an existing model folder; it claims what it answers, unless withheld."""
    from textseg3d.training.model_folder import add_stage
    from textseg3d.zoo import ModelCard, write_card

    folder = args.model_folder
    if folder is None:
        logger.warning(
            "%s is a stage: its checkpoint is in %s, and no model was written; give --export-only "
            "and the --model-folder to add it to", args.configuration, args.out,
        )  # fmt: skip
        return
    card = ModelCard.read(folder)
    answers = plans.configuration(args.configuration).answers
    add_stage(args.out, folder, plans, args.configuration, args.text, threshold=args.threshold)
    known = dict.fromkeys((*card.concepts, *answers))
    concepts = [name for name in known if name not in args.withhold]
    words = {**card.to_json(), **_card_words(args), "concepts": concepts}
    write_card(folder, ModelCard.from_json(words))
    logger.info("stage %s added to %s", args.configuration, folder)
