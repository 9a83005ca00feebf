"""`textseg3d convert`: weights of another program become a model folder."""

from __future__ import annotations

import argparse

from textseg3d.cli.parser import add_common_arguments

HELP = "Make a model folder of another program's weights, without running anything in them."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `nnunet`, `voxtell` and `sat`."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    text = (
        "Convert an nnU-Net version 2 results folder (3d_fullres or 3d_lowres). Its class names "
        "become prompts. The checkpoints are read in a child process that runs nothing of them."
    )
    child = kinds.add_parser("nnunet", help="an nnU-Net results folder", description=text)
    add = child.add_argument
    add("source", metavar="FOLDER", help="Trainer__Plans__Configuration with plans.json, fold_0, …")
    add("-o", "--output", metavar="MODEL_FOLDER", required=True, help="the folder to make")
    add("-f", "--folds", nargs="+", metavar="FOLD", help="default: all folds, as one ensemble")
    add("--checkpoint", default="checkpoint_final.pth", help="in each fold (default %(default)s)")
    add("--licence", metavar="TEXT", help="of the weights (default: that of dataset.json)")
    add(
        "--orientation",
        choices=("file", "RAS"),
        help="axes that the network saw (default: by the reader in plans.json; RAS for weights of "
        "TotalSegmentator)",
    )
    add("--mirror", action="store_true", help="also predict mirrored windows (8 times the work)")
    add("--overwrite", action="store_true", help="replace a model folder that exists")
    add_common_arguments(child)
    text = (
        "Convert a VoxTell model folder (plans.json, fold_0). Its weights are licensed "
        "CC-BY-NC-SA-4.0. The checkpoint is read in a child process that runs nothing of it."
    )
    child = kinds.add_parser("voxtell", help="a VoxTell model folder", description=text)
    add = child.add_argument
    add("source", metavar="FOLDER", help="with plans.json and fold_0/checkpoint_final.pth")
    _add_open_arguments(child)
    text = (
        "Convert a checkpoint of SAT (Nano or Pro with a U-Net). It is read in a child process "
        "that runs nothing of it."
    )
    child = kinds.add_parser("sat", help="a checkpoint of SAT", description=text)
    add = child.add_argument
    add("source", metavar="FILE", help="nano.pth or pro.pth")
    add("--modality", default="ct", help="of the scans: ct, mri, us or pet (default %(default)s)")
    add("--text-checkpoint", metavar="FILE", help="SAT's text encoder, its .pth")
    add("--text-encoder", metavar="NAME", help="the BERT under it, a hub name or a folder")
    add("--licence", metavar="TEXT", help="of the weights")
    _add_open_arguments(child)


def _add_open_arguments(child: argparse.ArgumentParser) -> None:
    add = child.add_argument
    add("-o", "--output", metavar="MODEL_FOLDER", required=True, help="the folder to make")
    add("--bank", metavar="NPZ", help="text vectors: labels and embeddings")
    add("--overwrite", action="store_true", help="replace a model folder that exists")
    add_common_arguments(child)


def run(args: argparse.Namespace) -> int:
    """Convert, and print the folder.

    Raises:
        InputError: if the source is damaged, unsafe or not supported.
        UsageError: if the output exists.
    """
    from textseg3d import convert

    if args.kind == "nnunet":
        folder = convert.convert_nnunet(
            args.source,
            args.output,
            folds=args.folds,
            checkpoint=args.checkpoint,
            licence=args.licence,
            orientation=args.orientation,
            mirror=args.mirror,
            overwrite=args.overwrite,
        )
    elif args.kind == "voxtell":
        folder = convert.convert_voxtell(
            args.source, args.output, bank=args.bank, overwrite=args.overwrite
        )
    else:
        named = {"text_encoder": args.text_encoder} if args.text_encoder else {}
        folder = convert.convert_sat(
            args.source,
            args.output,
            modality=args.modality,
            bank=args.bank,
            text_checkpoint=args.text_checkpoint,
            licence=args.licence,
            overwrite=args.overwrite,
            **named,
        )
    print(folder)
    return 0
