"""`textseg3d import`: datasets of other layouts become folders in nnU-Net's layout."""

from __future__ import annotations

import argparse
from pathlib import Path

from textseg3d.cli.parser import add_common_arguments

HELP = """Write a dataset of another layout as DatasetXXX_Name, with prompts, in nnU-Net's layout.

One case at a time; a run that was stopped goes on where it was, and dataset.json, written last,
says that the folder is complete. Voxels stay on their own grid. What a label map cannot say
(free texts, single instances, which labels were looked for) goes into cases.json."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one sub-command per layout."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="LAYOUT")

    def kind(name: str, text: str, *, links: bool = True) -> argparse.ArgumentParser:
        child = kinds.add_parser(name, help=text.partition(":")[0], description=text)
        child.add_argument(
            "-o", "--output", type=Path, required=True, metavar="FOLDER",
            help="the dataset to make, such as nnUNet_raw/Dataset701_Name",
        )  # fmt: skip
        if links:
            child.add_argument(
                "--link", action="store_true",
                help="give image files a second name (hard link) instead of copying them",
            )  # fmt: skip
        add_common_arguments(child)
        return child

    child = kind("decathlon", "a task of the Medical Segmentation Decathlon: TaskXX_Name")
    child.add_argument("source", type=Path, metavar="TASK", help="folder with dataset.json")
    child = kind(
        "rexgroundingct",
        "ReXGroundingCT: findings of reports as (F, X, Y, Z) masks. Their categories become labels",
    )
    child.add_argument("source", type=Path, metavar="LIST", help="dataset.json of the benchmark")
    child.add_argument("--images", type=Path, required=True, metavar="FOLDER", help="CT-RATE scans")
    child.add_argument("--masks", type=Path, required=True, metavar="FOLDER", help="segmentations")
    child = kind("sat", "a list of SAT: jsonl with image, label, modality, dataset and mask")
    child.add_argument("source", type=Path, metavar="LIST", help="jsonl file")
    child.add_argument("--dataset", metavar="NAME", help="the one to take, if the list has several")
    child.add_argument(
        "--root", type=Path, metavar="FOLDER", help="of relative paths (default: the list's folder)"
    )
    child = kind("cvpr2025", "npz files of the CVPR-2025 text challenge", links=False)
    child.add_argument("source", type=Path, metavar="FOLDER", help="with the npz files")
    child.add_argument(
        "--prompts", type=Path, required=True, metavar="FILE",
        help='JSON: dataset → {"1": texts, "instance_label": 0}',
    )  # fmt: skip
    child.add_argument(
        "--orientation", required=True, metavar="XYZ",
        help="where x, y, z of the arrays point to, such as LPS: the files do not say",
    )  # fmt: skip
    child.add_argument("--dataset", metavar="NAME", help="the one to take, if there are several")
    child.add_argument(
        "--spacing-order", choices=("zyx", "xyz"), default="zyx",
        help="axes that `spacing` lists (default zyx, those of the arrays)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Import, and print the folder.

    Raises:
        InputError: if the source is damaged or of another layout.
        UsageError: if an argument is missing or the folder cannot be used.
    """
    from textseg3d.cli.logs import progress_reporter
    from textseg3d.dataset import importing

    with progress_reporter(args) as on_progress:
        if args.kind == "decathlon":
            folder = importing.import_decathlon(
                args.source, args.output, link=args.link, on_progress=on_progress
            )
        elif args.kind == "rexgroundingct":
            folder = importing.import_rexgroundingct(
                args.source, args.images, args.masks, args.output,
                link=args.link, on_progress=on_progress,
            )  # fmt: skip
        elif args.kind == "sat":
            folder = importing.import_sat(
                args.source, args.output,
                dataset=args.dataset, root=args.root, link=args.link, on_progress=on_progress,
            )  # fmt: skip
        else:
            folder = importing.import_cvpr2025(
                args.source, args.prompts, args.output,
                orientation=args.orientation, dataset=args.dataset,
                spacing_order=args.spacing_order, on_progress=on_progress,
            )  # fmt: skip
    print(folder)
    return 0
