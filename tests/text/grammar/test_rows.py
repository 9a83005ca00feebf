"""Rows of vertebrae and discs, and operations that were done for a disease."""

from __future__ import annotations

import pytest

from textseg3d.text.grammar import parse_prompt

CERVICAL = ["C3", "C4", "C5", "C6", "C7"]
THORACIC = ["T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8", "T9", "T10", "T11", "T12"]
LUMBAR = ["L1", "L2", "L3", "L4", "L5"]


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("T1-T12 vertebrae", THORACIC),
        ("T1 to T12", THORACIC),
        ("T1-T12", THORACIC),
        ("T1-T3", ["T1", "T2", "T3"]),
        ("vertebrae T1-T3", ["T1", "T2", "T3"]),
        ("T2-T4 vertebral bodies", ["T2", "T3", "T4"]),
        ("L1-L5", LUMBAR),
        ("L3 to L5", ["L3", "L4", "L5"]),
        ("C3-C7", CERVICAL),
        ("segment T11 to L2", ["T11", "T12", "L1", "L2"]),
        ("L2-L3 vertebrae", ["L2", "L3"]),
    ],
)
def test_rows_of_vertebrae(text: str, levels: list[str]) -> None:
    parsed = parse_prompt(text)
    assert parsed.status == "ok"
    assert [target.concept for target in parsed.targets] == [f"{one} vertebra" for one in levels]
    assert all(target.side is None for target in parsed.targets)


@pytest.mark.parametrize(
    ("text", "discs"),
    [
        ("L4-L5 disc", ["L4-L5"]),
        ("L4/5", ["L4-L5"]),
        ("L4-L5", ["L4-L5"]),
        ("T12-L1", ["T12-L1"]),
        ("C5-C7 discs", ["C5-C6", "C6-C7"]),
        ("L3-S1 intervertebral discs", ["L3-L4", "L4-L5", "L5-S1"]),
    ],
)
def test_discs(text: str, discs: list[str]) -> None:
    assert [target.concept for target in parse_prompt(text).targets] == [
        f"{one} disc" for one in discs
    ]


def test_row_as_a_place() -> None:
    (target,) = parse_prompt("syrinx from C3 to C6, 5 mm").targets
    assert (target.concept, target.size_mm) == ("syringomyelia", (5.0, 5.0))
    assert [place.concept for place in target.places] == [f"{one} vertebra" for one in CERVICAL[:4]]


@pytest.mark.parametrize(
    ("text", "disease"),
    [
        ("Status post left mastectomy for breast cancer in 2015.", "breast cancer"),
        ("S/p left upper lobectomy for lung cancer.", "lung cancer"),
        ("Status post right hemicolectomy for colon cancer.", "colon cancer"),
    ],
)
def test_operation_for_a_disease(text: str, disease: str) -> None:
    (target,) = parse_prompt(text).targets
    assert target.concept == disease
    assert any(attribute.value == "historical" for attribute in target.attributes)
