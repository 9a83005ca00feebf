"""`textseg3d train`: train a prompted model from plans and a prepared training set."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

HELP = """Train a model that answers prompts.

DATA is a prepared training set (training.json and one .npz per case), CONFIGURATION one of the
plans' configurations. The run folder gets a checkpoint every few minutes, log.csv and
progress.png; --continue goes on at the exact next step. At the end, and with --export-only at
any time, the averaged weights become a model folder that `predict --model` takes."""

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("data", metavar="DATA", type=Path, help="folder with training.json")
    parser.add_argument("configuration", metavar="CONFIGURATION", help='such as "6mm" or "3mm"')
    parser.add_argument("-p", "--plans", type=Path, required=True, help="plans.json")
    parser.add_argument("--text", type=Path, required=True, help="folder of the text encoder")
    parser.add_argument("-o", "--out", type=Path, required=True, help="run folder")
    parser.add_argument("--model-folder", type=Path, help="where the model goes (OUT/model)")
    parser.add_argument("--card", type=Path, help="JSON with the card's fields that people write")
    parser.add_argument("--steps", type=int, default=2000, help="optimiser steps (%(default)s)")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="peak (%(default)s)")
    parser.add_argument("--prompts", type=int, default=10, help="prompts per window (%(default)s)")
    parser.add_argument("--loaders", type=int, default=1, help="sample processes (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and samples (%(default)s)")
    parser.add_argument(
        "--continue", dest="resume", action="store_true", help="go on from OUT's checkpoint"
    )
    parser.add_argument(
        "--export-only", action="store_true", help="write the model of OUT's checkpoint and stop"
    )


def run(args: argparse.Namespace) -> int:
    """Train, then export; 0 on success."""
    from textseg3d.inference.device import tune_process
    from textseg3d.plans import Plans
    from textseg3d.text.encoder import load_encoder
    from textseg3d.training.cases import TrainingSet
    from textseg3d.training.loop import TrainSettings, train
    from textseg3d.training.model_folder import write_model_folder
    from textseg3d.training.sampling import WindowDataset
    from textseg3d.zoo import ModelCard, write_card

    tune_process()
    plans = Plans.load(args.plans)
    configuration = plans.configuration(args.configuration)
    data = TrainingSet.load(args.data)
    if not args.export_only:
        settings = TrainSettings(
            steps=args.steps,
            seed=args.seed,
            learning_rate=args.learning_rate,
            prompts=args.prompts,
            loaders=args.loaders,
        )
        encoder = load_encoder(args.text)
        source = WindowDataset(args.data, data, configuration, args.seed, args.prompts)
        train(source, encoder, args.out, settings, resume=args.resume)
    folder = args.model_folder or args.out / "model"
    concepts = [target.name for target in data.targets]
    write_model_folder(args.out, folder, concepts, plans, args.configuration, args.text)
    words = json.loads(args.card.read_text(encoding="utf-8")) if args.card else {}
    unknown = {
        "name": folder.name,
        "version": "0",
        "summary": "trained by `textseg3d train`",
        "modalities": ["CT"],
        "weights_licence": "unspecified",
        "training_sources": [],
    }
    card = ModelCard.from_json({**unknown, **words, "concepts": concepts})
    write_card(folder, card)
    logger.info("model written to %s", folder)
    return 0
