"""`textseg3d ground`: the findings of a report, looked up in the scan."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from textseg3d.cli.check import READING, add_reading_options
from textseg3d.cli.logs import emit, progress_reporter, wants_json
from textseg3d.errors import InputError, UsageError

if TYPE_CHECKING:
    from textseg3d.reports import Grounding, Report

HELP = (
    "Look up the findings of a report in its scan: each positive finding that the model knows "
    "becomes a mask; negated, uncertain and historical ones are listed as such. The report must "
    "be English plain text (UTF-8). Research use only, not a medical device."
)
log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add = parser.add_argument
    add("-i", "--input", required=True, metavar="SCAN", help="file or DICOM folder")
    add("-r", "--report", required=True, metavar="REPORT", help="text file with the report")
    add("-o", "--output", metavar="FOLDER", help="for all files (default: beside SCAN)")
    add("--html", action="store_true", help="also the report as a page with links to the masks")
    add("--rexgroundingct", action="store_true", help="also files in ReXGroundingCT's format")
    add("--uncertain", action="store_true", help="also look up what the report says with doubt")
    add("--model", metavar="MODEL", help="name, folder, or hf-hub:owner/repo@revision")
    add(
        "--device",
        default="auto",
        help="auto, cpu, cuda, cuda:N, mps or openvino (default %(default)s)",
    )
    add("--format", choices=("nifti", "nrrd"), help="of the masks (default: nifti)")
    add("--exact", action="store_true", help="no shortcut: half-patch steps over the whole scan")
    add("--overwrite", action="store_true", help="replace earlier outputs")
    add("--dry-run", action="store_true", help="only read the report: list its findings, and stop")
    add_reading_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        InputError: if the report or the scan cannot be read.
        UsageError: if outputs exist already.
    """
    from textseg3d.export import output_names
    from textseg3d.export.files import refuse_scan
    from textseg3d.reports.read import read_report

    report = read_report(read_text(Path(args.report)))
    if args.dry_run:
        _print_report(report)
        return 0
    scan = Path(args.input)
    if not scan.exists():
        raise InputError(f"{scan}: there is no such file or folder")
    names = output_names(args.output, scan, 2, args.format)  # 2: a folder, never one file

    from textseg3d.api import Segmenter
    from textseg3d.inference.device import tune_process
    from textseg3d.reports import ground_report
    from textseg3d.reports.write import report_files, write_grounding
    from textseg3d.zoo import default_model, find_model

    planned = report_files(names, html=args.html, rexgroundingct=args.rexgroundingct)
    refuse_scan(names, [path.name for path in planned], scan)
    for path in [*planned, names.folder / names.record]:
        if path.exists() and not args.overwrite:
            raise UsageError(f"{path} exists already; use --overwrite or another -o")
    folder = find_model(args.model or default_model())
    tune_process()
    segmenter = Segmenter(folder, args.device)
    with progress_reporter(args) as on_progress:
        grounding = ground_report(
            report,
            segmenter,
            scan,
            uncertain=args.uncertain,
            on_progress=on_progress,
            exact=args.exact,
            **{name: getattr(args, name) for name in READING},
        )
    paths = write_grounding(grounding, names, html=args.html, rexgroundingct=args.rexgroundingct)
    _tell(grounding)
    if wants_json(args):
        files = [str(path) for path in paths]
        emit("result", case=names.case, record=files[-1], files=files)
    log.info("written: %s", ", ".join(path.name for path in paths))
    return 0


def read_text(path: Path) -> str:
    """The text of a report.

    Raises:
        InputError: if the file cannot be read, or is no UTF-8 text.
    """
    try:
        return path.read_bytes()[: 2**22].decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"the report {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"the report {path} is no UTF-8 text; save it as plain text") from None


def _print_report(report: Report) -> None:
    for finding in report.findings:
        words = " ".join(report.text[finding.start : finding.end].split())
        print(f"{finding.status:<10}  {finding.prompt}  <- {words}")


def _tell(grounding: Grounding) -> None:
    """One line per finding on standard output; warnings in the log, each once."""
    for found in grounding.findings:
        place = "" if found.slice_index is None else f"{found.slice_axis} = {found.slice_index}"
        print(f"{found.outcome:<10}  {found.finding.prompt}  {place}".rstrip(), flush=True)
    for warning in dict.fromkeys(w for found in grounding.findings for w in found.warnings):
        log.warning("%s", warning)
