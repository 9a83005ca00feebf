"""The parts of a sentence: names, describing words, and phrases made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from textseg3d.text.grammar.items import Item
from textseg3d.text.grammar.model import Attribute, Order, Range
from textseg3d.text.grammar.numbers import Quantity
from textseg3d.text.knowledge import Form, Side

_ABNORMAL = ("extent", "density", "shape", "enhancement", "margin")
_PLAIN = frozenset(("normal", "unenlarged", "nondilated", "undilated", "homogeneous", "smooth"))
_PLAIN |= {"mobile", "unenhanced", "round", "oval", "symmetric", "symmetrical", "thin", "small"}


def abnormal(attribute: Attribute) -> bool:
    """Whether a describing word says that a structure is not as it should be: "dilated"."""
    first = attribute.value.split(" ")[0]
    sound = first in _PLAIN or attribute.value.endswith("sized")
    return attribute.kind in _ABNORMAL and not attribute.negated and not sound


@dataclass
class Mention:
    """A name in the text: what it may stand for, or a generic head such as "organ"."""

    forms: tuple[Form, ...]
    surface: str
    finding: bool
    sides: list[Side] = field(default_factory=list)
    adjective: bool = False
    plural: bool = False
    text: str = ""
    specific: str | None = None
    tail: bool = False  # names a finding only together with a place


@dataclass
class Words:
    """Describing words of one phrase."""

    sides: list[Side] = field(default_factory=list)
    listed: bool = False
    sizes: list[Quantity] = field(default_factory=list)
    volumes: list[Range] = field(default_factory=list)
    count: tuple[int, int | None] | None = None
    order: str | None = None
    rank: int | None = None
    attributes: list[Attribute] = field(default_factory=list)
    determiner: bool = False
    definite: bool = False  # "the"
    denied: bool = False  # "is not dilated"
    spread: bool = False  # "involving": one finding in several places
    trailing: bool = False  # whether the sides stand behind the name: "crura, right and left"

    def __bool__(self) -> bool:
        kept = self.sides or self.sizes or self.volumes or self.attributes
        return bool(kept or self.count or self.order or self.rank or self.determiner)

    def add(self, other: Words) -> None:
        """Takes over the words of ``other``."""
        self.sides += other.sides
        self.listed |= other.listed
        self.trailing |= other.trailing
        self.denied |= other.denied
        self.spread |= other.spread
        self.sizes += other.sizes
        self.volumes += other.volumes
        self.attributes += other.attributes
        self.count = self.count or other.count
        self.order = self.order or other.order
        self.rank = self.rank or other.rank
        self.determiner |= other.determiner

    def ordering(self) -> Order | None:
        """The order that "the two largest" or "second largest" ask for."""
        if self.order is None:
            return None
        count = self.count[0] if self.count and self.count[1] == self.count[0] else 1
        return Order(self.order, self.rank or 1, count)


@dataclass
class Phrase:
    """One or more names in a row with their describing words."""

    mentions: list[Mention]
    links: set[str]
    words: Words
    negated: bool = False
    uncertain: bool = False
    historical: bool = False
    cued: bool = False
    unknown_head: str | None = None

    def own_sides(self) -> list[Side]:
        """The one side that its names carry: "left lower lobe atelectasis"."""
        sides = [side for mention in self.mentions for side in mention.sides]
        sides += [form.side for m in self.mentions for form in m.forms[:1] if form.side]
        return sides[:1] if len(set(sides)) == 1 else []

    @property
    def finding(self) -> bool:
        """Whether the phrase names a finding or a generic head."""
        return self.mentions[-1].finding


@dataclass
class Sentence:
    """The phrases of one sentence and what was left over."""

    phrases: list[Phrase]
    leftover: Words
    ignored: list[str]
    closed: bool = False  # ends in a full stop
    items: Sequence[Item] = ()
