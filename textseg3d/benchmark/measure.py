"""Runs one piece of work in a fresh process and measures that process from start to end."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textseg3d.errors import TextSegError

TIMEOUT_SECONDS = 1800.0
REPEAT_BUDGET_SECONDS = 40.0
_POLL_SECONDS = 0.01


@dataclass(frozen=True)
class Run:
    """A finished process.

    Attributes:
        seconds: from its start to its end.
        peak_mb: largest resident memory, MiB; None where the system is silent.
        reply: what the task returned; empty if it failed.
        problem: why it failed, in one line; None if it did not.
    """

    seconds: float
    peak_mb: float | None
    reply: dict[str, Any]
    problem: str | None = None


def run_child(task: str, request: dict[str, Any], timeout: float = TIMEOUT_SECONDS) -> Run:
    """Run a task of :mod:`textseg3d.benchmark.child` in a new interpreter.

    Args:
        task: its name.
        request: its arguments, plain JSON.
        timeout: seconds after which it is killed.
    """
    with tempfile.TemporaryDirectory(prefix="textseg3d-bench-") as folder:
        reply, log = Path(folder, "reply.json"), Path(folder, "log.txt")
        root = Path(__file__).resolve().parents[2]
        known = (str(root), str(root / "kernels"), os.environ.get("PYTHONPATH"))
        search = os.pathsep.join(path for path in known if path)
        command = [sys.executable, "-m", "textseg3d.benchmark.child", task, str(reply)]
        with log.open("wb") as stream:
            start = time.monotonic()
            body = json.dumps({**request, "started": start}).encode()
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=stream,
                env={**os.environ, "PYTHONPATH": search},
            )
            try:
                assert child.stdin is not None
                child.stdin.write(body)
                child.stdin.close()
                peak = _wait(child, start + timeout)
            except BaseException:
                child.kill()
                child.wait()
                raise
            seconds = time.monotonic() - start
        return _finished(task, child.returncode, seconds, peak, reply, log)


def _wait(child: subprocess.Popen[bytes], deadline: float) -> float | None:
    """Wait for the process; its peak memory in MiB as the system's books have it."""
    if not hasattr(os, "wait4"):
        child.wait(max(0.0, deadline - time.monotonic()))
        return None
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return float(usage.ru_maxrss) / (2**20 if sys.platform == "darwin" else 2**10)
        if time.monotonic() > deadline:
            raise TextSegError("a measured process took too long and was stopped; use --quick")
        time.sleep(_POLL_SECONDS)


def _finished(
    task: str, code: int | None, seconds: float, peak: float | None, reply: Path, log: Path
) -> Run:
    if code == 0 and reply.is_file():
        data = json.loads(reply.read_text(encoding="utf-8"))
        if "error" in data:
            return Run(seconds, peak, {}, f"{task}: {data['error']}")
        return Run(seconds, data["peak_mb"] or peak, data["result"])
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    reason = "killed, probably out of memory" if code == -9 else f"exit code {code}"
    last = f", {lines[-1].strip()[:160]}" if lines and code != -9 else ""
    return Run(seconds, peak, {}, f"{task}: {reason}{last}")


def repeat(task: str, request: dict[str, Any], repeats: int) -> list[Run]:
    """Run a task several times; a slow one fewer times (40 s in all, once at least)."""
    runs = [run_child(task, request)]
    while (
        runs[-1].problem is None
        and len(runs) < repeats
        and sum(run.seconds for run in runs) + runs[-1].seconds <= REPEAT_BUDGET_SECONDS
    ):
        runs.append(run_child(task, request))
    return runs


def median_run(runs: list[Run]) -> Run:
    """The run of median time (the slower of the middle two), with the largest memory of all."""
    ordered = sorted(runs, key=lambda run: run.seconds)
    middle = ordered[len(ordered) // 2]
    peaks = [run.peak_mb for run in runs if run.peak_mb is not None]
    return Run(middle.seconds, max(peaks, default=None), middle.reply, middle.problem)


def median(values: list[float]) -> float:
    """Median of a list that is not empty."""
    return float(statistics.median(values))


def require(run: Run) -> Run:
    """The run, if it worked.

    Raises:
        TextSegError: with the reason, if it did not.
    """
    if run.problem is not None:
        raise TextSegError(f"a measured process failed ({run.problem}); run with --debug")
    return run
