"""What a mask shows, in the codes of DICOM: category, type, side, place."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textseg3d.text.knowledge import Code, load_tree

if TYPE_CHECKING:
    from textseg3d.text.knowledge import Concept

# Schemes that begin with 99 are private: what they hold is the meaning, in words.
PRIVATE_SCHEME = "99TEXTSEG3D"
MAX_TEXT = 64
_PRIVATE_DIGITS = 16
_ANATOMY = Code("SCT", "123037004", "Anatomical Structure")
_TISSUE = Code("SCT", "85756007", "Tissue")
_ALTERED = Code("SCT", "49755003", "Morphologically Abnormal Structure")
_OBJECT = Code("SCT", "260787004", "Physical object")
_SUBSTANCE = Code("SCT", "91720002", "Body Substance")
_CATEGORIES = {
    ("anatomy", "tissue"): _TISSUE,
    ("finding", "device"): _OBJECT,
    ("finding", "fluid"): _SUBSTANCE,
    ("finding", "gas"): _SUBSTANCE,
}
_SIDES = {
    "left": Code("SCT", "7771000", "Left"),
    "right": Code("SCT", "24028007", "Right"),
    "both": Code("SCT", "51440002", "Bilateral"),
}


@dataclass(frozen=True)
class SegmentCoding:
    """The codes of one segment.

    Attributes:
        category: of the segmented property.
        type: of the segmented property; in the private scheme if ``coded`` is False.
        side: modifier of the type, or None.
        region: for a finding that occurs in one place only, that place.
        coded: whether the knowledge tree has a published code for it.
    """

    category: Code
    type: Code
    side: Code | None
    region: Code | None
    coded: bool


def segment_coding(text: str) -> SegmentCoding:
    """The codes of what a prompt's mask shows.

    A side is given only where the words say one. What has no published code gets its own words
    in a private scheme, never the code of something similar.
    """
    from textseg3d.text.grammar import parse_prompt

    tree = load_tree()
    targets = parse_prompt(text, tree).targets
    if len(targets) != 1 or targets[0].concept not in tree:
        return SegmentCoding(_TISSUE, _private(text), None, None, False)
    concept = tree.concept(targets[0].concept)
    kind = _ANATOMY if concept.kind == "anatomy" else _ALTERED
    published = next((code for code in concept.codes if len(code.value) <= 16), None)
    sided = concept.side_rule in ("paired", "any")
    return SegmentCoding(
        category=_CATEGORIES.get((concept.kind, concept.category), kind),
        type=_short(published) if published else _private(concept.name),
        side=_SIDES.get(targets[0].side or "") if sided else None,
        region=_region(concept),
        coded=published is not None,
    )


def _region(concept: Concept) -> Code | None:
    """The code of the only place where a finding occurs."""
    if concept.kind != "finding" or len(concept.containers) != 1:
        return None
    place = load_tree().concept(concept.containers[0])
    return _short(place.codes[0]) if place.codes and place.name != "body" else None


def _short(code: Code) -> Code:
    """A code whose meaning is no longer than DICOM takes."""
    return code._replace(meaning=code.meaning[:MAX_TEXT])


def _private(text: str) -> Code:
    digest = hashlib.sha256(text.encode()).hexdigest()[:_PRIVATE_DIGITS]
    return Code(PRIVATE_SCHEME, digest, " ".join(text.split())[:MAX_TEXT])
