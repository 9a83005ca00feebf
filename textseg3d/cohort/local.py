"""Workers on this machine: this process itself, or processes of their own."""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textseg3d.cohort.case import Case, Outcome, Work
from textseg3d.cohort.pool import Event
from textseg3d.cohort.worker import OnProgress, Worker
from textseg3d.errors import MemoryBudgetError, ModelError, TextSegError, UsageError

_STOP_SECONDS = 20.0
log = logging.getLogger(__name__)


class SerialPool:
    """One worker, in this process. The model is loaded when the first case comes.

    Args:
        work: what to do with each case.
        progress: makes what a case's ``on_progress`` is, with its ``with`` block.
    """

    def __init__(self, work: Work, progress: Callable[[Case], Any]) -> None:
        self._work = work
        self._progress = progress
        self._worker: Worker | None = None
        self._case: Case | None = None

    def idle(self) -> Hashable | None:
        """See :class:`textseg3d.cohort.pool.Pool`."""
        return 0 if self._case is None else None

    def submit(self, worker: Hashable, case: Case) -> None:
        """Keep the case for :meth:`wait`."""
        self._case = case

    def wait(self, seconds: float) -> Iterable[Event]:
        """Do the case that was submitted, else sleep."""
        case, self._case = self._case, None
        if case is None:
            threading.Event().wait(seconds)
            return []
        if self._worker is None:
            self._worker = Worker(self._work)
        on_progress: OnProgress
        with self._progress(case) as on_progress:
            return [Event(0, case, self._worker.run(case, on_progress))]

    def stop(self) -> None:
        """Nothing is left to stop."""


@dataclass
class _Process:
    child: subprocess.Popen[str]
    ready: bool = False
    case: Case | None = None


class LocalPool:
    """Worker processes, started with ``python -m textseg3d.cohort.worker``.

    They are neither forked nor spawned by `multiprocessing`: a script needs no
    ``if __name__ == "__main__"``, threads of this process do no harm, and nothing is pickled.

    Args:
        work: what to do with each case.
        workers: how many processes.
        threads: OMP_NUM_THREADS of each, unless that variable is set.
    """

    def __init__(self, work: Work, workers: int, threads: int = 1) -> None:
        self._work = work
        self._threads = threads
        self._news: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()
        self._processes: dict[int, _Process] = {}
        self._started = 0
        self._workers = workers
        for _ in range(workers):
            self._start()

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [process.child.pid for process in self._processes.values()]

    def _start(self) -> None:
        number = self._started
        self._started += 1
        root = str(Path(__file__).resolve().parents[2])
        search = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
        environment = {"OMP_NUM_THREADS": str(self._threads), **os.environ, "PYTHONPATH": search}
        index = number % self._workers
        child = subprocess.Popen(
            [sys.executable, "-m", "textseg3d.cohort.worker", str(index)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment,
        )
        self._processes[number] = _Process(child)
        threading.Thread(target=self._listen, args=(number, child), daemon=True).start()
        self._write(child, self._work.to_json())

    def _listen(self, number: int, child: subprocess.Popen[str]) -> None:
        assert child.stdout is not None
        for line in child.stdout:
            try:
                self._news.put((number, json.loads(line)))
            except ValueError:  # half a line of a process that was killed
                break
        child.wait()
        self._news.put((number, None))

    @staticmethod
    def _write(child: subprocess.Popen[str], data: dict[str, Any]) -> None:
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps(data) + "\n")
            child.stdin.flush()
        except OSError:  # it died; the listener tells
            log.debug("worker %d takes nothing more", child.pid)

    def idle(self) -> Hashable | None:
        """See :class:`textseg3d.cohort.pool.Pool`."""
        for number, process in self._processes.items():
            if process.ready and process.case is None:
                return number
        return None

    def submit(self, worker: Hashable, case: Case) -> None:
        """Send a case to a process."""
        assert isinstance(worker, int)
        process = self._processes[worker]
        process.case = case
        self._write(process.child, case.to_json())

    def wait(self, seconds: float) -> Iterable[Event]:
        """The next event.

        Raises:
            TextSegError: if a worker says that no worker can do this work.
        """
        try:
            number, answer = self._news.get(timeout=seconds)
        except queue.Empty:
            return []
        process = self._processes.get(number)
        if process is None:
            return []
        if answer is None:
            del self._processes[number]
            self._start()
            reason = f"worker process {process.child.pid} {_ending(process.child.returncode)}"
            return [Event(number, process.case, None, reason)]
        if answer["event"] == "refused":
            raise refusal(answer["message"], answer["exit_code"])
        if answer["event"] == "ready":
            process.ready = True
            return []
        case, process.case = process.case, None
        outcome = Outcome(**{k: v for k, v in answer.items() if k != "event"})
        return [Event(number, case, outcome)]

    def stop(self) -> None:
        """Close the pipes, give the processes a while to clean up, then kill them."""
        processes, self._processes = self._processes, {}
        for process in processes.values():
            assert process.child.stdin is not None
            try:
                process.child.stdin.close()
            except OSError:
                log.debug("worker %d was gone already", process.child.pid)
        for process in processes.values():
            try:
                process.child.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.child.kill()
                process.child.wait()


def refusal(message: str, exit_code: int) -> TextSegError:
    """The error that a worker had at its start."""
    kinds = {2: UsageError, 3: ModelError, 4: MemoryBudgetError}
    return kinds.get(exit_code, TextSegError)(message)


def _ending(returncode: int) -> str:
    """How a process ended, in words."""
    if returncode >= 0:
        return f"ended with code {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = str(-returncode)
    hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"
