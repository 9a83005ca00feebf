"""`textseg3d ensemble`: label maps of the mean probabilities of several predictions."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

HELP = """Average the probabilities of several predictions of the same cases.

Reads nnU-Net's .npz files (`nnUNetv2_predict --save_probabilities`, `textseg3d train --npz`) from
each folder and writes label maps on the grid of those in the first."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command, with nnU-Net's names."""
    parser.add_argument("-i", dest="inputs", nargs="+", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("-o", dest="output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "-djfile", type=Path, metavar="FILE", help="dataset.json (that of the first folder)"
    )
    parser.add_argument(
        "-np", dest="processes", type=int, default=min(8, os.cpu_count() or 1), metavar="N",
        help="worker processes (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--save_npz", action="store_true", help="also keep mean probabilities")


def run(args: argparse.Namespace) -> int:
    """Average, and print the folder.

    Raises:
        InputError: for folders that do not go together.
    """
    from textseg3d.dataset.description import Description
    from textseg3d.evaluation.protocols.folders import read_json
    from textseg3d.evaluation.selection.ensembling import ensemble_folders

    path = args.djfile or args.inputs[0] / "dataset.json"
    description = Description.from_dict(read_json(path), path)
    ensemble_folders(
        args.inputs, args.output, description, save_npz=args.save_npz, processes=args.processes
    )
    print(args.output)
    return 0
