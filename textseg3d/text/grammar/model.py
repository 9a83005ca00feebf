"""What a parsed prompt consists of, and its JSON form (``textseg3d prompt --json``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from textseg3d.text.knowledge import Code, Side

Status = Literal["ok", "negated", "uncertain", "contradiction", "unknown", "empty"]
Certainty = Literal["affirmed", "negated", "uncertain"]
Range = tuple[float | None, float | None]


@dataclass(frozen=True)
class Attribute:
    """A describing word: kind ("density", "margin", "chronicity", …), value, and "not"."""

    kind: str
    value: str
    negated: bool = False

    def to_json(self) -> dict[str, Any]:
        """The JSON object of an attribute."""
        return {"kind": self.kind, "value": self.value, "negated": self.negated}


@dataclass(frozen=True)
class Order:
    """Which of several instances is meant.

    Attributes:
        by: "largest", "smallest", "superior", "inferior", "anterior", "posterior", "medial",
            "lateral", "left", "right", "densest" or "darkest".
        rank: 1 for "largest", 2 for "second largest".
        count: how many are meant, 2 for "the two largest".
    """

    by: str
    rank: int = 1
    count: int = 1

    def to_json(self) -> dict[str, Any]:
        """The JSON object of an order."""
        return {"by": self.by, "rank": self.rank, "count": self.count}


@dataclass(frozen=True)
class Place:
    """An anatomical place: the concept, its side, and how the two are written together."""

    concept: str
    side: Side | None
    name: str

    def to_json(self) -> dict[str, Any]:
        """The JSON object of a place."""
        return {"concept": self.concept, "side": self.side, "name": self.name}


@dataclass(frozen=True)
class PromptTarget:
    """One thing that a prompt asks for.

    Attributes:
        concept: preferred name in the knowledge tree, without side; or one of the generic heads
            "organ", "structure", "lesion" where the prompt names no concept.
        side: the side of the thing itself, said directly or through its container.
        container: where it lies, written with its side ("lower lobe of left lung").
        container_place: the same as concept and side.
        further_places: where one finding lies in several places, those behind the first; it lies
            in the union of all (``places``), and ``container`` names them all.
        size_mm: (min, max) of the longest diameter; None is an open end.
        dimensions_mm: the extents of "3 x 4 mm" as written.
        volume_ml: (min, max) where a volume was given.
        order: which of several ("largest").
        count: (min, max) number of instances that the text speaks of.
        certainty: affirmed, negated or uncertain.
        attributes: describing words.
        near: neighbours named with "near", "adjacent to" and the like.
        exclusions: what is to be left out ("liver without lesions").
        specific: a narrower concept that concept and attributes together name, where the wider
            one is meant ("enlarged spleen" is the spleen, and splenomegaly).
        broader: the concept without what describes it ("pulmonary nodule" of "calcified pulmonary
            nodule"), for models that know it alone.
        known_to_model: whether the model knows it; None without a list of known concepts.
        codes: codes of the concept.
    """

    concept: str
    side: Side | None = None
    container: str | None = None
    container_place: Place | None = None
    further_places: tuple[Place, ...] = ()
    size_mm: Range | None = None
    dimensions_mm: tuple[float, ...] = ()
    volume_ml: Range | None = None
    order: Order | None = None
    count: tuple[int, int | None] | None = None
    certainty: Certainty = "affirmed"
    attributes: tuple[Attribute, ...] = ()
    near: tuple[Place, ...] = ()
    exclusions: tuple[Place, ...] = ()
    specific: str | None = None
    broader: str | None = None
    known_to_model: bool | None = None
    codes: tuple[Code, ...] = ()

    @property
    def places(self) -> tuple[Place, ...]:
        """Every place whose union it lies in; none where the text names none."""
        first = () if self.container_place is None else (self.container_place,)
        return (*first, *self.further_places)

    def lying_in(self, places: Sequence[Place]) -> PromptTarget:
        """The same in the union of other places; in none where there are none."""
        names = [place.name for place in places]
        listed = " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
        first = places[0] if places else None
        further = tuple(places[1:])
        return replace(
            self, container=listed or None, container_place=first, further_places=further
        )

    def apart(self) -> tuple[PromptTarget, ...]:
        """One target for each place, with the side of that place; itself where there is one."""
        if not self.further_places:
            return (self,)
        return tuple(
            replace(self.lying_in([place]), side=place.side if self.side == "both" else self.side)
            for place in self.places
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object of a target: the stable keys first, further keys behind."""
        return {
            "concept": self.concept,
            "side": self.side,
            "container": self.container,
            "size_mm": list(self.size_mm) if self.size_mm else None,
            "order": self.order.to_json() if self.order else None,
            "known_to_model": self.known_to_model,
            "codes": [code._asdict() for code in self.codes],
            "specific": self.specific,
            "broader": self.broader,
            "certainty": self.certainty,
            "count": list(self.count) if self.count else None,
            "dimensions_mm": list(self.dimensions_mm) or None,
            "volume_ml": list(self.volume_ml) if self.volume_ml else None,
            "attributes": [attribute.to_json() for attribute in self.attributes],
            "near": [place.to_json() for place in self.near],
            "exclusions": [place.to_json() for place in self.exclusions],
            "containers": [place.to_json() for place in self.places],
        }


@dataclass(frozen=True)
class Correction:
    """A word that was read as another one."""

    got: str
    read_as: str

    def to_json(self) -> dict[str, str]:
        """The JSON object of a correction."""
        return {"got": self.got, "read_as": self.read_as}


@dataclass(frozen=True)
class ParsedPrompt:
    """How a prompt is understood.

    Attributes:
        text: the prompt as given.
        status: "ok" if anything is asked for; "negated" or "uncertain" if everything is;
            "contradiction", "unknown" and "empty" have no targets.
        targets: what is asked for. Where some things are negated and others not, the negated
            ones stand in ``negated`` alone; a prompt that is negated as a whole has them here.
        negated: everything that the text denies.
        corrections: spelling corrections that were made.
        hint: what to write instead, or what to know.
        ignored: words that were not understood.
    """

    text: str
    status: Status
    targets: tuple[PromptTarget, ...] = ()
    negated: tuple[PromptTarget, ...] = ()
    corrections: tuple[Correction, ...] = field(default=())
    hint: str | None = None
    ignored: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The object of ``textseg3d prompt --json``: the stable keys first."""
        return {
            "text": self.text,
            "status": self.status,
            "targets": [target.to_json() for target in self.targets],
            "corrections": [correction.to_json() for correction in self.corrections],
            "hint": self.hint,
            "negated": [target.to_json() for target in self.negated],
            "ignored": list(self.ignored),
        }
