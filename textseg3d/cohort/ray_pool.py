"""Workers of a Ray cluster: one actor each, on whichever node has room."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from textseg3d.cohort.case import Case, Outcome, Work
from textseg3d.cohort.local import refusal
from textseg3d.cohort.pool import Event
from textseg3d.errors import MissingDependencyError, TextSegError

log = logging.getLogger(__name__)


class Remote:
    """What runs in an actor: a :class:`textseg3d.cohort.worker.Worker` that speaks JSON."""

    def __init__(self, work: str) -> None:
        self._work = Work.from_json(json.loads(work))
        self._worker: Any = None

    def load(self) -> str:
        """Load the model; an object with ``event`` "ready" or "refused"."""
        from textseg3d.cohort.worker import Worker

        try:
            self._worker = Worker(self._work)
        except Exception as error:
            code = error.exit_code if isinstance(error, TextSegError) else 1
            text = str(error) or type(error).__name__
            return json.dumps({"event": "refused", "message": text, "exit_code": code})
        return json.dumps({"event": "ready"})

    def run(self, case: str) -> str:
        """Do one case; its outcome."""
        outcome = self._worker.run(Case.from_json(json.loads(case)))
        return json.dumps({"event": "outcome", **outcome.to_json()})


@dataclass
class _Actor:
    handle: Any
    pending: Any
    ready: bool = False
    case: Case | None = None


class RayPool:
    """Actors on the cluster that RAY_ADDRESS names, else on one of this machine.

    All nodes must see scans, model and output folder under the same paths.

    Args:
        work: what to do with each case.
        cases: how many there are; no more actors are started.
        workers: how many actors; None for one per GPU of the cluster, else one per CPU.

    Raises:
        MissingDependencyError: if Ray is not installed.
        TextSegError: if Ray cannot be started, or reached.
    """

    def __init__(self, work: Work, cases: int, workers: int | None = None) -> None:
        address = os.environ.get("RAY_ADDRESS")
        if not address:  # workers of this process's priority; Ray's own is niceness 15
            os.environ.setdefault("RAY_worker_niceness", "0")
        try:
            import ray
        except ImportError:
            raise MissingDependencyError(
                "--executor ray needs Ray, which is not installed: pip install 'textseg3d[ray]'"
            ) from None
        self._ray = ray
        self._owns = not ray.is_initialized()
        if self._owns:
            self._connect(address)
        there = ray.cluster_resources()
        wants_gpu = work.device == "auto" or work.device.startswith("cuda")
        gpus = int(there.get("GPU", 0)) if wants_gpu else 0
        count = min(cases, workers or gpus or max(1, int(there.get("CPU", 1))))
        self._class: Any = ray.remote(num_cpus=1, num_gpus=1 if gpus else 0, max_restarts=0)(Remote)
        self._work = json.dumps(work.to_json())
        self._actors: dict[int, _Actor] = {}
        self._started = 0
        for _ in range(count):
            self._start()

    def _connect(self, address: str | None) -> None:
        try:
            self._ray.init(logging_level=logging.ERROR, log_to_driver=True)
        except Exception as error:  # Ray raises what it likes here
            reason = " ".join(str(error).split())[:200]
            what = f"Ray at {address} (RAY_ADDRESS)" if address else "Ray on this machine"
            todo = "try `ray status` there" if address else "start it apart (`ray start --head`)"
            raise TextSegError(
                f"{what} does not answer ({reason}); {todo}, or use --executor local"
            ) from error

    def _start(self) -> None:
        handle = self._class.remote(self._work)
        self._actors[self._started] = _Actor(handle, handle.load.remote())
        self._started += 1

    def idle(self) -> Hashable | None:
        """See :class:`textseg3d.cohort.pool.Pool`."""
        for number, actor in self._actors.items():
            if actor.ready and actor.case is None:
                return number
        return None

    def submit(self, worker: Hashable, case: Case) -> None:
        """Send a case to an actor."""
        assert isinstance(worker, int)
        actor = self._actors[worker]
        actor.case = case
        actor.pending = actor.handle.run.remote(json.dumps(case.to_json()))

    def wait(self, seconds: float) -> Iterable[Event]:
        """The next event. Actors that no node has room for yet are simply not ready.

        Raises:
            TextSegError: if a worker says that no worker can do this work.
        """
        pending = {a.pending: n for n, a in self._actors.items() if a.pending is not None}
        if not pending:  # all are idle; what is left is in other hands
            time.sleep(seconds)
            return []
        found, _ = self._ray.wait(list(pending), num_returns=1, timeout=seconds)
        events = []
        for reference in found:
            number = pending[reference]
            actor = self._actors[number]
            case, actor.case, actor.pending = actor.case, None, None
            try:
                answer = json.loads(self._ray.get(reference))
            except self._ray.exceptions.RayError as error:
                del self._actors[number]
                self._ray.kill(actor.handle)  # it may live behind a broken connection
                self._start()
                reason = " ".join(str(error).split())[:200]
                events.append(Event(number, case, None, f"a Ray worker was lost ({reason})"))
                continue
            if answer["event"] == "refused":
                raise refusal(answer["message"], answer["exit_code"])
            actor.ready = True
            if case is not None:
                outcome = Outcome(**{k: v for k, v in answer.items() if k != "event"})
                events.append(Event(number, case, outcome))
        return events

    def stop(self) -> None:
        """End the actors, and Ray itself if this pool began it."""
        for actor in self._actors.values():
            self._ray.kill(actor.handle)
        self._actors = {}
        if self._owns:
            self._ray.shutdown()
