"""Work on several prompts at once, in threads, where that does not change anything else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def workers() -> int:
    """As many threads as torch may use; one where nothing has needed torch yet."""
    torch = sys.modules.get("torch")
    return 1 if torch is None else int(torch.get_num_threads())


class Background:
    """Work in threads beside that of the caller; with one worker it is done at once.

    A context manager; leaving it gives up what has not begun.
    """

    def __init__(self, workers: int) -> None:
        self._pool = ThreadPoolExecutor(workers) if workers > 1 else None
        self._pending: list[Future[Any]] = []

    def __enter__(self) -> Background:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def start(self, function: Callable[[], Any]) -> None:
        """Begin some work."""
        if self._pool is None:
            function()
        else:
            self._pending.append(self._pool.submit(function))

    def wait(self) -> None:
        """Until all work is done; what it raised is raised here."""
        pending, self._pending = self._pending, []
        for future in pending:
            future.result()


class _Single:
    """How many callers want one thread per operation, and what torch had before the first."""

    lock, callers, before = Lock(), 0, 1


@contextmanager
def single_threaded() -> Iterator[None]:
    """Operations of torch take one thread each, in threads that begin meanwhile, too.

    Threads that work on parts of their own would otherwise wait for each other at every one.
    """
    import torch

    with _Single.lock:
        if not _Single.callers:
            _Single.before = torch.get_num_threads()
        _Single.callers += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _Single.lock:
            _Single.callers -= 1
            torch.set_num_threads(_Single.before)


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
