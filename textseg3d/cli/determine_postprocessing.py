"""`textseg3d determine_postprocessing`: rules for label maps, from predictions with truth."""

from __future__ import annotations

import argparse
from pathlib import Path

from textseg3d.cli.postprocessing import add_common, determine

HELP = """Decide per label whether removing components raises the mean Dice of predictions.

Tried are: only the largest component, seven least volumes, and both. Writes postprocessing.json
into the folder of the predictions."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command, with nnU-Net's names."""
    add_common(parser)
    parser.add_argument(
        "-ref", dest="reference", type=Path, required=True, metavar="FOLDER", help="true labels"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command; see :func:`textseg3d.cli.postprocessing.determine`."""
    return determine(args)
