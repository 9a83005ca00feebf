"""What `plan`, `preprocess` and `plan_and_preprocess` share: flags, and the steps themselves."""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textseg3d.errors import InputError, MemoryBudgetError, UsageError

if TYPE_CHECKING:
    from textseg3d.dataset import Dataset
    from textseg3d.plans.fingerprint import Fingerprint

PLANS_NAME = "nnUNetPlans"
CONFIGURATIONS = ("3d_fullres", "3d_lowres")

logger = logging.getLogger(__name__)


def add_dataset_arguments(parser: argparse.ArgumentParser) -> None:
    """Which dataset, and how its files are read."""
    parser.add_argument(
        "-d", dest="datasets", nargs="+", required=True, metavar="DATASET",
        help="number, name (Dataset004_Hippocampus) or folder; several are done in turn",
    )  # fmt: skip
    parser.add_argument(
        "--ram-gb", type=float, metavar="GB",
        help="memory that may be used: fewer processes, and smaller windows of presets, if need be",
    )  # fmt: skip
    parser.add_argument(
        "--assume-orientation", metavar="XYZ",
        help="for files that state no orientation: where their axes point to, such as RAS",
    )  # fmt: skip


def add_planning_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of fingerprint and plans, nnU-Net's names first."""
    parser.add_argument(
        "--verify_dataset_integrity", action="store_true", help="check every file first"
    )
    parser.add_argument(
        "-npfp", type=int, default=1, metavar="N", help="processes of the fingerprint (1)"
    )
    parser.add_argument(
        "--clean", action="store_true", help="make the fingerprint anew; needed if data changed"
    )
    parser.add_argument(
        "-gpu_memory_target", "--gpu-memory-gb", dest="gpu_memory_gb", type=float,
        metavar="GB", help="memory that training may use; decides patch and batch (8)",
    )  # fmt: skip
    parser.add_argument(
        "--preset", dest="presets", nargs="+", default=[], metavar="NAME",
        help="also plan the prompted networks of these presets (cpu-3mm ct-1.5mm mr gpu-8gb "
        "gpu-24gb gpu-80gb), or of plans files; each becomes a configuration of its name",
    )  # fmt: skip
    parser.add_argument(
        "-overwrite_target_spacing", nargs=3, type=float, metavar=("Z", "Y", "X"),
        help="spacing of 3d_fullres in mm, instead of the fingerprint's",
    )  # fmt: skip
    parser.add_argument(
        "-overwrite_plans_name", default=PLANS_NAME, metavar="NAME",
        help="name of the plans file (%(default)s); use another with other targets",
    )  # fmt: skip
    parser.add_argument("--explain", action="store_true", help="say why each number is what it is")


def add_preprocessing_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of preprocessing."""
    parser.add_argument(
        "-c", dest="configurations", nargs="+", default=list(CONFIGURATIONS), metavar="NAME",
        help="configurations (3d_fullres 3d_lowres); those that the plans lack are left out",
    )  # fmt: skip
    parser.add_argument(
        "-np", dest="processes", type=int, default=1, metavar="N", help="processes (1)"
    )


def plan_dataset(args: argparse.Namespace, dataset: str) -> Path:
    """Verify if asked, fingerprint if there is none, plan; the path of the plans.

    Raises:
        InputError: for a faulty dataset; the faults are logged, one line each.
    """
    from textseg3d.cli.logs import progress_reporter
    from textseg3d.dataset import Dataset, dataset_folder, verify_dataset_integrity
    from textseg3d.io import atomic_path
    from textseg3d.plans import Plans
    from textseg3d.plans.fingerprint import FILE_NAME, Fingerprint
    from textseg3d.plans.planner import REFERENCE_GB, Facts, plan_experiment
    from textseg3d.preprocessing.fingerprinting import extract_fingerprint

    raw = dataset_folder(dataset)
    out = dataset_folder(dataset, "preprocessed")
    with progress_reporter(args) as on_progress:
        if args.verify_dataset_integrity:
            faults = verify_dataset_integrity(
                raw, processes=args.npfp, assume_orientation=args.assume_orientation,
                on_progress=on_progress,
            )  # fmt: skip
            for fault in faults:
                level = logging.ERROR if fault.verdict == "error" else logging.WARNING
                logger.log(level, "%s", fault.message)
            errors = sum(fault.verdict == "error" for fault in faults)
            if errors:
                raise InputError(f"{raw.name} has {errors} faults (above); correct them first")
            logger.info("%s: no fault found", raw.name)
        loaded = Dataset.load(raw)
        out.mkdir(parents=True, exist_ok=True)
        path = out / FILE_NAME
        if path.is_file() and not args.clean:
            logger.info("kept: %s (--clean makes it anew)", path)
            fingerprint = Fingerprint.load(path)
        else:
            fingerprint = extract_fingerprint(
                loaded, processes=args.npfp, assume_orientation=args.assume_orientation,
                on_progress=on_progress,
            )  # fmt: skip
            fingerprint.save(path)
            logger.info("written: %s", path)
    planned = plan_experiment(
        fingerprint,
        Facts(
            dataset_name=loaded.name,
            channel_names=loaded.description.channel_names,
            classes=len(loaded.description.label_names),
            num_training=loaded.description.num_training,
            file_ending=loaded.description.file_ending,
        ),
        gpu_memory_gb=REFERENCE_GB if args.gpu_memory_gb is None else args.gpu_memory_gb,
        target_spacing_mm=args.overwrite_target_spacing,
        plans_name=args.overwrite_plans_name,
    )
    reasons = [*planned.reasons, *_add_presets(args, planned.plans, fingerprint, loaded)]
    target = out / f"{args.overwrite_plans_name}.json"
    plans = _with_own_configurations(planned.plans, target)
    Plans.from_dict(plans)
    for destination, text in (
        (target, json.dumps(plans, indent=4) + "\n"),
        (out / "dataset.json", loaded.description.path.read_text(encoding="utf-8")),
    ):
        with atomic_path(destination) as temporary:
            temporary.write_text(text, encoding="utf-8")
    logger.info("written: %s", target)
    if args.explain:
        print("\n".join(reasons))
    return target


def _add_presets(
    args: argparse.Namespace, plans: dict[str, Any], fingerprint: Fingerprint, dataset: Dataset
) -> list[str]:
    """Add a configuration per preset; the reasons."""
    from textseg3d.plans.presets import fit_preset

    limits = [args.gpu_memory_gb, args.ram_gb]
    memory_gb = min((gb for gb in limits if gb is not None), default=None)
    if memory_gb is None:
        memory_gb = own_memory_gb()
    reasons: list[str] = []
    for name in args.presets:
        channels = dataset.description.channel_names
        made, why = fit_preset(name, plans, fingerprint, channels, memory_gb=memory_gb)
        plans["configurations"][Path(name).stem] = made
        reasons += why
    return reasons


def own_memory_gb() -> float | None:
    """Memory of this machine in 10⁹ bytes; None where the system does not tell."""
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9


def _with_own_configurations(plans: dict[str, Any], target: Path) -> dict[str, Any]:
    """Keep configurations that a user added to an existing file, as nnU-Net does."""
    if not target.is_file():
        return plans
    try:
        old = json.loads(target.read_text(encoding="utf-8"))["configurations"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{target} is damaged; delete it and plan again") from None
    kept = {name: value for name, value in old.items() if name not in plans["configurations"]}
    for name in kept:
        logger.info("kept: configuration %s of %s", name, target.name)
    return {**plans, "configurations": {**plans["configurations"], **kept}}


def preprocess_configurations(args: argparse.Namespace, dataset: str, plans_name: str) -> None:
    """Preprocess a dataset by its plans, and write its folds.

    Raises:
        InputError: for missing plans or an unreadable case.
        MemoryBudgetError: if one process already needs more than ``--ram-gb``, or the disk is
            too small.
    """
    from textseg3d.cli.logs import progress_reporter
    from textseg3d.dataset import Dataset, dataset_folder, load_or_make_splits
    from textseg3d.dataset.splits import FOLDS
    from textseg3d.plans import Plans
    from textseg3d.plans.fingerprint import FILE_NAME, Fingerprint
    from textseg3d.preprocessing.pipeline import (
        estimate,
        free_disk_bytes,
        preprocess_dataset,
        seconds_per_voxel,
    )

    raw = dataset_folder(dataset)
    out = dataset_folder(dataset, "preprocessed")
    path = out / f"{plans_name}.json"
    if not path.is_file():
        raise InputError(f"there are no plans {path}; run `textseg3d plan -d {dataset}` first")
    loaded, plans = Dataset.load(raw), Plans.load(path)
    names = [case.name for case in loaded.cases]
    if len(names) >= FOLDS:
        load_or_make_splits(out, names, raw)
    else:
        logger.warning("%d cases are too few for %d folds; no splits written", len(names), FOLDS)
    chosen = [name for name in args.configurations if name in plans.configurations]
    for name in sorted(set(args.configurations) - set(chosen)):
        if name in plans.flat_configurations or name not in CONFIGURATIONS:
            plans.configuration(name)  # says what is wrong with it
        logger.info("%s has no configuration %s; left out", path.name, name)
    fingerprint = Fingerprint.load(out / FILE_NAME)
    for name in chosen:
        need = estimate(fingerprint, plans, plans.configuration(name))
        processes = _processes(args, need.worker_bytes)
        seconds = need.voxels * seconds_per_voxel(plans.configuration(name)) / processes
        logger.info(
            "%s: %d cases, at most %.2f GB of disk, %.1f GB of memory in %d process(es), "
            "at least %s on an idle machine",
            name, len(names), need.disk_bytes / 1e9, processes * need.worker_bytes / 1e9, processes,
            f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s",
        )  # fmt: skip
        if free_disk_bytes(out) < need.disk_bytes:
            raise MemoryBudgetError(
                f"{out} has {free_disk_bytes(out) / 1e9:.2f} GB left, {name} may need "
                f"{need.disk_bytes / 1e9:.2f}; free some, or set nnUNet_preprocessed elsewhere"
            )
        with progress_reporter(args) as on_progress:
            store = preprocess_dataset(
                loaded, plans, name, out,
                processes=processes, assume_orientation=args.assume_orientation,
                on_progress=on_progress,
            )  # fmt: skip
        logger.info("written: %s", store.folder)


def _processes(args: argparse.Namespace, worker_bytes: int) -> int:
    if args.processes < 1:
        raise UsageError(f"-np is {args.processes}, expected 1 or more")
    if args.ram_gb is None:
        return int(args.processes)
    fitting = int(args.ram_gb * 1e9 // worker_bytes)
    if fitting < 1:
        raise MemoryBudgetError(
            f"one process needs about {worker_bytes / 1e9:.1f} GB, --ram-gb allows {args.ram_gb:g}"
        )
    return min(int(args.processes), fitting)


def each(datasets: Sequence[str]) -> Sequence[str]:
    """Datasets in the given order, each once."""
    return list(dict.fromkeys(datasets))
