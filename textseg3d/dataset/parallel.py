"""The same work on many cases, in this process or in several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from textseg3d.errors import MemoryBudgetError

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], processes: int = 1
) -> Iterator[Result]:
    """Results in the order of ``items``, as they become ready.

    Args:
        function: picklable when ``processes`` is more than 1.
        items: one call each.
        processes: 1 stays in this process. Child processes are spawned, not forked: torch and
            blosc2 keep threads that a fork would lose.

    Raises:
        MemoryBudgetError: if a child process was killed, as the system does when memory ends.
    """
    if processes <= 1 or len(items) <= 1:
        yield from map(function, items)
        return
    workers = min(processes, len(items))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            yield from pool.map(function, items)
        except BrokenProcessPool:
            raise MemoryBudgetError(
                f"one of {workers} processes was killed, probably for memory; use fewer"
            ) from None
        except GeneratorExit:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
