"""`textseg3d determine_postprocessing` and `apply_postprocessing`, on folders of label maps."""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textseg3d.evaluation.protocols.folders import LabelSet
    from textseg3d.inference.postprocess import Postprocessing


def add_common(parser: argparse.ArgumentParser) -> None:
    """What both commands take, with nnU-Net's names."""
    add = parser.add_argument
    add("-i", dest="input", type=Path, required=True, metavar="FOLDER", help="label maps")
    add(
        "-dataset_json", "-djfile", dest="djfile", type=Path, metavar="FILE",
        help="dataset.json (that of the folder)",
    )  # fmt: skip
    add(
        "-np", dest="processes", type=int, default=min(8, os.cpu_count() or 1), metavar="N",
        help="worker processes (default %(default)s)",
    )  # fmt: skip


def determine(args: argparse.Namespace) -> int:
    """Decide rules on predictions with truth; print and write them.

    Raises:
        InputError: for folders that do not go together.
    """
    from textseg3d.evaluation.protocols.folders import FolderRequest, label_set, pair_files
    from textseg3d.evaluation.selection.decide import decide_postprocessing
    from textseg3d.inference.postprocess import FILE_NAME

    djfile = args.djfile or args.input / "dataset.json"
    request = FolderRequest(args.reference, args.input, djfile, processes=args.processes)
    labels = label_set(request)
    pairs = pair_files(request, labels.file_ending)
    found = decide_postprocessing(
        pairs, labels, decided_on=f"{len(pairs)} cases of {args.input}", processes=args.processes
    )
    path = args.input / FILE_NAME
    found.save(path)
    for rule in found.rules:
        print(
            f"{rule.concept}\tkeep_largest={rule.keep_largest}\tmin_volume_ml={rule.min_volume_ml:g}"
            f"\tDice {rule.dice_before:.4f} to {rule.dice_after:.4f}"
        )
    print(path)
    return 0


def apply(args: argparse.Namespace) -> int:
    """Write label maps with rules applied, and print the folder.

    Raises:
        InputError: for unreadable files.
        ModelError: for a damaged list of rules.
    """
    from textseg3d.errors import InputError, UsageError
    from textseg3d.evaluation.protocols.folders import FolderRequest, label_set, run_all
    from textseg3d.inference.postprocess import Postprocessing

    djfile = args.djfile or args.input / "dataset.json"
    labels = label_set(FolderRequest(args.input, args.input, djfile))
    rules = Postprocessing.load(args.rules)
    paths = sorted(args.input.glob(f"*{labels.file_ending}"))
    if not paths:
        raise InputError(f"{args.input} holds no file that ends in {labels.file_ending}")
    if args.output.resolve() == args.input.resolve():
        raise UsageError(f"-o is the folder of -i, {args.input}; choose another one")
    args.output.mkdir(parents=True, exist_ok=True)
    work = partial(_apply_one, out=args.output, labels=labels, rules=rules)
    run_all(work, paths, args.processes)
    print(args.output)
    return 0


def _apply_one(path: Path, *, out: Path, labels: LabelSet, rules: Postprocessing) -> None:
    from textseg3d.evaluation.selection.decide import apply_to_file

    apply_to_file(path, out / path.name, labels, rules)
