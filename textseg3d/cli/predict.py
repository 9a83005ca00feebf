"""`textseg3d predict`: segment what prompts describe, in one scan or many."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textseg3d.cli.check import READING, add_reading_options
from textseg3d.cli.logs import emit, progress_reporter, report_error, wants_json
from textseg3d.errors import Cancelled, CasesFailedError, TextSegError, UsageError

if TYPE_CHECKING:
    from textseg3d.cli.predict_cases import Job
    from textseg3d.export import ExportOptions, OutputNames
    from textseg3d.inference.prompts import PromptRequest
    from textseg3d.inference.result import Prediction
    from textseg3d.inference.segmenter import Segmenter

HELP = (
    "Segment what prompts in plain words describe. Masks lie on the scan's own grid, one file per "
    "prompt, with <case>.json beside them. Research use only, not a medical device."
)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Case:
    """One scan with everything that is known before it is read."""

    scan: Path
    requests: tuple[PromptRequest, ...]
    names: OutputNames

    @property
    def prompts(self) -> list[str]:
        """The texts, each once."""
        return [request.text for request in self.requests]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add = parser.add_argument
    add("-i", "--input", nargs="+", metavar="SCAN", help="file, DICOM folder or folder of scans")
    add("-p", "--prompt", nargs="+", metavar="PROMPT", help="what to segment, in plain words")
    add("--all", action="store_true", help="every concept that the model knows")
    add(
        "-o",
        "--output",
        metavar="OUT",
        help="folder, or file for one prompt (default: beside SCAN)",
    )
    add("--jobs", metavar="JSON", help='list of {"image": path, "prompts": [texts]}, for -i and -p')
    add("--model", metavar="MODEL", help="name, folder, or hf-hub:owner/repo@revision")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default %(default)s)")
    add(
        "--format",
        choices=("nifti", "nrrd", "seg.nrrd", "dicom-seg"),
        help="of the masks (default: nifti); seg.nrrd (3D Slicer) and dicom-seg (for DICOM series) "
        "hold all masks of a scan in one file",
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
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--resume", action="store_true", help="skip cases that are complete")
    group.add_argument("--overwrite", action="store_true", help="replace earlier outputs")
    add("--dry-run", action="store_true", help="say what would be done, and stop")
    add_reading_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        UsageError: for options that do not go together, or outputs that exist already.
        PromptError: if a prompt cannot be meant; nothing was read or loaded by then.
        CasesFailedError: if some of several cases failed; the others are done.
    """
    from textseg3d.cli.predict_cases import find_scans
    from textseg3d.export import ExportOptions
    from textseg3d.inference.prompts import Vocabulary
    from textseg3d.zoo import ModelCard, default_model, find_model

    jobs = _jobs(args)
    folder = find_model(args.model or default_model())
    vocabulary = Vocabulary(ModelCard.read(folder).concepts)
    options = ExportOptions(
        args.format, args.combine, args.probabilities, args.preview, args.statistics, args.all
    )
    understood: dict[tuple[str, ...], tuple[PromptRequest, ...]] = {}
    cases = []
    for job in jobs:
        prompts = job.prompts or vocabulary.names
        if prompts not in understood:
            understood[prompts] = tuple(vocabulary.understand_all(prompts))
        for scan in find_scans([job.scan]):
            cases.append(_case(scan, understood[prompts], args, options))
    _refuse_shared_outputs(cases, options, several=len(cases) > 1, output=args.output)
    if args.dry_run:
        _print_plan(cases, options, folder)
        return 0
    if not (args.resume or args.overwrite):
        _refuse_existing(cases, options)
    _stop_on_sigterm()
    return _run_cases(cases, args, options, folder)


def _jobs(args: argparse.Namespace) -> list[Job]:
    """The jobs of the command line; no prompts stand for every concept of the model."""
    from textseg3d.cli.predict_cases import Job, read_jobs, refuse_plans

    if args.jobs is not None:
        if args.input or args.prompt or args.all:
            raise UsageError("--jobs names scans and prompts; leave out -i, -p and --all")
        jobs = read_jobs(Path(args.jobs))
    else:
        if not args.input:
            raise UsageError("no scan: give -i SCAN, or --jobs; see `textseg3d predict --help`")
        if bool(args.prompt) == args.all:
            raise UsageError("give either prompts (-p 'left lung' liver) or --all")
        jobs = [Job(Path(path), tuple(args.prompt or ())) for path in args.input]
    for job in jobs:
        refuse_plans(job.prompts)
    return jobs


def _case(
    scan: Path,
    requests: tuple[PromptRequest, ...],
    args: argparse.Namespace,
    options: ExportOptions,
) -> Case:
    from textseg3d.export import output_names
    from textseg3d.export.files import refuse_scan

    names = output_names(args.output, scan, len(requests), options.format)
    case = Case(scan, requests, names)
    refuse_scan(names, options.file_names(names, case.prompts), scan)
    return case


def _refuse_shared_outputs(
    cases: list[Case], options: ExportOptions, *, several: bool, output: str | None
) -> None:
    if several and any(case.names.single for case in cases):
        raise UsageError(f"the output {output} is one file, but there are {len(cases)} scans")
    owners: dict[Path, Path] = {}
    for case in cases:
        for name in options.file_names(case.names, case.prompts):
            path = (case.names.folder / name).absolute()
            if path in owners:
                raise UsageError(
                    f"{owners[path]} and {case.scan} would both write {path.name} into "
                    f"{case.names.folder}; rename one scan or run them apart"
                )
            owners[path] = case.scan


def _refuse_existing(cases: list[Case], options: ExportOptions) -> None:
    for case in cases:
        for name in options.file_names(case.names, case.prompts):
            path = case.names.folder / name
            if path.exists():
                raise UsageError(f"{path} exists already; use --overwrite, --resume or another -o")


def _print_plan(cases: list[Case], options: ExportOptions, folder: Path) -> None:
    print(f"model: {folder}")
    for case in cases:
        print(f"{case.scan}")
        for request in case.requests:
            parts = " + ".join(part.name for part in request.parts)
            print(f"  {request.text!r}: {parts or request.status}")
            for warning in request.warnings:
                print(f"    {warning}")
        for name in options.file_names(case.names, case.prompts):
            exists = " (exists)" if (case.names.folder / name).exists() else ""
            print(f"  -> {case.names.folder / name}{exists}")


def _run_cases(
    cases: list[Case], args: argparse.Namespace, options: ExportOptions, folder: Path
) -> int:
    from textseg3d.api import Segmenter
    from textseg3d.inference.device import tune_process

    start = time.perf_counter()
    tune_process()
    segmenter = Segmenter(folder, args.device)
    sha256 = segmenter.card.files["model.safetensors"].sha256
    log.info(
        "model %s on %s, loaded in %.1f s",
        segmenter.card.name,
        segmenter.device,
        time.perf_counter() - start,
    )
    failed = []
    for number, case in enumerate(cases, 1):
        if wants_json(args):
            emit("case", case=case.names.case, number=number, total=len(cases))
        if args.resume and is_complete(case, options, sha256, exact=args.exact):
            log.info("%s: complete, skipped", case.scan)
            continue
        try:
            with progress_reporter(args) as on_progress:
                _run_case(case, args, options, segmenter, on_progress)
        except (Cancelled, KeyboardInterrupt):
            raise
        except Exception as error:
            if len(cases) == 1:
                raise
            _report(case, error, args)
            failed.append(str(case.scan))
    if failed:
        names = ", ".join(failed[:5]) + (" …" if len(failed) > 5 else "")
        raise CasesFailedError(f"{len(failed)} of {len(cases)} cases failed: {names}")
    return 0


def _report(case: Case, error: Exception, args: argparse.Namespace) -> None:
    """One line for a case that failed among others."""
    log.debug("%s", case.scan, exc_info=error)
    text = str(error) or type(error).__name__
    if not isinstance(error, TextSegError):
        text = f"unexpected {type(error).__name__}: {text}"
    code = error.exit_code if isinstance(error, TextSegError) else 1
    prefix = "" if str(case.scan) in text else f"{case.scan}: "
    report_error(f"{prefix}{text}", code, json_lines=wants_json(args))


def _run_case(
    case: Case,
    args: argparse.Namespace,
    options: ExportOptions,
    segmenter: Segmenter,
    on_progress: Callable[[str, int, int], Any],
) -> None:
    from textseg3d.export import save_prediction
    from textseg3d.export.record import read_record

    prompts = case.prompts
    if args.describe:
        prompts = [*prompts, *_context(segmenter, prompts)]
    prediction = segmenter.predict(
        case.scan,
        prompts,
        on_progress=on_progress,
        exact=args.exact,
        keep_logits=options.probabilities,
        **{name: getattr(args, name) for name in READING},
    )
    if args.describe:
        from textseg3d.inference.describe import describe

        prediction = describe(prediction, case.prompts, ct="CT" in segmenter.card.modalities)
    on_progress("write", 0, 1)
    paths = save_prediction(prediction, None, names=case.names, **vars(options))
    on_progress("write", 1, 1)
    record = read_record(paths[-1]) or {}
    for warning in record["warnings"]:
        log.warning("%s: %s", case.scan, warning)
    for result in prediction.values():
        for warning in result.warnings:
            log.warning("%s", warning)
    stages = ", ".join(f"{name} {value:.1f}" for name, value in record["seconds"].items())
    peak = record["peak_rss_mb"]
    log.info(
        "%s: windows %d of %d; seconds: %s; peak memory %s MB",
        case.names.case, prediction.windows_run, prediction.windows_total, stages, peak,
    )  # fmt: skip
    if wants_json(args):
        files = [str(path) for path in paths]
        emit("result", case=case.names.case, record=files[-1], files=files)
    print_results(prediction, case.names, record)


def _context(segmenter: Segmenter, prompts: list[str]) -> list[str]:
    """What descriptions name besides the prompts."""
    from textseg3d.inference.describe import context_names
    from textseg3d.inference.prompts import Vocabulary

    names = context_names(Vocabulary(segmenter.concepts), prompts)
    return [name for name in names if name not in prompts]


def print_results(prediction: Prediction, names: OutputNames, record: dict[str, Any]) -> None:
    """One line per prompt on standard output: status, presence, volume, file."""
    width = max(len(text) for text in prediction)
    for entry in record["prompts"]:
        presence = "    " if entry["presence"] is None else f"{entry['presence']:.2f}"
        volume = f"{entry['volume_ml']:10.2f} ml" if entry["mask"] else " " * 13
        file = names.folder / entry["mask"] if entry["mask"] else ""
        line = f"{entry['text']:<{width}}  {entry['status']:<8} {presence} {volume}  {file}"
        print(line.rstrip(), flush=True)
        for finding in entry.get("findings", ()):
            print(f"  {finding['sentence']}", flush=True)


def is_complete(case: Case, options: ExportOptions, sha256: str, *, exact: bool) -> bool:
    """Whether a record says that this very work was done, and its files are there."""
    from textseg3d.export.record import path_sha256, read_record

    record = read_record(case.names.folder / case.names.record)
    if record is None:
        return False
    try:
        masks = [entry["mask"] for entry in record["prompts"] if entry["mask"]]
        same = (
            [entry["text"] for entry in record["prompts"]] == case.prompts
            and record["model"]["sha256"] == sha256
            and record["exact"] == exact
        )
        wanted = options.file_names(case.names, [])
        if options.probabilities:
            found = [entry["text"] for entry in record["prompts"] if entry["mask"]]
            wanted += [case.names.probability(text) for text in found]
        there = all((case.names.folder / name).is_file() for name in [*masks, *wanted])
        return same and there and record["image"]["sha256"] == path_sha256(case.scan)
    except (KeyError, TypeError, OSError):
        return False


def _stop_on_sigterm() -> None:
    """Let SIGTERM clean up as Ctrl-C does."""

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)
