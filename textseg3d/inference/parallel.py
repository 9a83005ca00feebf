"""Work on several prompts at once, in threads, where that does not change anything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    """Results in the order of the items; with one worker or item, without any thread.

    What the function raises is raised here; items that have not begun by then are left out, as
    they are when nobody asks for further results.
    """
    if min(workers, len(items)) < 2:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(min(workers, len(items)))
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)
