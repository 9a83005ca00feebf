"""A driver: skips what is committed, hands the rest to workers, counts what came of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from textseg3d.cohort.case import Case, Outcome, Work, model_fingerprint
from textseg3d.cohort.commit import claim, committed, earlier_outcome, sweep, write_failure
from textseg3d.cohort.local import LocalPool, SerialPool
from textseg3d.cohort.pool import Pool, dispatch
from textseg3d.errors import TextSegError

EXECUTORS = ("serial", "local", "ray")
_WORKER_BYTES = 4 * 2**30
log = logging.getLogger(__name__)


class StorageFull(TextSegError):  # noqa: N818 - it is what it says
    """A disk cannot be written to; what was done until then is committed."""


def run_cohort(
    work: Work,
    cases: Sequence[Case],
    on_outcome: Callable[[Case, Outcome], None],
    *,
    executor: str = "serial",
    workers: int | None = None,
    progress: Callable[[Case], Any] = lambda _: nullcontext(),
) -> None:
    """Work on cases until each is committed or has failed.

    Several drivers may work on the same cases at once, on one machine or on several that share a
    file system with locks: each case is done by one of them.

    Args:
        work: what to do.
        cases: each with outputs of its own.
        on_outcome: called for every case once, in this thread.
        executor: "serial" (this process, no children), "local" (processes) or "ray".
        workers: of "local" and "ray"; None for as many as there is room for.
        progress: gives a context manager that gives a case's ``on_progress`` ("serial" only).

    Raises:
        StorageFull: if the disk of the outputs is full; ``mode="resume"`` goes on later.
        ModelError: if the model cannot be used.
        Cancelled: if ``on_progress`` returned False.
    """
    model = model_fingerprint(work.model)
    rest = []
    for folder in dict.fromkeys(case.names.folder for case in cases):
        sweep(folder)
    for case in cases:
        if work.mode == "resume" and (record := committed(case, work, model)) is not None:
            on_outcome(case, earlier_outcome(record))
        else:
            rest.append(case)
    if not rest:
        return
    done = 0

    def told(case: Case, outcome: Outcome) -> None:
        nonlocal done
        if outcome.kind == "storage":
            raise StorageFull(
                f"{outcome.message}, {done} of {len(rest)} cases were committed before; make room "
                "and run the same command with --resume"
            ) from outcome.error
        if outcome.kind == "lost":
            _record_loss(case, work, model, outcome)
        done += 1
        on_outcome(case, outcome)

    pool = _pool(work, len(rest), executor, workers, progress)
    try:
        dispatch(pool, rest, told)
    finally:
        pool.stop()
        for folder in dict.fromkeys(case.names.folder for case in rest):
            sweep(folder)  # what workers left that were killed


def _record_loss(case: Case, work: Work, model: str, outcome: Outcome) -> None:
    """Write the record of a case that killed its workers; a worker wrote any other."""
    try:
        with claim(case) as mine:
            if mine and not committed(case, work, model):
                write_failure(case, work, model, outcome.message, rule=None, exit_code=1)
    except TextSegError as error:
        log.warning("%s: %s", case.record, error)


def _pool(
    work: Work,
    cases: int,
    executor: str,
    workers: int | None,
    progress: Callable[[Case], Any],
) -> Pool:
    if executor == "ray":
        from textseg3d.cohort.ray_pool import RayPool

        return RayPool(work, cases, workers)
    if executor == "local":
        cores = usable_cores()
        count = min(cases, workers or default_workers())
        return LocalPool(work, count, max(1, cores // count))
    return SerialPool(work, progress)


def usable_cores() -> int:
    """Physical cores that this process may use."""
    from textseg3d.inference.device import physical_cores

    return physical_cores()


def default_workers() -> int:
    """One per physical core, as far as 4 GiB of free memory are there for each; at least one."""
    from textseg3d.inference.memory import free_ram_bytes

    free = free_ram_bytes()
    room = usable_cores() if free is None else free // _WORKER_BYTES
    return max(1, min(usable_cores(), room))
