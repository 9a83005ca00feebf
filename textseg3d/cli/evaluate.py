"""`textseg3d evaluate`: score predicted masks against truth, or a model on labelled scans."""

from __future__ import annotations

import argparse
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textseg3d.errors import UsageError

if TYPE_CHECKING:
    from textseg3d.evaluation.cases import CaseFolder
    from textseg3d.evaluation.mapping import LabelMapping

log = logging.getLogger(__name__)

HELP = (
    "Score predicted label files against true ones, as nnUNetv2_evaluate_folder does "
    "(textseg3d evaluate TRUTH PREDICTIONS -djfile dataset.json), or a model on labelled scans "
    "(textseg3d evaluate --model ct-nano --cases FOLDER -o OUT)."
)
_FOLDER_ONLY = ("djfile", "pfile", "labels", "ignore_label", "chill", "resample")
_MODEL_ONLY = ("cases", "mapping", "page", "prompts", "fold")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of both uses."""
    parser.add_argument(
        "truth", nargs="?", type=Path, metavar="TRUTH", help="folder of true labels"
    )
    parser.add_argument(
        "predictions", nargs="?", type=Path, metavar="PREDICTIONS", help="files of the same names"
    )
    parser.add_argument(
        "-o",
        dest="output",
        type=Path,
        metavar="OUT",
        help="file (default PREDICTIONS/summary.json); with --model a folder (needed)",
    )
    folder = parser.add_argument_group("two folders")
    folder.add_argument(
        "-djfile", type=Path, metavar="FILE", help="dataset.json; findings or prompts as JSON"
    )
    folder.add_argument("-pfile", type=Path, metavar="FILE", help="plans.json; only checked")
    folder.add_argument(
        "-l", dest="labels", type=int, nargs="+", metavar="LABEL", help="instead of -djfile"
    )
    folder.add_argument(
        "-il", dest="ignore_label", type=int, metavar="LABEL", help="voxels that do not count"
    )
    folder.add_argument(
        "-np", dest="processes", type=int, default=min(8, os.cpu_count() or 1), metavar="N",
        help="worker processes (default %(default)s)",
    )  # fmt: skip
    folder.add_argument(
        "--chill", action="store_true", help="a missing prediction is no error (see docs)"
    )
    folder.add_argument(
        "--protocol",
        default="nnunet",
        metavar="NAME",
        help="nnunet (default), rexgroundingct, cvpr2025 or sat",
    )
    folder.add_argument(
        "--resample", action="store_true", help="bring predictions to the grid of the truth"
    )
    model = parser.add_argument_group("a model on labelled scans")
    model.add_argument("--model", metavar="MODEL", help="name, folder or hf-hub address")
    model.add_argument(
        "--cases", type=Path, nargs="+", metavar="FOLDER",
        help="folders with ct.nii.gz (mr.nii.gz), seg.nii.gz, info.json, or folders of them; or "
        "one dataset in nnU-Net's layout (DatasetXXX_Name)",
    )  # fmt: skip
    model.add_argument(
        "--fold", type=int, metavar="N", help="of a dataset: only what fold N held aside"
    )
    model.add_argument(
        "--mapping", type=Path, metavar="FILE", help="what label names mean (JSON); see docs"
    )
    model.add_argument(
        "--prompts", action="store_true",
        help="how other wordings of each structure are answered, instead of its masks",
    )  # fmt: skip
    model.add_argument("--tolerance-mm", type=float, default=3.0, help="of NSD (default 3)")
    model.add_argument("--worst", type=int, default=8, help="pictures of the worst masks (8)")
    model.add_argument("--page", type=Path, metavar="FILE", help="Markdown page to update as well")
    model.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps or openvino")
    model.add_argument("--exact", action="store_true", help="no shortcuts")
    model.add_argument("--seed", type=int, default=0, help="of the bootstrap (default 0)")


def run(args: argparse.Namespace) -> int:
    """Run the command; the exit code is 0, errors are raised."""
    if args.model is None:
        _refuse(args, _MODEL_ONLY, "needs --model")
        return _score_folders(args)
    _refuse(args, ("truth", *_FOLDER_ONLY), "does not go with --model")
    return _score_prompts(args) if args.prompts else _score_model(args)


def _score_folders(args: argparse.Namespace) -> int:
    from textseg3d.evaluation.protocols import FolderRequest, protocol
    from textseg3d.evaluation.report import write_text

    if args.truth is None or args.predictions is None:
        raise UsageError(
            "expected two folders, TRUTH and PREDICTIONS, or --model with --cases; see --help"
        )
    score = protocol(args.protocol)
    output = args.output if args.output is not None else args.predictions / "summary.json"
    if output.suffix != ".json":
        raise UsageError(f"-o is {output}, expected a file that ends in .json")
    result = score(
        FolderRequest(
            truth=args.truth,
            prediction=args.predictions,
            dataset=args.djfile,
            plans=args.pfile,
            labels=tuple(args.labels or ()),
            ignore_label=args.ignore_label,
            processes=args.processes,
            chill=args.chill,
            resample=args.resample,
        )
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    # nnU-Net writes NaN for a label that is nowhere, and sorted keys; its readers expect both.
    write_text(output, json.dumps(result, indent=4, sort_keys=True, ensure_ascii=False) + "\n")
    short = result.get("summary", result.get("foreground_mean"))
    print(json.dumps(short, ensure_ascii=False))
    log.info("written: %s", output)
    return 0


def _score_model(args: argparse.Namespace) -> int:
    from textseg3d.cli.logs import progress_reporter
    from textseg3d.evaluation.cases import find_cases
    from textseg3d.evaluation.mapping import read_mapping
    from textseg3d.evaluation.predictors import load_segmenter
    from textseg3d.evaluation.report import update_page, write_report
    from textseg3d.evaluation.scoring import score_cases
    from textseg3d.evaluation.summary import summarise
    from textseg3d.evaluation.validation import default_mapping
    from textseg3d.text.knowledge import load_tree

    if not args.cases:
        raise UsageError("--model needs labelled scans; pass their folders with --cases")
    if args.output is None:
        raise UsageError("--model needs a folder for the report; pass -o OUT")
    if args.tolerance_mm < 0:
        raise UsageError(f"--tolerance-mm is {args.tolerance_mm}, expected 0 or more")
    if (args.cases[0] / "dataset.json").is_file():
        cases, mapping = _dataset_cases(args)
    else:
        _refuse(args, ("fold",), "needs a dataset in nnU-Net's layout")
        cases, mapping = find_cases(args.cases), default_mapping()
    if args.mapping is not None:
        mapping = read_mapping(args.mapping)
    model = load_segmenter(args.model, device=args.device, exact=args.exact)
    with progress_reporter(args) as on_progress:
        results = score_cases(
            cases,
            model.predict,
            mapping,
            load_tree(),
            tolerance_mm=args.tolerance_mm,
            on_progress=on_progress,
        )
    summary = summarise(results, model.description, seed=args.seed)
    paths = write_report(args.output, summary, results, worst=args.worst)
    if args.page is not None:
        update_page(args.page, summary, results)
    for group, entry in summary["groups"].items():
        print(f"{group}\t{_text(entry['dice']['mean'])}\t{_text(entry['nsd']['mean'])}")
    log.info("written: %s", ", ".join(str(path) for path in paths))
    return 0


def _dataset_cases(args: argparse.Namespace) -> tuple[list[CaseFolder], LabelMapping]:
    """Cases of the one dataset that ``--cases`` names, all or a fold's."""
    from textseg3d.dataset import Dataset, dataset_folder, load_splits
    from textseg3d.evaluation.datasets import dataset_cases
    from textseg3d.training.targets import dataset_targets

    if len(args.cases) > 1:
        raise UsageError("--cases takes one dataset in nnU-Net's layout at a time")
    dataset = Dataset.load(args.cases[0])
    targets = dataset_targets(dataset.description)
    prompts = {label: concept for concept, label in targets.labels.items()}
    if args.fold is None:
        return dataset_cases(dataset, prompts)
    try:
        prepared = dataset_folder(str(args.cases[0].resolve()), "preprocessed")
    except UsageError:  # no such folder is known: the dataset's own splits, or nnU-Net's
        prepared = None
    names = [case.name for case in dataset.cases]
    splits = load_splits([p for p in (prepared, dataset.folder) if p is not None], names)
    if not 0 <= args.fold < len(splits):
        raise UsageError(f"--fold is {args.fold}, there are {len(splits)} (from 0)")
    held = splits[args.fold]["val"]
    return dataset_cases(dataset, prompts, held, split=f"held aside by fold {args.fold}")


def _score_prompts(args: argparse.Namespace) -> int:
    from textseg3d.cli.logs import progress_reporter
    from textseg3d.evaluation.cases import find_cases
    from textseg3d.evaluation.mapping import read_mapping
    from textseg3d.evaluation.predictors import load_segmenter
    from textseg3d.evaluation.prompt_robustness import (
        prompts_markdown,
        score_prompts,
        summarise_prompts,
    )
    from textseg3d.evaluation.report import write_text
    from textseg3d.evaluation.validation import default_mapping
    from textseg3d.text.knowledge import load_tree

    if not args.cases:
        raise UsageError("--prompts needs labelled scans; pass their folders with --cases")
    if args.output is None:
        raise UsageError("--prompts needs a folder for the report; pass -o OUT")
    _refuse(args, ("page", "fold"), "does not go with --prompts")
    cases = find_cases(args.cases)
    mapping = default_mapping() if args.mapping is None else read_mapping(args.mapping)
    model = load_segmenter(args.model, device=args.device, exact=args.exact)
    with progress_reporter(args) as on_progress:
        rows = score_prompts(
            cases, model.predict, mapping, load_tree(), seed=args.seed, on_progress=on_progress
        )
    summary = summarise_prompts(rows, model.description)
    args.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(summary, indent=1, ensure_ascii=False)
    write_text(args.output / "prompts.json", f"{text}\n")
    write_text(args.output / "prompts.md", prompts_markdown(summary))
    for kind, entry in summary["kinds"].items():
        print(f"{kind}\t{entry['correct']}/{entry['asked']}\t{_text(entry['accuracy'])}")
    log.info("written: %s", args.output / "prompts.md")
    return 0


def _refuse(args: argparse.Namespace, names: tuple[str, ...], reason: str) -> None:
    for name in names:
        value = getattr(args, name)
        if value is not None and value is not False:
            flag = {"labels": "-l", "ignore_label": "-il", "djfile": "-djfile", "pfile": "-pfile"}
            shown = "TRUTH" if name == "truth" else flag.get(name, f"--{name}")
            raise UsageError(f"{shown} {reason}; see --help for the two uses")


def _text(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}"
