"""What is only called well beside a finding is no target; what may be ill is one."""

from __future__ import annotations

import pytest

from textseg3d.text.grammar import parse_prompt

WELL = ("perfused", "nl", "is well perfused", "midline", "not enlarged", "normal in size", "stable")


@pytest.mark.parametrize("between", ["; ", ". "])
@pytest.mark.parametrize("structure", ["liver", "trachea", "right kidney", "soleus"])
@pytest.mark.parametrize("said", WELL)
def test_well(structure: str, said: str, between: str) -> None:
    parsed = parse_prompt(f"Spiral fracture of the left tibia{between}{structure} {said}.")
    assert [(t.concept, t.side) for t in parsed.targets] == [("tibial fracture", "left")]


@pytest.mark.parametrize(
    ("text", "second"),
    [
        ("Left orbital fracture; maxillary sinus opacified", "sinusitis"),
        ("Left renal cyst; renal stones stable", "kidney stone"),
        ("Left renal cyst; spleen", "spleen"),
        ("Left renal cyst; ureter dilated", "hydroureter"),
    ],
)
def test_ill_or_asked_for(text: str, second: str) -> None:
    assert [target.concept for target in parse_prompt(text).targets][1:] == [second]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Fracture is not seen in the first rib.", "negated"),
        ("Stone not visible in the last segment of the ureter", "negated"),
        ("Liver cyst, not visible on T2", "negated"),
        ("9 mm liver cyst, not present on the examination of 2018", "ok"),
        ("Liver cyst, not visible on the bone scan of last year", "ok"),
        ("Liver cyst, not visible on the first scan", "ok"),
        ("Liver cyst, not seen on the MRI three months ago", "ok"),
    ],
)
def test_only_an_earlier_examination_lifts_a_denial(text: str, status: str) -> None:
    assert parse_prompt(text).status == status


@pytest.mark.parametrize("word", ["congruent", "aphasia", "leukemia", "prone", "opacifies"])
def test_words_of_reports_are_not_corrected_to_names(word: str) -> None:
    parsed = parse_prompt(f"left renal cyst {word}")
    assert parsed.corrections == ()
    assert [target.concept for target in parsed.targets] == ["renal cyst"]


@pytest.mark.parametrize(
    ("text", "concepts"),
    [
        ("T2/FLAIR white matter lesions", ["white matter lesion"]),
        ("T1/T2 hypointense mass in the left kidney", ["renal mass"]),
        ("T1 and T2 vertebrae", ["T1 vertebra", "T2 vertebra"]),
        ("T1/T2 disc", ["T1-T2 disc"]),
        ("the disc between the L4 and L5 vertebrae", ["L4-L5 disc"]),
        ("bilateral pleural effusions, the right larger than the left", ["pleural effusion"]),
        ("liver abscess in this patient with raised CRP", ["liver abscess"]),
    ],
)
def test_other_ways_of_dictating(text: str, concepts: list[str]) -> None:
    assert [target.concept for target in parse_prompt(text).targets] == concepts
