"""`textseg3d preprocess`: bring a planned dataset to the network's grid."""

from __future__ import annotations

import argparse

from textseg3d.cli.dataset_arguments import (
    PLANS_NAME,
    add_dataset_arguments,
    add_preprocessing_arguments,
    each,
    preprocess_configurations,
)

HELP = """Preprocess a dataset by its plans: crop, normalise, resample, store.

Writes one folder per configuration to nnUNet_preprocessed (or TEXTSEG3D_preprocessed), and
splits_final.json with nnU-Net's five folds. A run that was stopped goes on where it was; cases
whose files or plans changed are done again."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_dataset_arguments(parser)
    add_preprocessing_arguments(parser)
    parser.add_argument(
        "-p", "-plans_name", dest="plans_name", default=PLANS_NAME, metavar="NAME",
        help="name of the plans (%(default)s)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Preprocess every dataset; 0 on success."""
    for dataset in each(args.datasets):
        preprocess_configurations(args, dataset, args.plans_name)
    return 0
