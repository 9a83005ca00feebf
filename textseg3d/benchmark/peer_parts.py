"""The part that compares with other predictors on one nnU-Net per number of classes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from textseg3d.benchmark.machine import available_bytes
from textseg3d.benchmark.measure import Run, median_run, repeat, require, run_child
from textseg3d.benchmark.rows import LEARN_MM, ClosedCase, Target, parity_figures

if TYPE_CHECKING:
    from textseg3d.benchmark.parts import Bench

log = logging.getLogger(__name__)
OVERLAP = 0.25  # MONAI's default
# Bytes per voxel of the scan and class, and in all, as measured on scans of several sizes; a run
# that would need more than there is is not started.
_NEEDS = {"nnunetv2": (4.6, 1.5e9), "MONAI": (11.0, 2e9)}


def peers(bench: Bench) -> None:
    """Measure each number of classes that the sizes name."""
    sizes = bench.plan.sizes
    request = {
        "folder": str(bench.plan.work / "closed"),
        "classes": [case.classes for case in sizes.closed],
        "features": sizes.features,
        "patch": sizes.patch,
        "scan": bench.scan(sizes.learn, LEARN_MM),
        "phases": sizes.phases,
        "teacher": bench.plan.model,
    }
    made = run_child("fitted_nnunet", request)
    if made.problem is not None:
        figures = [("time", None, "s"), ("peak memory", None, "MiB")]
        bench.results.add("peers", "nnunetv2", figures, note=made.problem)
        return
    for name, look in made.reply["masks"].items():
        figures = [
            ("masks", look["masks"], ""),
            ("pieces of a mask, median", look["pieces"], ""),
            ("voxels at a surface", 100 * look["surface"], "%"),
            ("cells whose corners differ", 100 * look["cells"], "%"),
            *([("Dice with what was taught", look["dice"], "")] if "dice" in look else []),
        ]
        bench.results.add("weights", name, figures)
    for case in sizes.closed:
        _measure(bench, case, made.reply["networks"][str(case.classes)])


def _measure(bench: Bench, case: ClosedCase, made: dict[str, Any]) -> None:
    plan = bench.plan
    folder = plan.work / f"closed-{case.classes}"
    base = {"scan": bench.scan(case.shape, case.spacing_mm), "device": plan.device}
    ours = {**base, "model": made["model"], "prompts": made["prompts"]}
    runs: dict[str, list[Run]] = {}
    for name, exact in (("textseg3d", False), ("textseg3d --exact", True)):
        request = {**ours, "exact": exact, "output": str(folder / name.replace(" ", ""))}
        runs[name] = [require(r) for r in repeat("segment", request, plan.repeats)]
    output = str(folder / "peers")
    nnunet = {**base, "source": made["source"], "output": output}
    runs["nnunetv2"] = [_peer("nnunetv2", "nnunetv2", nnunet, case)]
    if case.monai:
        request = {**base, "model": made["model"], "output": output, "overlap": OVERLAP}
        runs["MONAI"] = [_peer("MONAI", "monai", request, case)]
    _report(bench, case, runs, _parity(ours, runs))


def _peer(name: str, task: str, request: dict[str, Any], case: ClosedCase) -> Run:
    voxels = case.shape[0] * case.shape[1] * case.shape[2]
    each, base = _NEEDS[name]
    needed, free = each * voxels * (case.classes + 1) + base, available_bytes()
    if free is not None and needed > free:
        gb = f"needs about {needed / 1e9:.0f} GB, {free / 1e9:.0f} GB are free"
        return Run(0.0, None, {}, f"not started: {gb}")
    return run_child(task, request)


def _parity(ours: dict[str, Any], runs: dict[str, list[Run]]) -> dict[str, Any]:
    """Scores by name of the run, against the slow reference."""
    candidates = {}
    for name, found in runs.items():
        reply = median_run(found).reply
        if "files" in reply:
            candidates[name] = {"files": reply["files"]}
        elif "labels" in reply:
            candidates[name] = {"labels": reply["labels"]}
    request = {key: ours[key] for key in ("model", "scan", "prompts")}
    reply = require(run_child("parity", {**request, "candidates": candidates})).reply
    scores: dict[str, Any] = reply["candidates"]
    return scores


def _report(
    bench: Bench, case: ClosedCase, runs: dict[str, list[Run]], scores: dict[str, Any]
) -> None:
    title = f"{case.classes} classes"
    shape = "×".join(str(n) for n in case.shape)
    for name, found in runs.items():
        run = median_run(found)
        if run.problem is not None:
            figures = [("time", None, "s"), ("peak memory", run.peak_mb, "MiB")]
            bench.results.add("peers", f"{title}: {name}", figures, note=run.problem)
            continue
        windows: float | None = run.reply.get("windows_run")
        figures = [
            ("time", run.seconds, "s"),
            ("peak memory", run.peak_mb, "MiB"),
            *([("windows", windows, "")] if windows is not None else []),
            *parity_figures(scores[name]),
        ]
        note = "; ".join(text for text in (f"{shape} voxels", case.note) if text)
        bench.results.add("peers", f"{title}: {name}", figures, runs=len(found), note=note)
        _stage_rows(bench, f"{title}: {name}", run)
    _targets(bench, case, {name: median_run(found) for name, found in runs.items()}, scores)


def _stage_rows(bench: Bench, name: str, run: Run) -> None:
    stages = dict(run.reply.get("seconds", {}))
    if stages:
        stages["exit and rest"] = run.seconds - sum(stages.values())
        bench.results.add("peer stages", name, [(k, v, "s") for k, v in stages.items()])


def _targets(bench: Bench, case: ClosedCase, runs: dict[str, Run], scores: dict[str, Any]) -> None:
    ours, add = runs["textseg3d"], bench.goals
    limits = {"nnunetv2": (case.faster, case.leaner), "MONAI": (3.0, 3.0)}
    for name, (faster, leaner) in limits.items():
        peer = runs.get(name)
        if peer is None or peer.problem is not None:
            continue
        prefix = f"{case.classes} classes against {name}"
        add(Target(f"{prefix}: time", faster, True, peer.seconds / ours.seconds, "×"))
        if peer.peak_mb and ours.peak_mb:
            add(Target(f"{prefix}: memory", leaner, True, peer.peak_mb / ours.peak_mb, "×"))
    for name, limit in (("textseg3d --exact", 0.999), ("textseg3d", 0.995)):
        goal = f"{case.classes} classes: Dice of {name} with the reference, all voxels"
        add(Target(goal, limit, True, scores[name]["dice"]))
