"""Entries as a catalogue has them, from the whole to the part, mean what plain names do."""

import pytest

from textseg3d.text.grammar import parse_prompt

PARTS = [
    ("pancreas", "tail", "tail of the pancreas"),
    ("femur", "neck", "neck of the femur"),
    ("femur", "head", "femoral head"),
    ("uterus", "fundus", "fundus of the uterus"),
    ("stomach", "antrum", "gastric antrum"),
    ("tibia", "plateau", "tibial plateau"),
    ("kidney", "cortex", "renal cortex"),
    ("kidney", "upper pole", "upper pole of the kidney"),
    ("aorta", "arch", "aortic arch"),
    ("mandible", "condyle", "condyle of the mandible"),
    ("lung", "lower lobe", "lower lobe of the lung"),
    ("nose", "cavity", "nasal cavity"),
]
MARKS = (", ", ": ", " - ", " / ")


def read(text: str) -> list[tuple[str, str | None, object]]:
    parsed = parse_prompt(text)
    assert parsed.status == "ok", (text, parsed.hint)
    return [(target.concept, target.side, target.size_mm) for target in parsed.targets]


@pytest.mark.parametrize(("whole", "part", "plain"), PARTS)
def test_the_part_of_a_whole_is_that_part_alone(whole: str, part: str, plain: str) -> None:
    texts = [f"{whole}{mark}{part}" for mark in MARKS] + [f"{whole} ({part})"]
    assert [read(text) for text in texts] == [read(plain)] * len(texts)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    ("whole", "part", "plain"),
    [row for row in PARTS if row[0] in ("femur", "tibia", "kidney", "mandible", "lung")],
)
def test_the_side_may_stand_anywhere(whole: str, part: str, plain: str, side: str) -> None:
    texts = [
        f"{whole}{a}{b}"
        for mark in MARKS
        for a, b in (
            (mark, f"{side}{mark}{part}"),
            (mark, f"{part}{mark}{side}"),
            (mark, f"{side} {part}"),
            (mark, f"{part} {side}"),
        )
    ]
    assert [read(text) for text in texts] == [read(f"{side} {plain}")] * len(texts)


def test_a_side_that_is_part_of_the_name() -> None:
    for mark in MARKS:
        assert read(f"liver{mark}left lobe") == [("left lobe of liver", None, None)]
    assert read("liver (right lobe)") == read("right hepatic lobe")
    assert read("hepatic left lobe") == read("left lobe, liver") == read("left lobe of liver")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("hand, right, 3rd metacarpal", "right 3rd metacarpal"),
        ("wrist - scaphoid - left", "left scaphoid"),
        ("foot: calcaneus left", "left calcaneus"),
        ("pancreas - head and neck", "head of pancreas, neck of pancreas"),
        ("liver, segment 4", "liver segment 4"),
        ("L2, left pedicle", "left pedicle of L2"),
        ("L2: body", "body of L2"),
        ("kidney / left / stone / 6 mm", "6 mm stone in the left kidney"),
        ("kidney, stones", "kidney stone"),
        ("lung - nodule - left upper lobe - 7 mm", "7 mm nodule in the left upper lobe"),
        ("liver, nodule, right lobe, 2 cm", "2 cm nodule in the liver on the right"),
        ("tail - pancreas", "tail of the pancreas"),
    ],
)
def test_sides_findings_and_sizes(text: str, plain: str) -> None:
    assert read(text) == read(plain)


@pytest.mark.parametrize(
    ("text", "concepts"),
    [
        ("liver, spleen, kidneys", ["liver", "spleen", "kidney"]),
        ("lung, airways, heart", ["lung", "airways", "heart"]),
        ("L1, L2, L3", ["L1 vertebra", "L2 vertebra", "L3 vertebra"]),
        ("stomach, duodenum", ["stomach", "duodenum"]),
        ("uterus, ovaries, bladder", ["uterus", "ovary", "urinary bladder"]),
        ("kidney, ureter, left", ["kidney", "ureter"]),
        ("L5/S1 disc", ["L5-S1 disc"]),
    ],
)
def test_lists_stay_lists(text: str, concepts: list[str]) -> None:
    assert [concept for concept, _, _ in read(text)] == concepts


def test_one_side_of_an_organ_in_the_midline() -> None:
    assert read("lesion in the left peripheral zone, 14 mm") == [
        ("prostate lesion", "left", (14.0, 14.0))
    ]
    assert read("stone in the left half of the bladder")[0][:2] == ("bladder stone", "left")
    assert read("cyst in the spleen")[0][:2] == ("splenic cyst", None)


@pytest.mark.parametrize(
    ("text", "concept", "side"),
    [
        ("M. latissimus dorsi sin.", "latissimus dorsi muscle", "left"),
        ("ren sin.", "kidney", "left"),
        ("V. femoralis dext.", "femoral vein", "right"),
        ("A. renalis sin. et dext.", "renal artery", "both"),
        ("right main pulmonary artery", "pulmonary artery", "right"),
    ],
)
def test_sides_in_latin_and_in_names(text: str, concept: str, side: str) -> None:
    assert [row[:2] for row in read(text)] == [(concept, side)]
