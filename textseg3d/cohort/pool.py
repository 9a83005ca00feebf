"""Hands cases to workers, whatever kind they are, and survives the death of any of them."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Protocol

from textseg3d.cohort.case import Case, Outcome
from textseg3d.errors import TextSegError

ATTEMPTS = 3
_LOOK_AGAIN_SECONDS = 1.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """News of a worker.

    Attributes:
        worker: which one.
        case: that it had, None if it had none.
        outcome: of the case; None if the worker is lost (its process or node died).
        reason: of a loss, one line.
    """

    worker: Hashable
    case: Case | None
    outcome: Outcome | None = None
    reason: str = ""


class Pool(Protocol):
    """Workers. Lost ones replace themselves."""

    def idle(self) -> Hashable | None:
        """A worker that is ready and has no case, or None."""
        ...

    def submit(self, worker: Hashable, case: Case) -> None:
        """Give a case to an idle worker."""
        ...

    def wait(self, seconds: float) -> Iterable[Event]:
        """What happened, waiting for at most so long until anything does."""
        ...

    def stop(self) -> None:
        """End all workers; what they are doing is not committed."""
        ...


def dispatch(
    pool: Pool,
    cases: Iterable[Case],
    on_outcome: Callable[[Case, Outcome], None],
    *,
    attempts: int = ATTEMPTS,
) -> None:
    """Work on every case until each has an outcome.

    A case whose worker died goes back to the end of the queue; after so many ``attempts`` its
    outcome is "lost". A case that another driver holds is looked at again until that driver
    has committed it or is gone. "storage" is no reason to go on.

    Args:
        pool: is not stopped here.
        cases: in the order in which they are begun.
        on_outcome: called in this thread for every case once, "busy" ones excepted.

    Raises:
        TextSegError: if workers die before they have done anything, again and again, or a disk
            is full.
    """
    queue = deque(cases)
    later: deque[Case] = deque()
    look_again = 0.0
    running = stillborn = 0
    lost: Counter[Case] = Counter()
    while queue or later or running:
        if not queue and later and time.monotonic() >= look_again:
            queue, later = later, queue
            look_again = time.monotonic() + _LOOK_AGAIN_SECONDS
        while queue and (worker := pool.idle()) is not None:
            pool.submit(worker, queue.popleft())
            running += 1
        for event in pool.wait(_LOOK_AGAIN_SECONDS):
            if event.case is None:
                stillborn += 1
                log.warning("a worker ended before it was ready: %s", event.reason)
                if stillborn >= ATTEMPTS:
                    raise TextSegError(
                        f"{stillborn} workers ended before they were ready ({event.reason}); use "
                        "fewer --workers, or --executor serial to see why"
                    )
                continue
            running -= 1
            stillborn = 0
            if event.outcome is None:
                lost[event.case] += 1
                if lost[event.case] < attempts:
                    log.warning("%s: %s; it is done again", event.case.shown, event.reason)
                    queue.append(event.case)
                    continue
                message = f"{event.case.shown}: {event.reason}, {attempts} times on this case"
                on_outcome(event.case, Outcome("lost", message, 1))
            elif event.outcome.kind == "busy":
                later.append(event.case)
            else:
                on_outcome(event.case, event.outcome)
