"""`textseg3d plan`: fingerprint and plans of a dataset in nnU-Net's layout."""

from __future__ import annotations

import argparse

from textseg3d.cli.dataset_arguments import (
    add_dataset_arguments,
    add_planning_arguments,
    each,
    plan_dataset,
)

HELP = """Plan how to train on a dataset in nnU-Net's layout.

Reads DatasetXXX_Name of nnUNet_raw (or TEXTSEG3D_raw), writes dataset_fingerprint.json and
nnUNetPlans.json to nnUNet_preprocessed (or TEXTSEG3D_preprocessed), with nnU-Net's numbers:
spacing, patch, network, batch. --explain says why each is what it is."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_dataset_arguments(parser)
    add_planning_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Plan every dataset; 0 on success, and the plans' paths on standard output."""
    for dataset in each(args.datasets):
        print(plan_dataset(args, dataset))
    return 0
