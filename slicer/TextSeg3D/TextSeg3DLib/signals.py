"""Signals in plain Python: PythonQt cannot define Qt's in Python, and tests have no Qt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Signal:
    """Calls what was connected, in that order.

    Args:
        arguments: names of what is passed, for readers.
    """

    def __init__(self, *arguments: str) -> None:
        self.arguments = arguments
        self._slots: list[Callable[..., Any]] = []

    def connect(self, slot: Callable[..., Any]) -> None:
        """Call ``slot`` whenever the signal is emitted."""
        self._slots.append(slot)

    def emit(self, *values: Any) -> None:
        """Call all slots."""
        for slot in list(self._slots):
            slot(*values)
