"""`textseg3d predict`: segment what prompts describe, in one scan or many."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from textseg3d.cli.check import READING, add_reading_options
from textseg3d.cli.logs import progress_reporter
from textseg3d.errors import UsageError

if TYPE_CHECKING:
    from textseg3d.cohort import Case, Job
    from textseg3d.export import ExportOptions
    from textseg3d.inference.prompts import PromptRequest

HELP = (
    "Segment what prompts in plain words describe. Masks lie on the scan's own grid, one file per "
    "prompt, with <case>.json beside them. Research use only, not a medical device."
)
log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add = parser.add_argument
    add(
        "-i",
        "--input",
        nargs="+",
        metavar="SCAN",
        help="file, DICOM folder, folder of scans or BIDS dataset",
    )
    add("-p", "--prompt", nargs="+", metavar="PROMPT", help="what to segment, in plain words")
    add("--all", action="store_true", help="every concept that the model knows")
    add(
        "-o",
        "--output",
        metavar="OUT",
        help="folder, or file for one prompt (default: beside SCAN; for a BIDS dataset its "
        "derivatives/textseg3d)",
    )
    add(
        "--jobs",
        metavar="LIST",
        help='.json list or .jsonl of {"image": path, "prompts": [texts], "case": name}, or .csv '
        "with such columns (prompts split by ;), for -i; without prompts it goes with -p or --all",
    )
    add("--model", metavar="MODEL", help="name, folder, or hf-hub:owner/repo@revision")
    add(
        "--device",
        default="auto",
        help="auto, cpu, cuda, cuda:N, mps or openvino (default %(default)s)",
    )
    add(
        "--format",
        choices=("nifti", "nrrd", "seg.nrrd", "dicom-seg"),
        help="of the masks (default: nifti); seg.nrrd (3D Slicer) and dicom-seg (for DICOM series) "
        "hold all masks of a scan in one file",
    )
    add(
        "--sr",
        action="store_true",
        help="also the measurements as a DICOM structured report (TID 1500); with dicom-seg",
    )
    add("--combine", action="store_true", help="also one label map with a legend")
    add("--probabilities", action="store_true", help="also one volume of probabilities per prompt")
    add("--preview", action="store_true", help="also a PNG of three planes with the masks")
    add("--statistics", choices=("csv", "json"), help="also a table with one row per prompt")
    add(
        "--describe",
        action="store_true",
        help="describe each instance: side, place, size, density, neighbours (asks the model for "
        "all anatomy that it knows)",
    )
    add("--exact", action="store_true", help="no shortcut: half-patch steps over the whole scan")
    add(
        "--modality",
        choices=("CT", "MR", "PET"),
        help="of the scans, for a model with a modality token (DICOM says it itself)",
    )
    add(
        "--max-memory",
        metavar="SIZE",
        help="what the process may hold, such as 2G; the work is cut to fit, or refused at once",
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--resume", action="store_true", help="skip cases that are complete")
    group.add_argument("--overwrite", action="store_true", help="replace earlier outputs")
    add_cohort_options(parser)
    add(
        "--log-phi",
        action="store_true",
        help="name scans by their whole paths in the log and the records; without it by file name, "
        "or by 'case' of a --jobs list, as folders are often called after patients",
    )
    add("--dry-run", action="store_true", help="say what would be done, and stop")
    add_reading_options(parser)


def add_cohort_options(parser: argparse.ArgumentParser) -> None:
    """Options for many scans."""
    group = parser.add_argument_group("many scans")
    add = group.add_argument
    add(
        "--executor",
        choices=("serial", "local", "ray"),
        help="who works: this process (default), processes (default with --workers), or a Ray "
        "cluster (RAY_ADDRESS)",
    )
    add(
        "--workers",
        type=int,
        metavar="N",
        help="each loads the model once (default: one per core with 4 GiB of free memory; of Ray "
        "one per GPU or CPU)",
    )
    add("--shard", metavar="I/N", help="only the I-th of N equal parts of the scans, from 1 on")
    add(
        "--summary",
        action="store_true",
        help="also textseg3d-summary.csv and .html, with thumbnails, about all scans",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        UsageError: for options that do not go together, or outputs that exist already.
        PromptError: if a prompt cannot be meant; nothing was read or loaded by then.
        CasesFailedError: if some of several cases failed; the others are done.
    """
    from textseg3d.cli.predict_cohort import executor_of, run_cases, shard_of, summary_folder
    from textseg3d.cohort import Work, expand
    from textseg3d.export import ExportOptions
    from textseg3d.inference.memory import parse_bytes
    from textseg3d.inference.prompts import Vocabulary
    from textseg3d.zoo import ModelCard, default_model, find_model

    executor = executor_of(args)
    limits = {} if args.max_memory is None else {"max_memory": parse_bytes(args.max_memory)}
    jobs = _jobs(args)
    folder = find_model(args.model or default_model())
    card = ModelCard.read(folder)
    vocabulary = Vocabulary.of(card)
    options = ExportOptions(
        args.format,
        args.combine,
        args.probabilities,
        args.preview,
        args.statistics,
        args.all,
        thumbnail=args.summary,
        sr=args.sr,
    )
    understood: dict[tuple[str, ...], tuple[PromptRequest, ...]] = {}
    cases: list[Case] = []
    datasets: set[Path] = set()
    for job in jobs:
        prompts = job.prompts or vocabulary.names
        if prompts not in understood:
            understood[prompts] = tuple(vocabulary.understand_all(prompts))
        texts = tuple(request.text for request in understood[prompts])
        for one in expand(job, card.modalities):
            cases.append(_case(one, texts, args, options))
            if one.dataset is not None:
                datasets.add(one.dataset)
    requests = {request.text: request for group in understood.values() for request in group}
    _refuse_shared_outputs(cases, options, several=len(cases) > 1, output=args.output)
    summary = summary_folder(args, cases, datasets)
    mine = shard_of(args.shard, cases)
    if args.dry_run:
        _print_plan(mine, requests, options, folder)
        return 0
    _refuse_existing(mine, options, args)
    _stop_on_sigterm()
    stated = {} if args.modality is None else {"modality": args.modality}
    work = Work(
        folder,
        args.device,
        options,
        predict={"exact": args.exact, **stated, **{name: getattr(args, name) for name in READING}},
        limits=limits,
        describe=args.describe,
        mode="overwrite" if args.overwrite else "resume" if args.resume else "new",
    )
    return run_cases(args, work, mine, cases, executor, summary, progress_reporter)


def _jobs(args: argparse.Namespace) -> list[Job]:
    """The jobs of the command line; no prompts stand for every concept of the model."""
    from textseg3d.cohort import Job, read_jobs
    from textseg3d.cohort.sources import refuse_plans

    if args.prompt and args.all:
        raise UsageError("give either prompts (-p 'left lung' liver) or --all")
    if args.jobs is not None:
        if args.input:
            raise UsageError("--jobs names the scans; leave out -i")
        given = () if args.all else tuple(args.prompt) if args.prompt else None
        jobs = read_jobs(Path(args.jobs), given)
    else:
        if not args.input:
            raise UsageError("no scan: give -i SCAN, or --jobs; see `textseg3d predict --help`")
        if bool(args.prompt) == args.all:
            raise UsageError("give either prompts (-p 'left lung' liver) or --all")
        jobs = [Job(Path(path), tuple(args.prompt or ())) for path in args.input]
    for texts in {job.prompts for job in jobs}:
        refuse_plans(texts)
    return jobs


def _case(
    job: Job, prompts: tuple[str, ...], args: argparse.Namespace, options: ExportOptions
) -> Case:
    from textseg3d.cohort import Case
    from textseg3d.cohort.bids import DERIVATIVES
    from textseg3d.export import output_names
    from textseg3d.export.files import refuse_scan

    output = args.output
    if job.dataset is not None:
        output = Path(output or job.dataset / DERIVATIVES) / job.folder
    names = output_names(output, job.scan, len(prompts), options.format)
    if job.case is not None:
        names = names.renamed(job.case)
    refuse_scan(names, options.file_names(names, list(prompts)), job.scan)
    return Case(job.scan, prompts, names, args.log_phi)


def _refuse_shared_outputs(
    cases: list[Case], options: ExportOptions, *, several: bool, output: str | None
) -> None:
    if several and any(case.names.single for case in cases):
        raise UsageError(f"the output {output} is one file, but there are {len(cases)} scans")
    owners: dict[tuple[Path, str], Path] = {}
    here = Path.cwd()
    for case in cases:
        folder = here / case.names.folder
        for name in options.file_names(case.names, list(case.prompts)):
            owner = owners.setdefault((folder, name), case.scan)
            if owner is not case.scan:
                raise UsageError(
                    f"{owner} and {case.scan} would both write {name} into {case.names.folder}; "
                    "rename one scan, give it a 'case' in a --jobs list, or run them apart"
                )


def _refuse_existing(cases: list[Case], options: ExportOptions, args: argparse.Namespace) -> None:
    """Raise if a file would be replaced unasked, or a record would replace something else."""
    from textseg3d.export.record import read_record

    there: dict[Path, set[str]] = {}
    for case in cases:
        folder = case.names.folder
        if folder not in there:
            there[folder] = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
        if not there[folder]:
            continue
        if case.names.record in there[folder] and read_record(case.record) is None:
            raise UsageError(
                f"{case.record} is there and is no record of textseg3d (a sidecar of the scan?); "
                "name another folder with -o"
            )
        if args.resume or args.overwrite:
            continue
        for name in options.file_names(case.names, list(case.prompts)):
            if name in there[folder]:
                raise UsageError(
                    f"{folder / name} exists already; use --overwrite, --resume or another -o"
                )


def _print_plan(
    cases: list[Case],
    requests: dict[str, PromptRequest],
    options: ExportOptions,
    folder: Path,
) -> None:
    print(f"model: {folder}")
    for case in cases:
        print(f"{case.scan}")
        for text in case.prompts:
            request = requests[text]
            parts = " + ".join(part.name for part in request.parts)
            print(f"  {request.text!r}: {parts or request.status}")
            for warning in request.warnings:
                print(f"    {warning}")
        for name in options.file_names(case.names, list(case.prompts)):
            exists = " (exists)" if (case.names.folder / name).exists() else ""
            print(f"  -> {case.names.folder / name}{exists}")


def _stop_on_sigterm() -> None:
    """Let SIGTERM clean up as Ctrl-C does."""

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)
