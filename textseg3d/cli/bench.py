"""`textseg3d bench`: where time and memory go, how exact the masks are, and how peers do."""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path

from textseg3d.errors import CasesFailedError, InputError, UsageError

log = logging.getLogger(__name__)
HELP = (
    "Measure a prediction: seconds per stage, peak memory, windows, FLOPs, and how many voxels "
    "differ from a slow exact reference. --parts all adds prompts in numbers, resampling, and "
    "other predictors (nnunetv2, MONAI) on the same weights. Each run is a process of its own."
)
PROMPTS = ("left lung", "right lung", "liver", "heart", "aorta")
DEFAULT_PARTS = ("stages", "parity")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add = parser.add_argument
    add("-i", "--input", required=True, type=Path, metavar="SCAN", help="a CT to measure with")
    add(
        "-p", "--prompt", nargs="+", default=PROMPTS, metavar="PROMPT",
        help="what to segment (default: five organs)",
    )  # fmt: skip
    add("-o", "--output", type=Path, metavar="OUT", help="folder for bench.json, .csv and .png")
    add("--model", metavar="MODEL", help="name or folder of a prompt model")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default %(default)s)")
    add("--repeats", type=int, default=3, help="runs to take the median of (default %(default)s)")
    add(
        "--parts", metavar="LIST",
        help="comma-separated: stages, parity (these two are the default), prompts, session, "
        "peers, resampling, kernels; or all",
    )  # fmt: skip
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--torso", action="store_true",
        help="enlarge the scan to 512×512×300 voxels for stages and parity, too",
    )  # fmt: skip
    group.add_argument("--quick", action="store_true", help="small scans: a try in a minute")
    add(
        "--page", type=Path, metavar="FILE",
        help="Markdown page to update; stands for --parts all --torso",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        UsageError: for parts that there are not, or fewer than one repeat.
        InputError: if the scan is missing.
        CasesFailedError: if a part could not be measured; the others are written by then.
    """
    from textseg3d.benchmark.machine import describe_machine
    from textseg3d.benchmark.parts import Bench
    from textseg3d.benchmark.report import text_tables, update_page, write_results
    from textseg3d.benchmark.rows import FULL, QUICK, Plan
    from textseg3d.zoo import default_model

    parts = _parts(args.parts or ("all" if args.page else None))
    if args.repeats < 1:
        raise UsageError(f"--repeats is {args.repeats}; expected 1 or more")
    if not args.input.exists():
        raise InputError(f"{args.input}: there is no such scan")
    model = args.model or default_model()
    torso = args.torso or (args.page is not None and not args.quick)
    about = {
        "machine": describe_machine(),
        "model": Path(model).name,
        "device": args.device,
        "scan": args.input.name + (", enlarged" if torso or args.quick else ""),
        "prompts": list(args.prompt),
        "repeats": args.repeats,
    }
    with tempfile.TemporaryDirectory(prefix="textseg3d-bench-") as folder:
        plan = Plan(
            scan=args.input,
            prompts=tuple(args.prompt),
            model=str(model),
            device=args.device,
            repeats=args.repeats,
            parts=parts,
            sizes=QUICK if args.quick else FULL,
            as_it_is=not (torso or args.quick),
            work=Path(folder),
        )
        results = Bench(plan).run()
    print(text_tables(results))
    if args.output is not None:
        paths = write_results(args.output, results, about)
        log.info("written: %s", ", ".join(str(path) for path in paths))
    if args.page is not None:
        update_page(args.page, results, about)
        log.info("written: %s", args.page)
    if results.failed:
        raise CasesFailedError(f"not measured: {', '.join(results.failed)}; the tables say why")
    return 0


def _parts(text: str | None) -> tuple[str, ...]:
    from textseg3d.benchmark.rows import PARTS
    from textseg3d.suggest import did_you_mean

    if text is None:
        return DEFAULT_PARTS
    if text == "all":
        return tuple(PARTS)
    chosen = [name.strip() for name in text.split(",")]
    for name in chosen:
        if name not in PARTS:
            known = ", ".join(PARTS)
            raise UsageError(f"unknown part {name!r}{did_you_mean(name, PARTS)} (known: {known})")
    return tuple(name for name in PARTS if name in chosen)
