"""One concept of the knowledge tree, and a concept with a side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple

from textseg3d.errors import InputError
from textseg3d.suggest import did_you_mean

Side = Literal["left", "right", "both", "midline"]

KINDS = ("anatomy", "finding")
SIDE_RULES = ("paired", "left", "right", "midline", "unpaired", "any")
REGIONS = (
    "whole body",
    "head",
    "brain",
    "neck",
    "thorax",
    "abdomen",
    "pelvis",
    "spine",
    "upper limb",
    "lower limb",
)
LANGUAGES = ("de", "fr", "es", "zh")


class Code(NamedTuple):
    """A code of a published scheme, for example ("SCT", "64033007", "Kidney")."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Concept:
    """An anatomical structure or a finding, as one line of ``data/*.jsonl`` gives it.

    Attributes:
        name: preferred name without a side ("kidney", "left atrium", see the package's rule).
        kind: "anatomy" or "finding" (lesions, fluid, devices and other things that need not
            be there).
        category: finer class ("organ", "bone", "muscle", "artery", "device", …).
        region: body region, one of ``REGIONS``.
        definition: one or two sentences.
        side_rule: "paired" (left, right or both), "left" or "right" (exists there alone),
            "midline", "unpaired", or "any" (findings: the words tell).
        sided_name: template with ``{side}``; None means "{side} name".
        plural: plural of ``name``; for a paired concept it means both sides.
        synonyms: further unsided names; regular plurals are derived.
        sided_synonyms: further templates with ``{side}``.
        sided_forms: names that carry their side themselves, {"left": ("LLL",)}.
        abbreviations: unsided short forms, in their usual case.
        latin: Latin name.
        adjectives: adjectival forms ("renal").
        part_of: wholes that this is a part of.
        contains: parts whose union makes up the whole.
        union: whether the concept is usually labelled through the parts in ``contains``.
        adjacent_to: neighbours.
        containers: for findings, where they usually lie.
        size_mm: usual range (low, high) of the longest extent in an adult.
        hu: usual range (low, high) on CT without contrast.
        mr_signal: usual signal, in words.
        pet: usual FDG uptake, in words.
        modalities: where it is seen, of "CT", "MR", "PET".
        codes: codes that pydicom.sr knows.
        totalsegmentator: label name of TotalSegmentator → side.
        ids: identifiers of other terminologies, {"uberon": …, "fma": …, "ta2": …}.
        translations: names in other languages, {"de": ("Niere",), …}.
    """

    name: str
    kind: str
    category: str
    region: str
    definition: str
    side_rule: str = "unpaired"
    sided_name: str | None = None
    plural: str | None = None
    synonyms: tuple[str, ...] = ()
    sided_synonyms: tuple[str, ...] = ()
    sided_forms: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    abbreviations: tuple[str, ...] = ()
    latin: str | None = None
    adjectives: tuple[str, ...] = ()
    part_of: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    union: bool = False
    adjacent_to: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    size_mm: tuple[float, float] | None = None
    hu: tuple[float, float] | None = None
    mr_signal: str | None = None
    pet: str | None = None
    modalities: tuple[str, ...] = ("CT", "MR")
    codes: tuple[Code, ...] = ()
    totalsegmentator: Mapping[str, str | None] = field(default_factory=dict, hash=False)
    ids: Mapping[str, str] = field(default_factory=dict, hash=False)
    translations: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Concept:
        """A concept from one parsed line.

        Raises:
            InputError: for an unknown or missing key.
        """
        unknown = record.keys() - _KEYS
        if unknown:
            key = min(unknown)
            raise InputError(
                f"knowledge tree: concept {record.get('name')!r} has the unknown key {key!r}"
                f"{did_you_mean(key, _KEYS)}"
            )
        missing = [key for key in _REQUIRED if key not in record]
        if missing:
            raise InputError(
                f"knowledge tree: concept {record.get('name')!r} lacks the key {missing[0]!r}; "
                f"add it to its line"
            )
        values = dict(record)
        for key, value in record.items():
            if type(value) is list:
                values[key] = tuple(value)
        if "codes" in record:
            values["codes"] = tuple(Code(*code) for code in record["codes"])
        for key in ("sided_forms", "translations"):
            if key in record:
                values[key] = {inner: tuple(forms) for inner, forms in record[key].items()}
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """The record that ``from_json`` reads; keys with default values are left out."""
        record: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name in _REQUIRED or (value and value != item.default):
                record[item.name] = _plain(value)
        return record

    @property
    def fixed_side(self) -> Literal["left", "right"] | None:
        """The only side on which this structure exists, if there is one."""
        if self.side_rule == "left":
            return "left"
        return "right" if self.side_rule == "right" else None

    def allows(self, side: str | None) -> bool:
        """Whether ``side`` makes sense for this concept."""
        if side is None or self.side_rule == "any":
            return True
        if self.side_rule == "paired":
            return side in ("left", "right", "both")
        return side == self.side_rule


def _plain(value: Any) -> Any:
    """``value`` with tuples and mappings turned into JSON's lists and objects."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


_KEYS = frozenset(item.name for item in fields(Concept))
_REQUIRED = ("name", "kind", "category", "region", "definition")


@dataclass(frozen=True, order=True)
class Target:
    """A concept by name, with the side that is meant.

    ``side`` None means "no side said" for a paired concept, and is the only value (besides
    "midline" for midline structures) for an unpaired one.
    """

    concept: str
    side: Side | None = None
