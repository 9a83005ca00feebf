"""Findings that are told by what a structure is, and whose they are when two are compared."""

from itertools import product

import pytest

from textseg3d.text.grammar import parse_prompt

SIDES = (("left", "right"), ("right", "left"))
TOLD = [
    ("meniscus", "torn", "meniscal tear"),
    ("femoral vein", "thrombosed", "deep vein thrombosis"),
    ("hip", "dislocated", "dislocation"),
    ("Achilles tendon", "ruptured", "tendon tear"),
    ("kidney", "hydronephrotic", "hydronephrosis"),
    ("ureter", "dilated", "hydroureter"),
    ("ureter", "thickened", "urothelial thickening"),
    ("lung", "collapsed", "atelectasis"),
    ("kidney", "shrunken", "renal atrophy"),
    ("carotid artery", "tortuous", "arterial tortuosity"),
]


def read(text: str) -> list[tuple[str, str | None]]:
    return [(target.concept, target.side) for target in parse_prompt(text).targets]


@pytest.mark.parametrize(("thing", "said", "finding"), TOLD)
@pytest.mark.parametrize(("side", "other"), SIDES)
def test_the_finding_is_on_the_side_of_its_structure(
    thing: str, said: str, finding: str, side: str, other: str
) -> None:
    rest = (
        "",
        f" and the {other} {thing} is normal",
        f", the {other} {thing} is normal",
        f" but the {other} {thing} is normal",
        f", while the {other} {thing} is intact",
        f" and the {other} is normal",
    )
    for more in rest:
        text = f"The {side} {thing} is {said}{more}."
        assert read(text) == [(finding, side)], text


@pytest.mark.parametrize(("thing", "said", "finding"), TOLD)
def test_what_is_not_so_is_denied(thing: str, said: str, finding: str) -> None:
    parsed = parse_prompt(f"The left {thing} is not {said}.")
    assert parsed.status == "negated"
    assert [(t.concept, t.side) for t in parsed.negated] == [(finding, "left")]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Which rib is broken?", [("rib fracture", None)]),
        ("Which vertebra is fractured?", [("vertebral fracture", None)]),
        ("left lung contused, right lung normal", [("pulmonary contusion", "left")]),
        ("right testis undescended, left testis normal", [("undescended testis", "right")]),
        (
            "The left hip is fractured and the right hip is dislocated.",
            [("hip fracture", "left"), ("dislocation", "right")],
        ),
        (
            "The left kidney is enlarged and the right kidney has a cyst.",
            [("kidney", "left"), ("renal cyst", "right")],
        ),
        (
            "The liver is enlarged and the spleen contains a cyst.",
            [("liver", None), ("splenic cyst", None)],
        ),
        ("outline the left kidney while the bladder is full", [("kidney", "left")]),
    ],
)
def test_two_clauses_and_questions(text: str, wanted: list[tuple[str, str | None]]) -> None:
    assert read(text) == wanted


@pytest.mark.parametrize("verb", ["removed", "resected", "excised"])
def test_what_was_taken_out_is_not_there(verb: str) -> None:
    assert parse_prompt(f"The left kidney is {verb}.").status == "negated"


def test_who_rules_out() -> None:
    assert parse_prompt("We can rule out a fracture of the left tibia.").status == "negated"
    for text in ("Can we rule out a fracture?", "Please rule out a fracture."):
        assert parse_prompt(text).status == "uncertain"


@pytest.mark.parametrize(
    ("question", "finding"),
    list(
        product(
            (
                "Where in the right lung is the {}?",
                "Which area in the right lung is {}?",
                "How much of the right lung is {}?",
            ),
            ("consolidation", "atelectasis"),
        )
    ),
)
def test_where_a_finding_is_asked_for(question: str, finding: str) -> None:
    assert read(question.format(finding)) == [(finding, "right")]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("the medial and the lateral meniscus", ["medial meniscus", "lateral meniscus"]),
        (
            "the superior and the inferior mesenteric artery",
            ["superior mesenteric artery", "inferior mesenteric artery"],
        ),
        (
            "the upper and the lower pole of the left kidney",
            ["upper pole of kidney", "lower pole of kidney"],
        ),
        ("the first and the second rib on the left", ["1st rib", "2nd rib"]),
    ],
)
def test_a_head_is_shared_over_an_article(text: str, wanted: list[str]) -> None:
    assert [concept for concept, _ in read(text)] == wanted
