"""A heading holds for what stands below it, and for nothing else."""

from __future__ import annotations

import pytest

from textseg3d.text.grammar import ParsedPrompt, parse_prompt

PAIRED = {"Kidneys": ("cyst", "stone"), "Adrenals": ("nodule", "hemorrhage"), "Ovaries": ("cyst",)}


def read(parsed: ParsedPrompt) -> list[tuple[str, str | None, object]]:
    return [(target.concept, target.side, target.size_mm) for target in parsed.targets]


@pytest.mark.parametrize("between", ["; ", ". ", ", "])
@pytest.mark.parametrize("heading", PAIRED)
def test_a_list_reads_as_its_entries_one_by_one(heading: str, between: str) -> None:
    findings = [*PAIRED[heading], "torsion" if heading == "Ovaries" else "mass"]
    entries = [f"{side} {name}" for side, name in zip(("left", "right", "left"), findings)]
    alone = [read(parse_prompt(f"{heading}: {entry}"))[0] for entry in entries]
    if heading == "Adrenals":  # a mass is a nodule there, and left as the first
        entries, alone = entries[:2], alone[:2]
    together = parse_prompt(f"{heading}: {between.join(entries)}")
    assert together.status == "ok"
    assert read(together) == alone


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Right ankle: joint effusion, bone marrow edema in the talus.",
            [("joint effusion", "right"), ("bone marrow edema", "right")],
        ),
        (
            "Left knee: effusion. Fracture of the patella. Liver cyst.",
            [("joint effusion", "left"), ("patellar fracture", "left"), ("hepatic cyst", None)],
        ),
        ("Left lung: nodule. Liver cyst.", [("pulmonary nodule", "left"), ("hepatic cyst", None)]),
        (
            "Left wrist: scaphoid fracture. Right wrist: radius fracture.",
            [("scaphoid fracture", "left"), ("radius fracture", "right")],
        ),
        ("Left kidney: cyst. Right: stone.", [("renal cyst", "left"), ("kidney stone", "right")]),
        ("MRI right knee: effusion", [("joint effusion", "right")]),
    ],
)
def test_sides_of_headings(text: str, expected: list[tuple[str, str | None]]) -> None:
    assert [(target.concept, target.side) for target in parse_prompt(text).targets] == expected


def test_denials_reach_as_far_as_without_a_heading() -> None:
    denied = parse_prompt("Kidneys: no cyst, stone or mass")
    assert denied.status == "negated"
    mixed = parse_prompt("Kidneys: cyst; no stone")
    assert [target.concept for target in mixed.targets] == ["renal cyst"]
    assert [target.concept for target in mixed.negated] == ["kidney stone"]
    doubted = parse_prompt("Kidneys: cyst; possible stone")
    assert [target.certainty for target in doubted.targets] == ["affirmed", "uncertain"]
