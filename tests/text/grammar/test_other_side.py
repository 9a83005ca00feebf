"""Sides that are told by the other one, and what is only said of the other side."""

import json
import re
from itertools import product
from pathlib import Path

import pytest

from textseg3d.text.grammar import parse_prompt

MIRROR = {"left": "right", "right": "left", None: None, "both": "both"}


def mirrored(text: str) -> str:
    words = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
    return " ".join(
        next((w.replace(a, b) for a, b in words.items() if a in w), w) for w in text.split(" ")
    )


def read(text: str) -> list[tuple[str, str | None]]:
    return [(target.concept, target.side) for target in parse_prompt(text).targets]


@pytest.mark.parametrize(
    ("text", "concept", "side"),
    [
        (
            "The patient has had a right nephrectomy; segment the remaining kidney.",
            "kidney",
            "left",
        ),
        ("Left kidney was removed. Outline the other kidney.", "kidney", "right"),
        ("Left kidney was removed, outline the other one.", "kidney", "right"),
        ("status post left mastectomy, outline the remaining breast", "breast", "right"),
        ("There is a fracture of the left femur. Segment the healthy femur.", "femur", "right"),
        ("The left lung is collapsed. Outline the unaffected lung.", "lung", "right"),
        ("Tumour in the right breast, mark the other breast for comparison.", "breast", "left"),
        ("Right kidney absent. Segment the only kidney.", "kidney", "left"),
        ("Stone in the left ureter. Trace the other ureter.", "ureter", "right"),
        ("Left ICA is occluded; outline the patent ICA.", "internal carotid artery", "right"),
        ("She lost her left eye; delineate the remaining globe.", "eyeball", "right"),
        # What is gone is only a part: the rest is on the same side.
        ("After right upper lobectomy, outline the remaining lung.", "lung", "right"),
        (
            "The upper lobe of the left lung was removed. Segment the remaining lung.",
            "lung",
            "left",
        ),
        # Nothing says which one is meant.
        ("the other kidney", "kidney", None),
        ("Fracture of the right scaphoid; the scaphoid of the other hand", "scaphoid bone", None),
        ("Right scaphoid fracture. Outline the scaphoid of the other hand", "scaphoid bone", None),
        ("The tumor is on the left. Outline the other kidney.", "kidney", None),
        ("Solitary right kidney; segment it", "kidney", "right"),
        ("outline all right metatarsals", "metatarsal bones", "right"),
    ],
)
def test_the_other_one_of_a_pair(text, concept, side):
    assert read(text)[-1] == (concept, side)
    assert read(mirrored(text))[-1] == (concept, MIRROR[side])


def test_what_was_removed_is_no_target():
    assert read("Right nephrectomy; outline the remaining kidney.") == [("kidney", "left")]


def test_what_is_left_is_no_left_side():
    assert read("left nephrectomy, mark the kidney that is left") == [("kidney", "right")]
    assert read("right nephrectomy, mark the kidney that is left") == [("kidney", "left")]


def test_no_phrasing_keeps_its_side_when_left_and_right_are_swapped():
    """Whatever a phrasing is taken for: what it has on one side, its mirror image has not."""
    swapped = {"left": "right", "right": "left"}
    kept, count = [], 0
    for line in Path(__file__).with_name("phrasings.jsonl").read_text("utf-8").splitlines():
        text = json.loads(line)["text"].lower()
        sides = set(re.findall(r"\b(left|right)\b", text))
        if len(sides) != 1 or re.search(r"\b[rl][uml]l\b", text):  # RUL, LLL say a side, too
            continue
        other = re.sub(r"\b(left|right)\b", lambda match: swapped[match.group()], text)
        one, two = (dict(read(t)) for t in (text, other))
        count += 1
        kept += [text for c, side in one.items() if side in swapped and two.get(c) == side]
    assert count > 5000
    assert not kept


FINDINGS = [
    ("cyst", "kidney", "renal cyst"),
    ("5 mm nodule", "lung", "pulmonary nodule"),
    ("fracture", "femur", "femoral fracture"),
    ("4 mm stone", "ureter", "ureteral stone"),
]
SAID = [
    "the right {o} is small",
    "the right {o} looks different",
    "the right {o} was not imaged",
    "the right {o} cannot be assessed",
    "the right {o} serves as comparison",
    "the right {o} has healed",
    "the right {o} shows no such finding",
    "the right {o} is not included",
    "the right {o} is 11 cm long",
    "the right one is unremarkable",
    "the right side is not affected",
    "on the right all is well",
    "nothing on the right",
]


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("mark", [", ", "; ", " and ", ", but ", ", while ", " - "])
def test_what_is_said_of_the_other_side_is_no_finding_there(said, mark):
    for (finding, organ, concept), head in product(FINDINGS, ["", "outline the "]):
        text = f"{head}{finding} in the left {organ}{mark}{said.format(o=organ)}"
        assert read(text) == [(concept, "left")], text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "cyst in the left kidney and the right kidney has a stone",
            [("renal cyst", "left"), ("kidney stone", "right")],
        ),
        (
            "5 mm nodule in the left lung, the right lung is fibrotic",
            [("pulmonary nodule", "left"), ("pulmonary fibrosis", "right")],
        ),
        (
            "Nodules in the left lung, the right lung is affected too",
            [("pulmonary nodule", "left"), ("pulmonary nodule", "right")],
        ),
        ("Stones in the left kidney and the right kidney are seen", [("kidney stone", "both")]),
    ],
)
def test_what_the_other_side_has_is_a_finding_there(text, expected):
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Right side only: kidney, adrenal gland, ureter", ["kidney", "adrenal gland", "ureter"]),
        ("RIGHT: pleural effusion, atelectasis. LEFT: clear.", ["pleural effusion", "atelectasis"]),
        ("I only care about the right side: kidney and ureter", ["kidney", "ureter"]),
    ],
)
def test_a_side_that_is_the_heading_of_a_list(text, expected):
    assert read(text) == [(concept, "right") for concept in expected]


@pytest.mark.parametrize(
    ("text", "concept"),
    [
        ("the kidney, without the renal pelvis", "kidney"),
        ("Volume of the left ventricle, please, without the papillary muscles.", "left ventricle"),
        ("prostate, without seminal vesicles", "prostate"),
    ],
)
def test_what_a_structure_is_wanted_without_is_no_target(text, concept):
    assert read(text) == [(concept, None)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Please outline the spleen; last year it measured 14 cm.", ("spleen", None)),
        (
            "Outline the left atrial appendage, I need to rule out thrombus first.",
            ("left atrial appendage", None),
        ),
        (
            "Mark the pleural effusion on the right only, there is some on the left as well.",
            ("pleural effusion", "right"),
        ),
    ],
)
def test_what_stands_beside_a_request(text, expected):
    prompt = parse_prompt(text)
    assert prompt.status == "ok"
    assert read(text) == [expected]
    assert prompt.targets[0].size_mm is None
