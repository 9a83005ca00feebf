"""`textseg3d apply_postprocessing`: label maps after the rules of a postprocessing.json."""

from __future__ import annotations

import argparse
from pathlib import Path

from textseg3d.cli.postprocessing import add_common, apply

HELP = """Apply postprocessing.json to a folder of label maps.

`textseg3d predict` does that by itself for a model folder that has the file."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command, with nnU-Net's names."""
    add_common(parser)
    parser.add_argument("-o", dest="output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "-pp_file", dest="rules", type=Path, required=True, metavar="FILE",
        help="postprocessing.json",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Run the command; see :func:`textseg3d.cli.postprocessing.apply`."""
    return apply(args)
