"""Texts that deny one finding and affirm another: every pair, in many ways to say so."""

from itertools import product

import pytest

from textseg3d.text.grammar import parse_prompt

DENIED = [
    ("cyst in the left kidney", ("renal cyst", "left")),
    ("left hydronephrosis", ("hydronephrosis", "left")),
    ("gallstone", ("gallstone", None)),
]
AFFIRMED = [
    ("ascites", ("ascites", None)),
    ("hepatic cyst", ("hepatic cyst", None)),
    ("splenomegaly", ("splenomegaly", None)),
]


@pytest.mark.parametrize(
    "said",
    [
        "no {a}; {b}",
        "{b}, no {a}",
        "{b} but no {a}",
        "no {a} but {b}",
        "{a} is ruled out, {b} is present",
        "there is no {a}, however there is {b}",
        "{a} has resolved, new {b}",
        "no evidence of {a}, new {b}",
        "{b} is seen, {a} is not",
        "except for {b}, no {a}",
        "absence of {a}, presence of {b}",
        "negative for {a}, positive for {b}",
        "no longer any {a}; {b} persists",
        "{a}: none. {b}: yes.",
        "{a} no, {b} yes",
        "{a} excluded. {b} confirmed.",
    ],
)
def test_one_is_denied_and_one_is_not(said):
    for (a, denied), (b, affirmed) in product(DENIED, AFFIRMED):
        prompt = parse_prompt(said.format(a=a, b=b))
        assert prompt.status == "ok", prompt.text
        assert [(t.concept, t.side) for t in prompt.targets] == [affirmed], prompt.text
        assert [(t.concept, t.side) for t in prompt.negated] == [denied], prompt.text


@pytest.mark.parametrize(
    "said",
    [
        "no {a} or {b}",
        "neither {a} nor {b}",
        "no {a}, ascites or {b}",
        "without {a} or {b}",
        "{a} was not seen, nor was {b}",
        "{a} is not present nor is {b}",
        "{a} not identified, nor {b}",
    ],
)
def test_a_list_is_denied_to_its_end(said):
    for (a, _), (b, _) in product(DENIED, AFFIRMED):
        assert parse_prompt(said.format(a=a, b=b)).status == "negated"


def test_new_or_old_in_a_list_ends_no_denial():
    prompt = parse_prompt("No acute infarct, new hemorrhage or mass.")
    assert prompt.status == "negated"


@pytest.mark.parametrize(
    "text",
    [
        "outline the left kidney, the paperwork is not of interest",
        "outline the left kidney. Not the stomach.",
        "outline the left kidney. And ignore the drain.",
        "outline the left kidney because of the pancreatitis",
        "outline the left kidney since the patient has a liver cyst",
        "outline the left kidney for the surgeon who will remove the gallstones",
        "outline the left kidney, as the right hip was fractured last year",
    ],
)
def test_a_request_stays_what_it_is(text):
    prompt = parse_prompt(text)
    assert prompt.status == "ok"
    assert [(t.concept, t.side) for t in prompt.targets] == [("kidney", "left")]


def test_a_cyst_of_the_liver_takes_no_side_of_a_kidney():
    targets = parse_prompt("cyst in the left kidney and hepatic cyst").targets
    assert [(t.concept, t.side) for t in targets] == [
        ("renal cyst", "left"),
        ("hepatic cyst", None),
    ]


def test_bowel_is_all_of_it():
    assert [t.concept for t in parse_prompt("bowel").targets] == ["intestines"]
    assert [t.concept for t in parse_prompt("bowel obstruction").targets] == [
        "small bowel obstruction"
    ]


def test_two_findings_have_a_size_each():
    targets = parse_prompt("The left renal cyst is 12 mm and the gallstone is 0.8 cm").targets
    assert [(t.concept, t.size_mm) for t in targets] == [
        ("renal cyst", (12.0, 12.0)),
        ("gallstone", (8.0, 8.0)),
    ]


def test_a_resolution_is_no_size():
    (target,) = parse_prompt("At 1 mm resolution: 12 mm nodule in the right lung").targets
    assert target.size_mm == (12.0, 12.0)


@pytest.mark.parametrize(
    ("text", "concept", "side"),
    [
        ("In the left kidney is a 3 cm cyst.", "renal cyst", "left"),
        ("Calcified 5 mm pulmonary nodule in the left lung", "calcified pulmonary nodule", "left"),
        ("Right inguinal hernia, not seen on the previous study.", "inguinal hernia", "right"),
        ("tear of the right peroneus brevis tendon", "tendon tear", "right"),
    ],
)
def test_orders_of_words_in_reports(text, concept, side):
    prompt = parse_prompt(text)
    assert prompt.status == "ok"
    assert [(t.concept, t.side) for t in prompt.targets] == [(concept, side)]


@pytest.mark.parametrize(
    "text",
    [
        "a non-calcified nodule in the right lung",
        "noncalcified nodule in the right lung",
        "uncalcified nodule in the right lung",
        "a nodule in the right lung not seen before",
        "a nodule in the right lung that was not there last year",
        "the right lung is normal but for a nodule",
        "nodule rather than mass in the right lung",
        "there is no mass in the right lung, only a nodule",
    ],
)
def test_what_denies_nothing_of_the_finding(text: str) -> None:
    parsed = parse_prompt(text)
    assert parsed.status == "ok"
    assert [(t.concept, t.side) for t in parsed.targets] == [("pulmonary nodule", "right")]


@pytest.mark.parametrize(
    "text",
    [
        "the left kidney is negative for stones",
        "nobody found a stone in the left kidney",
        "stone absent in the left kidney",
    ],
)
def test_denials_in_other_words(text: str) -> None:
    parsed = parse_prompt(text)
    assert parsed.status == "negated"
    assert [(t.concept, t.side) for t in parsed.negated] == [("kidney stone", "left")]


def test_nor_denies_no_further_than_its_sentence() -> None:
    parsed = parse_prompt(
        "A cyst was not seen, nor a stone, but a rib fracture. Ascites or a mass."
    )
    assert [t.concept for t in parsed.targets] == ["rib fracture", "ascites", "mass"]
    assert [t.concept for t in parsed.negated] == ["cyst", "stone"]
