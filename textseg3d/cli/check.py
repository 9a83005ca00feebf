"""`textseg3d check`: every reading rule on one scan, as a table or JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from textseg3d.io.findings import VERDICTS, Finding, FindingLog
from textseg3d.io.options import DEFAULT_MAX_VOXELS

HELP = "look at a scan with every reading rule, and say what is wrong with it"
# Names of the options of `add_reading_options`, as `read_volume` takes them.
READING = (
    "series",
    "volume_index",
    "assume_orientation",
    "allow_missing_slices",
    "resample_shear",
    "max_voxels",
)


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Options that every command which reads scans understands alike."""
    parser.add_argument(
        "--series",
        metavar="UID",
        help="DICOM series to read, UID or UID#n for the n-th stack inside a series",
    )
    parser.add_argument(
        "--volume",
        metavar="K",
        type=int,
        dest="volume_index",
        help="which volume (from 0) of a file that holds several",
    )
    parser.add_argument(
        "--assume-orientation",
        metavar="LETTERS",
        help="where the axes i, j, k point towards (such as LPS or RAS), for files that do not say",
    )
    parser.add_argument(
        "--allow-missing-slices",
        action="store_true",
        help="fill gaps of a DICOM series by interpolation",
    )
    parser.add_argument(
        "--resample-shear",
        action="store_true",
        help="resample a sheared scan (gantry tilt) onto a perpendicular grid",
    )
    parser.add_argument(
        "--max-voxels",
        metavar="N",
        type=int,
        default=DEFAULT_MAX_VOXELS,
        help="refuse larger scans before anything is allocated (default %(default)s)",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "scan", metavar="SCAN", help="NIfTI, NRRD or MHA/MHD file, DICOM folder, file or zip"
    )
    add_reading_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        0 if the scan can be used.

    Raises:
        InputError: a rule rejects it; the table is printed before.
    """
    from textseg3d.io.reader import check_scan

    findings = check_scan(
        args.scan,
        series=args.series,
        volume_index=args.volume_index,
        assume_orientation=args.assume_orientation,
        allow_missing_slices=args.allow_missing_slices,
        resample_shear=args.resample_shear,
        max_voxels=args.max_voxels,
        isolate=True,
    )
    verdict = max((f.verdict for f in findings), key=VERDICTS.index)
    if args.json:
        print(json.dumps({"path": args.scan, "verdict": verdict, "findings": _as_json(findings)}))
    else:
        print(table(findings))
    if verdict != "reject":
        return 0
    log = FindingLog(args.scan)
    log.findings = findings
    sys.stdout.flush()
    raise log.error()


def table(findings: Sequence[Finding]) -> str:
    """Rules, verdicts and messages in columns."""
    lines = [f"{'rule':<5} {'verdict':<8} what"]
    lines += [f"{f.rule:<5} {f.verdict:<8} {f.message}" for f in findings]
    counts = [f"{sum(f.verdict == v for f in findings)} {v}" for v in VERDICTS]
    return "\n".join([*lines, ", ".join(counts)])


def _as_json(findings: Sequence[Finding]) -> list[dict[str, str]]:
    return [{"rule": f.rule, "verdict": f.verdict, "message": f.message} for f in findings]
