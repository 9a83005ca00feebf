"""A worker: one loaded model, one case after the other. `python -m textseg3d.cohort.worker`.

As a process it reads one JSON object per line from standard input (first the work, then cases)
and answers one line each on standard output. When standard input ends it stops within a window.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from textseg3d.cohort.case import Case, Outcome, Work, model_fingerprint
from textseg3d.cohort.commit import (
    claim,
    committed,
    earlier_outcome,
    scan_stat,
    staging_prefix,
    write_failure,
)
from textseg3d.errors import (
    Cancelled,
    InputError,
    MemoryBudgetError,
    ModelError,
    TextSegError,
    is_out_of_memory,
    storage_error,
)

OnProgress = Callable[[str, int, int], Any]
_RULE = re.compile(r": ([ND]\d{1,2}): ")
log = logging.getLogger(__name__)


class Worker:
    """A model, loaded once, that works on cases and commits each.

    Args:
        work: what to do with each case.
        index: number among the workers of a driver; spreads them over several GPUs.

    Raises:
        ModelError: if the model cannot be used.
        UsageError: for a device that is not there.
    """

    def __init__(self, work: Work, index: int = 0) -> None:
        from textseg3d.inference.device import tune_process
        from textseg3d.inference.segmenter import Segmenter

        start = time.perf_counter()
        tune_process()
        self.work = work
        self.segmenter = Segmenter(work.model, _device(work.device, index))
        self.model = model_fingerprint(work.model)
        self._context: dict[tuple[str, ...], list[str]] = {}
        card, device = self.segmenter.card, self.segmenter.device
        log.info("model %s on %s, loaded in %.1f s", card.name, device, time.perf_counter() - start)

    def run(self, case: Case, on_progress: OnProgress | None = None) -> Outcome:
        """Do one case, unless it is committed or somebody else has it.

        Raises:
            Cancelled: if ``on_progress`` returned False.
        """
        start = time.perf_counter()
        try:
            with claim(case) as mine:
                if not mine:
                    return Outcome("busy")
                if self.work.mode != "overwrite":
                    record = committed(case, self.work, self.model)
                    if record is not None:
                        return earlier_outcome(record)
                return self._run(case, on_progress, start)
        except (Cancelled, KeyboardInterrupt):
            raise
        except Exception as error:  # the record itself could not be written
            return failure(case, error, time.perf_counter() - start)

    def _run(self, case: Case, on_progress: OnProgress | None, start: float) -> Outcome:
        try:
            self._predict(case, on_progress)
        except (Cancelled, KeyboardInterrupt):
            raise
        except Exception as error:
            log.debug("%s", case.shown, exc_info=error)
            outcome = failure(case, error, time.perf_counter() - start)
            if outcome.kind != "storage" and outcome.exit_code != 2:
                found = _RULE.search(outcome.message)
                rule = found.group(1) if found else None
                code = outcome.exit_code
                write_failure(
                    case, self.work, self.model, outcome.message, rule=rule, exit_code=code
                )
            return outcome
        return Outcome("done", seconds=time.perf_counter() - start)

    def _predict(self, case: Case, on_progress: OnProgress | None) -> None:
        from textseg3d.export import save_prediction
        from textseg3d.export.record import path_sha256

        work = self.work
        before = scan_stat(case.scan)
        texts = list(case.prompts)
        if work.describe:
            texts += self._context_of(case.prompts)
        prediction = self.segmenter.predict(
            case.scan,
            texts,
            on_progress=on_progress,
            keep_logits=work.export.probabilities,
            **work.predict,
            **work.limits,
        )
        if work.describe:
            from textseg3d.inference.describe import describe

            ct = "CT" in self.segmenter.card.modalities
            prediction = describe(prediction, case.prompts, ct=ct)
        if on_progress is not None and on_progress("write", 0, 1) is False:
            raise Cancelled("cancelled")
        digest = path_sha256(case.scan)
        if scan_stat(case.scan) != before:
            raise InputError(f"{case.scan} changed while it was read; run again")
        commit = {
            "image": {"path": case.shown, **before, "sha256": digest},
            "fingerprint": work.fingerprint(case.prompts, self.model, digest),
        }
        save_prediction(
            prediction,
            None,
            names=case.names,
            staging_prefix=staging_prefix(case),
            commit=commit,
            **vars(work.export),
        )
        if on_progress is not None:
            on_progress("write", 1, 1)

    def _context_of(self, prompts: tuple[str, ...]) -> list[str]:
        """What descriptions name besides the prompts."""
        from textseg3d.inference.describe import context_names
        from textseg3d.inference.prompts import Vocabulary

        if prompts not in self._context:
            names = context_names(Vocabulary.of(self.segmenter.card), prompts)
            self._context[prompts] = [name for name in names if name not in prompts]
        return self._context[prompts]


def _device(device: str, index: int) -> str:
    """The GPU of worker ``index`` where there are several."""
    if device in ("auto", "cuda") and index:
        import torch

        if torch.cuda.is_available() and torch.cuda.device_count() > 1:
            return f"cuda:{index % torch.cuda.device_count()}"
    return device


def failure(case: Case, error: Exception, seconds: float) -> Outcome:
    """The outcome of a case that raised: a full disk, bad input, or another failure."""
    if isinstance(error, TextSegError):
        error.args = (case.tidy(str(error)),)
    text = case.tidy(" ".join((str(error) or type(error).__name__).split()))
    disk = storage_error(error)
    if disk is not None:
        where = case.names.folder
        message = f"the disk of {where} cannot be written to ({disk.strerror})"
        return Outcome("storage", message, 1, seconds, error)
    if is_out_of_memory(error):
        detail = text.partition(";")[0][:160]
        message = (
            f"{case.shown}: out of memory ({detail}); close other programs or use fewer workers"
        )
        return Outcome("failed", message, MemoryBudgetError.exit_code, seconds, error)
    if not isinstance(error, TextSegError):
        text, code = f"unexpected {type(error).__name__}: {text}", 1
    else:
        code = error.exit_code
    if case.shown not in text:
        text = f"{case.shown}: {text}"
    bad = isinstance(error, InputError) and not isinstance(error, ModelError)
    return Outcome("rejected" if bad else "failed", text, code, seconds, error)


def serve(index: int) -> int:
    """Answer a driver on standard input and output until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # whatever prints goes to standard error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver says when to stop
    lines: queue.Queue[str] = queue.Queue()
    stopped = threading.Event()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        stopped.set()
        lines.put("")

    threading.Thread(target=read, daemon=True).start()

    def tell(**answer: Any) -> None:
        answers.write(json.dumps(answer) + "\n")

    first = lines.get()
    if not first:
        return 0
    try:
        worker = Worker(Work.from_json(json.loads(first)), index)
    except Exception as error:
        code = error.exit_code if isinstance(error, TextSegError) else 1
        if is_out_of_memory(error):
            code = MemoryBudgetError.exit_code
        tell(event="refused", message=str(error) or type(error).__name__, exit_code=code)
        return 1
    tell(event="ready")
    while (line := lines.get()) and not stopped.is_set():
        try:
            outcome = worker.run(Case.from_json(json.loads(line)), lambda *_: not stopped.is_set())
        except Cancelled:
            break
        tell(event="outcome", **outcome.to_json())
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="textseg3d: %(message)s", stream=sys.stderr)
    try:
        sys.exit(serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
    except BrokenPipeError:  # the driver is gone
        os._exit(1)
