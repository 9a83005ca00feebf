"""`textseg3d synthesize`: labelled volumes with findings and sentences, from a training set."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from textseg3d.cli.logs import emit, progress_reporter, wants_json
from textseg3d.errors import UsageError

HELP = (
    "Make labelled CT or MR volumes from a prepared set (training.json), as training makes its "
    "samples: scans are deformed and re-lit, atlases rendered, nodules, liver lesions and renal "
    "cysts drawn in. Each case is a folder with ct.nii.gz, seg.nii.gz, info.json (which `textseg3d "
    "evaluate --cases` reads), lesions.nii.gz, and sentences.json: every finding with its exact "
    "truth, sentences that are true of the volume, wrong ones, and such that mean one lesion. "
    "--modality MR renders the atlases as MR of random contrast: mr.nii.gz, no findings. The "
    "same seed gives the same files; cases that are there already are kept."
)
log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add = parser.add_argument
    add("training", type=Path, metavar="TRAINING_FOLDER", help="with training.json")
    add("-o", "--output", type=Path, required=True, metavar="OUT", help="folder of the cases")
    add("-n", "--cases", type=int, default=10, metavar="N", help="how many (default %(default)s)")
    add("--seed", type=int, default=0, help="of everything random (default %(default)s)")
    add(
        "--findings",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="draw findings into organs of cases that know them (default: yes)",
    )
    add(
        "--modality",
        choices=("CT", "MR"),
        help="MR uses the set's atlases alone (default: what the set is prepared for)",
    )
    add("--overwrite", action="store_true", help="make all cases anew")


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        UsageError: for numbers that cannot be meant, or if other cases are there.
        InputError: if the training set is missing or damaged.
    """
    if not 1 <= args.cases <= 10_000:
        raise UsageError(f"-n is {args.cases}, expected 1 to 10000")
    if not 0 <= args.seed < 2**40:
        raise UsageError(f"--seed is {args.seed}, expected 0 or more")

    from textseg3d.training.synthesize import Request, synthesize

    request = Request(
        training=args.training,
        out=args.output,
        cases=args.cases,
        seed=args.seed,
        findings=args.findings,
        overwrite=args.overwrite,
        modality=args.modality,
    )
    with progress_reporter(args) as on_progress:
        written = synthesize(request, on_progress)
    if wants_json(args):
        emit("result", folder=str(args.output), cases=[path.name for path in written])
    log.info("%d cases written to %s", len(written), args.output)
    return 0
