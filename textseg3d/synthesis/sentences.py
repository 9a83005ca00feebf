"""Sentences about a labelled volume: true ones, wrong ones, and such that mean one lesion.

Every sentence goes with a claim, and a claim is checked against all lesions of the volume. Where
a lesion neither clearly fits nor clearly fails (it reaches into the place or lies in none that is
known, has about the size, or its kind is not known), the sentence is not made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise
from typing import Any, TypeVar

from textseg3d.synthesis.findings import FINDINGS, Kind
from textseg3d.synthesis.lesions import Lesion, Place
from textseg3d.synthesis.words import ALIKE, COUNTS, WORDS, Words

T = TypeVar("T")
CLEARLY_LARGER = 1.1  # in volume, so that "the largest" is no toss-up
WRONG_SIZES = (2.5, 0.4, 3.5, 0.25)  # times the true diameter


@dataclass(frozen=True)
class Claim:
    """What a sentence says.

    Attributes:
        finding: key of :data:`WORDS`.
        kind: None if none is said.
        place: None for the whole volume.
        size_mm: longest axial diameter.
        count: how many there are in all.
        order: "largest" or "smallest", with rank 1 or 2.
        definite: whether one lesion is meant ("the nodule").
    """

    finding: str
    kind: Kind | None = None
    place: Place | None = None
    size_mm: int | None = None
    count: int | None = None
    order: tuple[str, int] | None = None
    definite: bool = False

    @property
    def words(self) -> Words:
        """Of the finding and its kind."""
        return WORDS[self.finding][self.kind]

    @property
    def text(self) -> str:
        """The sentence."""
        noun = self.words.one if self.count in (None, 1) else self.words.many
        if self.place is None and self.kind is None:
            noun = self.finding if self.count in (None, 1) else f"{self.finding}s"
        parts = ["the"] if self.definite else []
        if self.order is not None:
            by, rank = self.order
            parts += ["second", by] if rank == 2 else [by]
        if self.count is not None:
            parts.append(COUNTS[self.count])
        if self.size_mm is not None:
            parts.append(f"{self.size_mm} mm")
        parts.append(noun)
        return " ".join(parts) + (f" in the {self.place.words}" if self.place else "")


@dataclass(frozen=True)
class Sentence:
    """A claim with its truth.

    Attributes:
        claim: what it says.
        kind: what it states ("size, density, place"), what is wrong with it ("other side"), or
            how it refers ("largest").
        findings: numbers of the lesions that it is true of; none for a wrong one.
    """

    claim: Claim
    kind: str
    findings: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The object of ``sentences.json``."""
        claim = self.claim
        order = claim.order and {"by": claim.order[0], "rank": claim.order[1], "count": 1}
        return {
            "text": claim.text,
            "kind": self.kind,
            "findings": list(self.findings),
            "type": claim.finding,
            "concept": claim.words.concept,
            "side": claim.place.side if claim.place else None,
            "container": claim.place.name if claim.place else None,
            "size_mm": claim.size_mm,
            "density": claim.words.density if claim.kind else None,
            "count": claim.count,
            "order": order,
        }


@dataclass(frozen=True)
class Sentences:
    """All sentences of a volume, each text once per list."""

    true: list[Sentence] = field(default_factory=list)
    counterfactual: list[Sentence] = field(default_factory=list)
    referring: list[Sentence] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Three lists of objects."""
        lists = {}
        for name, found in vars(self).items():
            first: dict[str, Sentence] = {}
            for sentence in found:
                first.setdefault(sentence.claim.text, sentence)
            lists[name] = [sentence.to_json() for sentence in first.values()]
        return lists


def size_slack_mm(size_mm: float) -> float:
    """How far a stated diameter may be off: 2 mm or a fifth, as a prompt's may."""
    return max(2.0, 0.2 * size_mm)


def fits(claim: Claim, lesion: Lesion) -> bool | None:
    """Whether finding, kind, place and size of a claim are true of a lesion; None if unclear."""
    if claim.finding != lesion.finding:
        return False
    answers: list[bool | None] = [True]
    if claim.place is not None:
        unclear = claim.place.name in lesion.touched or not lesion.places
        answers.append(claim.place.name in lesion.places or (None if unclear else False))
    if claim.kind is not None:
        alike = lesion.kind is None or any({claim.kind, lesion.kind} <= pair for pair in ALIKE)
        answers.append(True if claim.kind == lesion.kind else None if alike else False)
    if claim.size_mm is not None:
        off, slack = abs(lesion.diameter_mm - claim.size_mm), size_slack_mm(claim.size_mm)
        answers.append(True if off <= slack else None if off <= 1.5 * slack else False)
    return False if False in answers else None if None in answers else True


def true_of(claim: Claim, lesions: Sequence[Lesion]) -> tuple[int, ...] | None:
    """Numbers of the lesions that a claim is true of; None if that is unclear for one."""
    answers = {lesion.number: fits(claim, lesion) for lesion in lesions}
    if None in answers.values():
        return None
    return tuple(number for number, answer in answers.items() if answer)


def make_sentences(
    lesions: Sequence[Lesion], places: Mapping[str, Sequence[Place]], known: Sequence[str]
) -> Sentences:
    """Sentences about a volume.

    Args:
        lesions: all of the volume's.
        places: of each finding, the smallest first.
        known: findings whose truth is known, with lesions or without.
    """
    made = Sentences()
    for finding in (name for name in FINDINGS if name in known):
        own = [lesion for lesion in lesions if lesion.finding == finding]
        made.true.extend(_checked(_statements(finding, own, places[finding]), own))
        made.true.extend(_counts(finding, own, places[finding], right=True))
        made.counterfactual.extend(_wrong(finding, own, places[finding]))
        made.counterfactual.extend(_counts(finding, own, places[finding], right=False))
        made.referring.extend(_referring(finding, own, places[finding]))
    return made


def _checked(
    claims: Iterable[tuple[str, Claim]], lesions: Sequence[Lesion], *, wrong: bool = False
) -> Iterator[Sentence]:
    """Those that are clearly true of some lesion, or clearly of none."""
    for kind, claim in claims:
        found = true_of(claim, lesions)
        if found is not None and bool(found) != wrong:
            yield Sentence(claim, kind, found)


def _statements(
    finding: str, lesions: Sequence[Lesion], places: Sequence[Place]
) -> Iterator[tuple[str, Claim]]:
    """Claims about each lesion, from all that is known of it to its name alone."""
    for lesion in lesions:
        size = round(lesion.diameter_mm)
        for place in (p for p in places if p.name in lesion.places):
            whole = Claim(finding, lesion.kind, place, size)
            if lesion.kind is not None:
                yield "size, density, place", whole
                yield "density, place", replace(whole, size_mm=None)
            yield "size, place", replace(whole, kind=None)
            yield "place", replace(whole, kind=None, size_mm=None)
        yield "name", Claim(finding)


def _counts(
    finding: str, lesions: Sequence[Lesion], places: Sequence[Place], *, right: bool
) -> Iterator[Sentence]:
    """How many lesions a place has, or one more than that."""
    for place in places:
        claim = Claim(finding, place=place)
        found = true_of(claim, lesions)
        if found and len(found) + 1 < len(COUNTS):
            n = len(found)
            if right:
                yield Sentence(replace(claim, count=n), "count, place", found)
            else:
                yield Sentence(replace(claim, count=n + 1), "wrong count")


def _wrong(finding: str, lesions: Sequence[Lesion], places: Sequence[Place]) -> Iterator[Sentence]:
    """One thing of each lesion changed; and places without any lesion."""
    for lesion in lesions:
        place = next((p for p in places if p.name in lesion.places), None)
        if place is None:
            continue
        claim = Claim(finding, lesion.kind, place, round(lesion.diameter_mm))
        yield from _checked(_elsewhere(claim, places), lesions, wrong=True)
        sizes = [round(lesion.diameter_mm * f) for f in _turned(WRONG_SIZES, lesion.number)]
        low, high = FINDINGS[finding].diameter_mm
        sizes = [s for s in sizes if low <= s <= 2 * high]
        resized = (("wrong size", replace(claim, size_mm=s)) for s in sizes)
        yield from islice(_checked(resized, lesions, wrong=True), 1)
        if lesion.kind is not None:
            others = _turned([k for k in FINDINGS[finding].odds if k != lesion.kind], lesion.number)
            dense = (("other density", replace(claim, kind=k, size_mm=None)) for k in others)
            yield from islice(_checked(dense, lesions, wrong=True), 1)
    if not lesions:
        yield Sentence(Claim(finding), "absent finding")
    empty = (("absent finding", Claim(finding, place=place)) for place in places)
    yield from _checked(empty, lesions, wrong=True)


def _turned(items: Sequence[T], n: int) -> list[T]:
    """The items from another one on, so that not all lesions get the same."""
    start = n % max(1, len(items))
    return [*items[start:], *items[:start]]


def _elsewhere(claim: Claim, places: Sequence[Place]) -> Iterator[tuple[str, Claim]]:
    """The claim about the mirrored place, and about another part of the same side."""
    here = claim.place
    assert here is not None
    for place in places:
        if here.side is None or here.ids & place.ids:
            continue
        if place.concept == here.concept and place.side not in (None, here.side):
            yield "other side", replace(claim, place=place)
        elif place.concept != here.concept and place.side == here.side:
            yield "other lobe", replace(claim, place=place)


def _referring(
    finding: str, lesions: Sequence[Lesion], places: Sequence[Place]
) -> Iterator[Sentence]:
    """Phrases that mean one lesion among several."""
    if len(lesions) < 2:
        return
    for place in places:
        claim = Claim(finding, place=place, definite=True)
        found = true_of(claim, lesions)
        if not found:
            continue
        inside = [lesion for lesion in lesions if lesion.number in found]
        if len(inside) == 1:
            yield Sentence(claim, "place", found)
            continue
        for (by, rank), lesion in _ranked(inside):
            yield Sentence(replace(claim, order=(by, rank)), by, (lesion.number,))
        for kind in FINDINGS[finding].odds:
            only = true_of(replace(claim, kind=kind), lesions)
            if only and len(only) == 1 and WORDS[finding][kind].one != WORDS[finding][None].one:
                yield Sentence(replace(claim, kind=kind), "density", only)


def _ranked(lesions: Sequence[Lesion]) -> Iterator[tuple[tuple[str, int], Lesion]]:
    """Largest, second largest and smallest, where volumes leave no doubt; two or more lesions."""
    ordered = sorted(lesions, key=lambda lesion: -lesion.volume_ml)
    steps = [a.volume_ml >= CLEARLY_LARGER * b.volume_ml for a, b in pairwise(ordered)]
    if steps[0]:
        yield ("largest", 1), ordered[0]
    if len(ordered) > 2 and steps[0] and steps[1]:
        yield ("largest", 2), ordered[1]
    if steps[-1]:
        yield ("smallest", 1), ordered[-1]
