"""`textseg3d plan_and_preprocess`: both, with the flags of nnU-Net's command."""

from __future__ import annotations

import argparse

from textseg3d.cli.dataset_arguments import (
    add_dataset_arguments,
    add_planning_arguments,
    add_preprocessing_arguments,
    each,
    plan_dataset,
    preprocess_configurations,
)

HELP = """Fingerprint, plan and preprocess a dataset in nnU-Net's layout.

The same as `textseg3d plan` followed by `textseg3d preprocess`; see there."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_dataset_arguments(parser)
    add_planning_arguments(parser)
    add_preprocessing_arguments(parser)
    parser.add_argument("--no_pp", action="store_true", help="plan only")


def run(args: argparse.Namespace) -> int:
    """Plan and preprocess every dataset; 0 on success, and the plans' paths on standard output."""
    for dataset in each(args.datasets):
        print(plan_dataset(args, dataset))
        if not args.no_pp:
            preprocess_configurations(args, dataset, args.overwrite_plans_name)
    return 0
