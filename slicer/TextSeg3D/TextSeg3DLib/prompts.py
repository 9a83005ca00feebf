"""What may be typed: phrases to complete to, earlier prompts, and lists of prompts by name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

HISTORY_LENGTH = 100
COMPLETIONS = 50
_RESOURCES = Path(__file__).resolve().parent.parent / "Resources"


class Store(Protocol):
    """Keeps values between sessions, as Qt's QSettings does."""

    def value(self, key: str, default: Any = None) -> Any:
        """What is kept under a key."""

    def setValue(self, key: str, value: Any) -> None:
        """Keep a value."""


def clean(text: str) -> str:
    """A prompt without needless space."""
    return " ".join(text.split())


def vocabulary() -> tuple[str, ...]:
    """All phrases of the knowledge tree, in its order."""
    text = (_RESOURCES / "vocabulary.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line)


def built_in_presets() -> dict[str, tuple[str, ...]]:
    """Lists of prompts that the module brings."""
    data = json.loads((_RESOURCES / "presets.json").read_text(encoding="utf-8"))
    return {name: tuple(prompts) for name, prompts in data.items()}


class PromptBook:
    """Completions, history and presets.

    Args:
        store: where history and own presets are kept.
        phrases: to complete to.
    """

    def __init__(self, store: Store, phrases: Sequence[str] | None = None) -> None:
        self._store = store
        self._phrases = tuple(vocabulary() if phrases is None else phrases)
        self._known: tuple[str, ...] = ()

    def know(self, concepts: Iterable[str]) -> None:
        """Put first what the model in use has learned."""
        self._known = tuple(concepts)

    def phrases(self) -> list[str]:
        """Everything to complete to: earlier prompts, the model's, then the tree's."""
        return list(dict.fromkeys((*self.history(), *self._known, *self._phrases)))

    def complete(self, typed: str, limit: int = COMPLETIONS) -> list[str]:
        """Phrases with all words of ``typed`` at the begin of words, best first.

        Phrases that begin as typed come before others; within each, the order of
        :meth:`phrases`.
        """
        words = typed.lower().split()
        if not words:
            return self.history()[:limit]
        begin, inside = [], []
        for phrase in self.phrases():
            lower = phrase.lower()
            if lower.startswith(" ".join(words)):
                begin.append(phrase)
            elif all(f" {word}" in f" {lower}" for word in words):
                inside.append(phrase)
        return [*begin, *inside][:limit]

    def history(self) -> list[str]:
        """Earlier prompts, the last one first."""
        return _texts(self._load("history", []))

    def remember(self, prompts: Iterable[str]) -> None:
        """Put prompts in front of the history."""
        new = [clean(text) for text in prompts]
        kept = list(dict.fromkeys([*new, *self.history()]))[:HISTORY_LENGTH]
        self._store.setValue("TextSeg3D/history", json.dumps(kept))

    def forget(self) -> None:
        """Empty the history."""
        self._store.setValue("TextSeg3D/history", "[]")

    def presets(self) -> dict[str, tuple[str, ...]]:
        """Own presets, then those that the module brings; an own one hides its namesake."""
        own = self._load("presets", {})
        own = own if isinstance(own, dict) else {}
        mine = {str(name): tuple(_texts(prompts)) for name, prompts in own.items()}
        return {**mine, **{n: p for n, p in built_in_presets().items() if n not in mine}}

    def save_preset(self, name: str, prompts: Iterable[str]) -> None:
        """Keep prompts under a name; no prompts remove it."""
        own = self._load("presets", {})
        own = dict(own) if isinstance(own, dict) else {}
        own.pop(name, None)
        texts = [clean(text) for text in prompts]
        if texts:
            own[name] = texts
        self._store.setValue("TextSeg3D/presets", json.dumps(own))

    def _load(self, key: str, default: Any) -> Any:
        try:
            return json.loads(self._store.value(f"TextSeg3D/{key}", "") or "null") or default
        except (TypeError, ValueError):
            return default


def _texts(value: Any) -> list[str]:
    """The texts in what was kept, which others may have changed."""
    if not isinstance(value, (list, tuple)):
        return []
    return [text for text in value if isinstance(text, str) and text]
