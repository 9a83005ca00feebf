"""The parts of the benchmark: each starts its processes and turns their replies into rows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from textseg3d.benchmark.measure import Run, median_run, repeat, require, run_child
from textseg3d.benchmark.peer_parts import peers
from textseg3d.benchmark.rows import FULL, Plan, Results, Spacing, Target, Triple, parity_figures
from textseg3d.errors import TextSegError

log = logging.getLogger(__name__)
_WARM_REPEATS = 3


class Bench:
    """One benchmark run: the plan, the results so far, and what parts share.

    Args:
        plan: what to measure.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.results = Results()
        self._scans: dict[tuple[Triple, Spacing], str] = {}
        self._predictions: dict[bool, list[Run]] = {}

    def run(self) -> Results:
        """Measure everything; what fails is a row that says so, and the rest goes on."""
        for name in self.plan.parts:
            log.info("measuring: %s", name)
            try:
                _PARTS[name](self)
            except TextSegError as error:
                log.warning("%s: %s", name, error)
                self.results.failed.append(name)
                self.results.add(name, "failed", [("time", None, "s")], note=str(error))
        return self.results

    def goals(self, *targets: Target) -> None:
        """Add goals; they are set for the full sizes and mean nothing for others."""
        if self.plan.sizes is FULL:
            self.results.targets += targets

    def scan(self, shape: Triple, spacing_mm: Spacing) -> str:
        """The plan's scan enlarged to ``shape``; made once."""
        key = (shape, spacing_mm)
        if key not in self._scans:
            name = "x".join(str(n) for n in shape)
            request = {
                "source": str(self.plan.scan),
                "target": str(self.plan.work / f"torso-{name}_0000.nii.gz"),
                "shape": shape,
                "spacing_mm": spacing_mm,
            }
            self._scans[key] = str(require(run_child("enlarge", request)).reply["scan"])
        return self._scans[key]

    def torso(self) -> str:
        """The scan of the stage table."""
        if self.plan.as_it_is:
            return str(self.plan.scan)
        return self.scan(self.plan.sizes.torso, self.plan.sizes.torso_mm)

    def predictions(self, *, exact: bool) -> list[Run]:
        """Cold predictions of the plan's prompts; made once."""
        if exact not in self._predictions:
            request = {
                "model": self.plan.model,
                "scan": self.torso(),
                "prompts": self.plan.prompts,
                "output": str(self.plan.work / ("exact" if exact else "default")),
                "device": self.plan.device,
                "exact": exact,
            }
            repeats = 1 if exact else self.plan.repeats
            runs = repeat("segment", request, repeats)
            self._predictions[exact] = [require(run) for run in runs]
        return self._predictions[exact]


def _stages(bench: Bench) -> None:
    runs = bench.predictions(exact=False)
    run = median_run(runs)
    stages: dict[str, float] = dict(run.reply["seconds"])
    stages["exit and rest"] = run.seconds - sum(stages.values())
    add, count = bench.results.add, len(runs)
    for stage, seconds in stages.items():
        share = 100 * seconds / run.seconds
        add("stages", stage, [("time", seconds, "s"), ("share", share, "%")], runs=count)
    add("stages", "whole process", [("time", run.seconds, "s"), ("share", 100.0, "%")], runs=count)
    add("stages", "peak memory", [("value", run.peak_mb, "MiB")], runs=count)
    windows = f"of {run.reply['windows_total']} of an exact run; on {run.reply['device']}"
    add("stages", "windows run", [("value", run.reply["windows_run"], "")], note=windows)
    flops = require(run_child("flops", {"model": bench.plan.model})).reply
    asked = len(bench.plan.prompts)
    tera = run.reply["windows_run"] * (flops["image"] + asked * flops["prompt"]) / 1e12
    note = (
        f"a window {flops['image'] / 1e9:.1f} GFLOP, and {flops['prompt'] / 1e9:.2f} GFLOP for "
        "each prompt"
    )
    add("stages", "network", [("value", tera, "TFLOP")], note=note)
    if not bench.plan.as_it_is and run.peak_mb is not None:
        prefix = f"{asked} prompts on a torso, cold process"
        bench.goals(
            Target(f"{prefix}: time", 10.0, False, run.seconds, "s"),
            Target(f"{prefix}: memory", 2048.0, False, run.peak_mb, "MiB"),
        )


def _parity(bench: Bench) -> None:
    runs = {
        "--exact": median_run(bench.predictions(exact=True)),
        "default": median_run(bench.predictions(exact=False)),
    }
    request = {
        "model": bench.plan.model,
        "scan": bench.torso(),
        "prompts": bench.plan.prompts,
        "candidates": {name: {"files": run.reply["files"]} for name, run in runs.items()},
    }
    reply = require(run_child("parity", request)).reply
    for name, run in runs.items():
        figures = parity_figures(reply["candidates"][name])
        windows = ("windows", run.reply["windows_run"], "")
        bench.results.add("parity", name, [windows, *figures])
    bench.results.add("parity", "reference", [("time", reply["reference_seconds"], "s")])


def _prompts(bench: Bench) -> None:
    many = bench.plan.sizes.prompts
    request = {
        "model": bench.plan.model,
        "folder": str(bench.plan.work / "many-prompts"),
        "count": many,
    }
    made = require(run_child("many_prompts", request)).reply
    repeats = min(_WARM_REPEATS, bench.plan.repeats)
    request = {
        "model": made["model"],
        "scan": bench.torso(),
        "prompts": made["prompts"],
        "counts": [1, many],
        "repeats": repeats,
        "device": bench.plan.device,
    }
    run = require(run_child("prompt_counts", request))
    seconds = {count: float(run.reply["seconds"][str(count)]) for count in (1, many)}
    for count, spent in seconds.items():
        stages = run.reply["stages"][str(count)]
        figures = [("time", spent, "s"), *((name, value, "s") for name, value in stages.items())]
        figures.append(("instances, besides", run.reply["instances"][str(count)], "s"))
        name = f"{count} prompt{'s' if count > 1 else ''}"
        bench.results.add("prompts", name, figures, runs=repeats)
    ratio = seconds[many] / seconds[1]
    bench.results.add("prompts", f"{many} : 1", [("time", ratio, "")], runs=repeats)
    bench.results.add("prompts", "peak memory", [("value", run.peak_mb, "MiB")])
    whole = {count: _whole_process(bench, request, count) for count in (1, many)}
    cold = whole[many] / whole[1]
    bench.results.add("prompts", f"{many} : 1, whole process", [("time", cold, "")], runs=repeats)
    goal = f"{many} prompts against one"
    bench.goals(
        Target(f"{goal}, warm: time", 1.5, False, ratio, "×"),
        Target(f"{goal}, whole process: time", 1.5, False, cold, "×"),
    )


def _whole_process(bench: Bench, request: dict[str, Any], count: int) -> float:
    """Seconds of a process that asks the first prompts and keeps the masks in memory."""
    cold = {**request, "prompts": request["prompts"][:count], "output": None, "exact": False}
    run = median_run([require(one) for one in repeat("segment", cold, request["repeats"])])
    name = f"{count} prompt{'s' if count > 1 else ''}, whole process"
    bench.results.add("prompts", name, [("time", run.seconds, "s")], runs=request["repeats"])
    return run.seconds


def _session(bench: Bench) -> None:
    sizes = bench.plan.sizes
    request = {
        "model": bench.plan.model,
        "scan": bench.scan(sizes.cube, sizes.cube_mm),
        "prompts": bench.plan.prompts,
        "repeats": min(_WARM_REPEATS, bench.plan.repeats),
        "device": bench.plan.device,
    }
    run = require(run_child("session", request))
    reply = run.reply
    add = bench.results.add
    add("session", "set the image, from a file", [("time", reply["set_image"], "s")])
    add("session", "a prompt, median", [("time", reply["prompt"], "s")], runs=reply["prompts"])
    add("session", "the slowest prompt", [("time", reply["slowest_prompt"], "s")])
    add("session", "features kept", [("value", reply["feature_mb"], "MiB")])
    add("session", "peak memory", [("value", run.peak_mb, "MiB")])
    shape = "×".join(str(n) for n in sizes.cube)
    bench.goals(
        Target(f"a prompt on a set image of {shape} voxels", 0.5, False, reply["prompt"], "s")
    )


def _resampling(bench: Bench) -> None:
    request = {
        "scan": bench.torso(),
        "spacing_mm": bench.plan.sizes.cubic_mm,
        "repeats": bench.plan.repeats,
    }
    run = run_child("cubic", request)
    add = bench.results.add
    if run.problem is not None:
        add("resampling", "scikit-image", [("time", None, "s")], note=run.problem)
        return
    reply = run.reply
    ratio = reply["skimage_seconds"] / reply["seconds"]
    add("resampling", "textseg3d", [("time", reply["seconds"], "s")], runs=bench.plan.repeats)
    add("resampling", "scikit-image", [("time", reply["skimage_seconds"], "s")])
    add("resampling", "ratio", [("time", ratio, "×")])
    grids = " to ".join("×".join(str(n) for n in reply[key]) for key in ("from", "to"))
    figures = [("value", reply["share_of_range"], "of the range")]
    add("resampling", "largest difference", figures, note=f"{grids} voxels")
    bench.goals(
        Target("input resampling against scikit-image: time", 20.0, True, ratio, "×"),
        Target(
            "input resampling: largest difference", 1e-3, False, reply["share_of_range"], "range"
        ),
    )


def _kernels(bench: Bench) -> None:
    run = run_child("kernels", {"csv": str(bench.plan.work / "kernels.csv")})
    if run.problem is not None:
        bench.results.add("kernels", "all", [("kernel", None, "ms")], note=run.problem)
        return
    reply = run.reply
    for row in reply["rows"]:
        name = f"{row['kernel']}, {row['size']}"
        milliseconds = [
            (label, _number(row[key]), "ms")
            for label, key in (
                ("kernel", "triton_ms"), ("reference", "reference_ms"), ("stock", "stock_ms")
            )
        ]  # fmt: skip
        fraction = ("roofline", _number(row["roofline_fraction"]), "")
        bench.results.add("kernels", name, [*milliseconds, fraction], note=row["device"])
    if not reply["rows"]:
        for name in reply["names"]:
            figures = [("kernel", None, "ms"), ("roofline", None, "")]
            bench.results.add("kernels", name, figures, note="no GPU on this machine")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


_PARTS: dict[str, Callable[[Bench], None]] = {
    "stages": _stages,
    "parity": _parity,
    "prompts": _prompts,
    "session": _session,
    "peers": peers,
    "resampling": _resampling,
    "kernels": _kernels,
}
