"""`textseg3d predict` on its cases: runs them, and tells on the terminal what came of each."""

from __future__ import annotations

import argparse
import logging
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textseg3d.cli.logs import emit, report_error, wants_json
from textseg3d.errors import (
    CasesFailedError,
    InputError,
    MemoryBudgetError,
    TextSegError,
    UsageError,
)

if TYPE_CHECKING:
    from textseg3d.cohort import Case, Outcome, Work
    from textseg3d.export import OutputNames

_TELL_SECONDS = 10.0
log = logging.getLogger(__name__)


def executor_of(args: argparse.Namespace) -> str:
    """Which executor is meant.

    Raises:
        UsageError: for options that do not go together.
    """
    if args.workers is not None and args.workers < 1:
        raise UsageError(f"--workers is {args.workers}, expected 1 or more")
    if args.executor == "serial" and (args.workers or 1) > 1:
        raise UsageError("--executor serial is one worker; use --executor local with --workers")
    if args.executor is not None:
        return str(args.executor)
    return "local" if args.workers is not None and args.workers > 1 else "serial"


def shard_of(text: str | None, cases: list[Case]) -> list[Case]:
    """The part of the cases that ``--shard I/N`` means: every N-th, from the I-th on.

    Raises:
        UsageError: if it is no such pair, or I is not 1 to N.
    """
    if text is None:
        return cases
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    index, count = (int(match.group(1)), int(match.group(2))) if match else (0, 0)
    if not 1 <= index <= count:
        raise UsageError(f"--shard is {text!r}, expected I/N with I from 1 to N, such as 1/4")
    return cases[index - 1 :: count]


def summary_folder(args: argparse.Namespace, cases: list[Case], datasets: set[Path]) -> Path | None:
    """Where the summary goes, if one is asked for; describes BIDS derivatives on the way.

    Raises:
        UsageError: if the outputs lie in several folders and none was named.
    """
    from textseg3d.cohort.bids import DERIVATIVES, describe_derivatives

    folders = {case.names.folder for case in cases}
    single = any(case.names.single for case in cases)
    root = Path(args.output) if args.output and not single else None
    if root is None and len(datasets) == 1:
        root = next(iter(datasets)) / DERIVATIVES
    if len(datasets) == 1 and root is not None and not args.dry_run:
        describe_derivatives(root, next(iter(datasets)))
    if not args.summary:
        return None
    if root is None and len(folders) == 1:
        root = next(iter(folders))
    if root is None:
        raise UsageError("--summary is about outputs in one folder; name it with -o")
    return root


def run_cases(
    args: argparse.Namespace,
    work: Work,
    cases: list[Case],
    everything: list[Case],
    executor: str,
    summary: Path | None,
    progress_reporter: Callable[[argparse.Namespace], Any],
) -> int:
    """Run the cases and tell about each.

    Args:
        everything: the cases of all shards, which the summary is about.
        summary: folder of the summary, or None.

    Raises:
        CasesFailedError: if some of several cases have no result.
        TextSegError: why the only case has none.
    """
    from textseg3d.cohort import run_cohort
    from textseg3d.cohort.summary import summary_table, write_summary

    teller = Teller(args, len(cases))

    def progress(case: Case) -> Any:
        if wants_json(args):
            emit("case", case=case.names.case, number=teller.told + 1, total=len(cases))
        return progress_reporter(args)

    try:
        run_cohort(
            work,
            cases,
            teller.tell,
            executor=executor,
            workers=args.workers,
            progress=progress,
        )
    finally:
        if summary is not None:
            for path in write_summary(summary, everything):
                log.info("written: %s", path)
    if summary is not None:
        print(summary_table(everything), end="", flush=True)
    return teller.finish()


class Teller:
    """Says what became of each case.

    Args:
        args: of the command line.
        total: how many cases there are.
    """

    def __init__(self, args: argparse.Namespace, total: int) -> None:
        self._args = args
        self._total = total
        self._failed: list[str] = []
        self._kinds: Counter[str] = Counter()
        self._only: Outcome | None = None
        self._start = self._last = time.monotonic()
        self.told = 0

    def tell(self, case: Case, outcome: Outcome) -> None:
        """One case has ended."""
        self.told += 1
        self._kinds[outcome.kind] += 1
        if outcome.bad:
            self._failed.append(case.shown)
            self._only = outcome
            if self._total > 1:
                code = outcome.exit_code
                report_error(outcome.message, code, json_lines=wants_json(self._args))
        elif outcome.kind == "skipped":
            log.info("%s: complete, skipped", case.shown)
        else:
            tell_result(case, self._args)
        if self._total > 1:
            self._tell_progress()

    def _tell_progress(self) -> None:
        if wants_json(self._args):
            emit("progress", stage="cases", done=self.told, total=self._total)
            return
        now, worked = time.monotonic(), self.told - self._kinds["skipped"]
        if worked and now - self._last > _TELL_SECONDS:
            self._last = now
            left = (now - self._start) / worked * (self._total - self.told)
            log.info("%d of %d cases, about %s left", self.told, self._total, duration(left))

    def finish(self) -> int:
        """The exit code 0.

        Raises:
            CasesFailedError: if some of several cases have no result.
            TextSegError: why the only case has none.
        """
        if self._total == 1:
            if self._only is not None:
                raise as_error(self._only)
            return 0
        seconds = time.monotonic() - self._start
        done = self._kinds["done"]
        rate = f", {3600 * done / seconds:.0f} cases per hour" if done else ""
        log.info(
            "%d done, %d complete before, %d without a result, in %s%s",
            done, self._kinds["skipped"], len(self._failed), duration(seconds), rate,
        )  # fmt: skip
        if self._failed:
            names = ", ".join(self._failed[:5]) + (" …" if len(self._failed) > 5 else "")
            raise CasesFailedError(f"{len(self._failed)} of {self._total} cases failed: {names}")
        return 0


def as_error(outcome: Outcome) -> BaseException:
    """The error of a case, also where it was raised in another process."""
    if outcome.error is not None:
        return outcome.error
    kinds: dict[int, type[TextSegError]] = {2: UsageError, 3: InputError, 4: MemoryBudgetError}
    return kinds.get(outcome.exit_code, TextSegError)(outcome.message)


def duration(seconds: float) -> str:
    """Seconds as a person says them: "42 s", "3 min", "5 h 10 min"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def tell_result(case: Case, args: argparse.Namespace) -> None:
    """The log and the lines on standard output about a case that was done."""
    from textseg3d.export.record import read_record

    record = read_record(case.record)
    if record is None:  # somebody removed it in this very moment
        log.warning("%s is gone", case.record)
        return
    for warning in record["warnings"]:
        log.warning("%s: %s", case.shown, warning)
    for entry in record["prompts"]:
        for warning in entry["warnings"]:
            log.warning("%s", warning)
    stages = ", ".join(f"{name} {value:.1f}" for name, value in record["seconds"].items())
    windows = record["windows"]
    log.info(
        "%s: windows %d of %d; seconds: %s; peak memory %s MB",
        case.names.case, windows["run"], windows["total"], stages, record["peak_rss_mb"],
    )  # fmt: skip
    if wants_json(args):
        files = [str(case.names.folder / name) for name in record["files"]] + [str(case.record)]
        emit("result", case=case.names.case, record=files[-1], files=files)
    print_results(case.names, record)


def print_results(names: OutputNames, record: dict[str, Any]) -> None:
    """One line per prompt on standard output: status, presence, volume, file."""
    width = max(len(entry["text"]) for entry in record["prompts"])
    for entry in record["prompts"]:
        presence = "    " if entry["presence"] is None else f"{entry['presence']:.2f}"
        volume = f"{entry['volume_ml']:10.2f} ml" if entry["mask"] else " " * 13
        file = names.folder / entry["mask"] if entry["mask"] else ""
        line = f"{entry['text']:<{width}}  {entry['status']:<8} {presence} {volume}  {file}"
        print(line.rstrip(), flush=True)
        for finding in entry.get("findings", ()):
            print(f"  {finding['sentence']}", flush=True)
