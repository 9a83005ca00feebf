"""A name → builder table, used for networks, text encoders and normalisers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from textseg3d.errors import UsageError
from textseg3d.suggest import did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps names to builders; an unknown name is a :class:`UsageError` with a suggestion.

    Args:
        kind: what is registered, for messages ("network", "text encoder").
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that adds the decorated builder under ``name``."""

        def add(entry: T) -> T:
            if name in self._entries:
                raise UsageError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return add

    def __getitem__(self, name: str) -> T:
        try:
            return self._entries[name]
        except KeyError:
            hint = did_you_mean(name, self._entries)
            known = ", ".join(sorted(self._entries))
            raise UsageError(f"unknown {self.kind} {name!r}{hint} (known: {known})") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)
