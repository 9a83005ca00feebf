"""What the text tower learns from: for each target its wordings, statements and near misses."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from textseg3d.errors import InputError
from textseg3d.text.normalise import normalise_text


@dataclass(frozen=True)
class Entry:
    """One target and the texts that stand for it.

    Attributes:
        key: canonical name with its side, e.g. "left kidney"; unique.
        concept: name without side, e.g. "kidney".
        side: "left", "right", "both", "midline" or None.
        short: wordings, the canonical name first.
        long: definitions and statements of relation.
        near: keys of targets that are easily taken for this one, the other side first.
    """

    key: str
    concept: str
    side: str | None
    short: tuple[str, ...]
    long: tuple[str, ...] = ()
    near: tuple[str, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """All targets to tell apart. Keys are unique and no wording belongs to two targets."""

    entries: tuple[Entry, ...]
    _by_key: dict[str, Entry] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_key = {entry.key: entry for entry in self.entries}
        if len(by_key) < len(self.entries) or len(by_key) < 2:
            raise InputError(
                f"{len(self.entries)} targets with {len(by_key)} names; a text encoder is trained "
                "on two or more targets of different names"
            )
        object.__setattr__(self, "_by_key", by_key)

    def hard_negatives(self, entry: Entry, count: int, rng: random.Random) -> list[Entry]:
        """Up to ``count`` near misses: the other side if there is one, then others by chance."""
        near = [self._by_key[key] for key in entry.near if key in self._by_key]
        other = [e for e in near if e.concept == entry.concept]
        rest = [e for e in near if e.concept != entry.concept]
        rng.shuffle(rest)
        return (other[:1] + rest + other[1:])[:count]

    def texts(self) -> list[str]:
        """Every text of every target, in order."""
        return [text for entry in self.entries for text in (*entry.short, *entry.long)]

    def split(self, share: float = 0.15) -> tuple[Corpus, list[tuple[str, Entry]]]:
        """Holds wordings out, the same ones every time (by a hash of the text).

        The canonical name is always kept, and at least two more wordings.

        Returns:
            The corpus without them, and the held-out (wording, entry) pairs.
        """
        held: list[tuple[str, Entry]] = []
        kept = []
        for entry in self.entries:
            order = sorted(entry.short[1:], key=_hash)
            out = [text for text in order if _hash(text) < share * 2**64][: max(0, len(order) - 2)]
            held.extend((text, entry) for text in out)
            kept.append(replace(entry, short=tuple(t for t in entry.short if t not in set(out))))
        return Corpus(tuple(kept)), held


def make_corpus(entries: Iterable[Entry]) -> Corpus:
    """A corpus of normalised texts; wordings that two targets share are left out of both.

    A canonical name stays with its target whatever others call themselves.
    """
    normal = [
        replace(
            entry,
            short=tuple(dict.fromkeys(normalise_text(t) for t in (entry.key, *entry.short))),
            long=tuple(dict.fromkeys(normalise_text(t) for t in entry.long)),
        )
        for entry in entries
    ]
    owners = Counter(text for entry in normal for text in entry.short)
    names = {entry.short[0] for entry in normal}
    clean = []
    for entry in normal:
        rest = (t for t in entry.short[1:] if t and owners[t] == 1 and t not in names)
        clean.append(replace(entry, short=(entry.short[0], *rest)))
    return Corpus(tuple(clean))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
