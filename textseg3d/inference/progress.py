"""Progress and cancelling: one callback, asked before each piece of work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from textseg3d.errors import Cancelled

OnProgress = Callable[[str, int, int], "bool | None"]


class Progress:
    """Reports ``(stage, done, total)`` and sums the seconds of each stage.

    Args:
        on_progress: called with stage name, pieces done and pieces in all; returning False
            cancels (None does not).
    """

    def __init__(self, on_progress: OnProgress | None = None) -> None:
        self._on_progress = on_progress
        self.seconds: dict[str, float] = {}

    def step(self, stage: str, done: int, total: int) -> None:
        """Report.

        Raises:
            Cancelled: if the callback returned False.
        """
        if self._on_progress is not None and self._on_progress(stage, done, total) is False:
            raise Cancelled(f"cancelled at {stage} {done}/{total}")

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block under ``name``; nested or repeated blocks of a name add up."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + spent

    def move(self, seconds: float, source: str, target: str) -> None:
        """Book seconds that are spent inside the stage ``source`` under ``target``."""
        for name, change in ((source, -seconds), (target, seconds)):
            self.seconds[name] = self.seconds.get(name, 0.0) + change
