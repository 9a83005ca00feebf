"""What a text tells beside a request: no target, unless the request means it.

The readings are written by hand; the contexts name structures and findings that must not come
back, or whose side is that of what is asked for.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from textseg3d.text.grammar import parse_prompt

TELLING = """\
The patient has a pacemaker
History of breast cancer
Status post cholecystectomy
I see a cyst in the pancreas
My colleague has drawn the sternum
The scan covers the trachea to the bladder
MRI of the whole spine
The report mentions a thymoma
The splenic cyst measured 4 cm last year
The label of the colon is wrong
Everything else is labelled
A 61-year-old woman with ovarian cancer
The carina is at slice 40
You can ignore the stomach
A rectal tumor was resected""".splitlines()
ASKING = """\
Outline {}
Please segment {}
I need {}
My target is {}
What I want is {}
We would like to have {} segmented
{} is what I need
{} should be outlined
The structure to segment is {}
Just {}, please""".splitlines()
CORES = {
    "the left kidney": ("kidney", "left", None),
    "the spinal cord": ("spinal cord", None, None),
    "an 8 mm nodule in the left lower lobe": ("pulmonary nodule", "left", (8.0, 8.0)),
    "both adrenal glands": ("adrenal gland", "both", None),
}
FORMS = ("{told}. {asked}.", "{told}; {asked}.", "{asked}. {told}.", "{told}, {asked}.")


def _targets(text: str) -> tuple[str, list[tuple[str, str | None, tuple[float, float] | None]]]:
    prompt = parse_prompt(text)
    return prompt.status, [(t.concept, t.side, t.size_mm) for t in prompt.targets]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("told", TELLING)
def test_what_is_told_is_no_target(told: str, form: str) -> None:
    for at, asking in enumerate(ASKING):
        core = list(CORES)[at % len(CORES)]
        asked = asking.format(core)
        later = asked[0].lower() + asked[1:] if form.index("{told}") == 0 else asked
        text = form.format(told=told, asked=asked if "}. {" in form else later)
        assert _targets(text) == ("ok", [CORES[core]]), text


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("MRI of the right knee; pick out the ACL there", ("anterior cruciate ligament", "right")),
        ("She fell on her right hip yesterday, show the femoral neck", ("femoral neck", "right")),
        ("The left knee is shown here. Where is the patella?", ("patella", "left")),
        ("Of the left wrist I only need the capitate", ("capitate bone", "left")),
        ("Look at the right orbit and outline the optic nerve there", ("optic nerve", "right")),
        ("Left knee MRI, please mark the patellar tendon", ("patellar tendon", "left")),
        ("Mask of the femoral neck, left hip only", ("femoral neck", "left")),
        ("left shoulder scapula", ("scapula", "left")),
        ("Left kidney: renal vein", ("renal vein", "left")),
        ("Stone in the left kidney; outline the kidney", ("kidney", "left")),
        ("Is the left cochlea ossified? Outline the cochlea.", ("cochlea", "left")),
        ("The patient has a cyst in the left kidney. Outline the spleen.", ("spleen", None)),
        ("There is a large effusion on the right; please mark the left lung", ("lung", "left")),
    ],
)
def test_a_side_that_is_told_holds_for_what_lies_there(
    text: str, target: tuple[str, str | None]
) -> None:
    status, targets = _targets(text)
    assert (status, [t[:2] for t in targets]) == ("ok", [target])


@pytest.mark.parametrize(
    ("text", "concept", "side", "size"),
    [
        ("The patient has a TIPS; give me the shunt", None, None, None),
        (
            "Pelvic phleboliths on the left mimic stones; mark those phleboliths",
            "phlebolith",
            "left",
            None,
        ),
        (
            "A 6 mm nodule was seen in the left lung. Outline the nodule",
            "pulmonary nodule",
            "left",
            6.0,
        ),
        ("Known 6 mm nodule in the left lung; outline the lesion", "pulmonary nodule", "left", 6.0),
        (
            "We measured 11 mm for the node in station 4R; mask this node",
            "lower paratracheal lymph nodes",
            "right",
            11.0,
        ),
        (
            "The bright thing in the left orbit is a foreign body of 3 mm",
            "foreign body",
            "left",
            3.0,
        ),
        (
            "Two cysts: right kidney 2 cm, left kidney 4 cm. Segment the one in the left kidney",
            "renal cyst",
            "left",
            None,
        ),
    ],
)
def test_what_was_told_and_is_asked_for_in_other_words(
    text: str, concept: str | None, side: str | None, size: float | None
) -> None:
    status, targets = _targets(text)
    wanted = concept or "transjugular intrahepatic portosystemic shunt"
    assert status == "ok"
    assert targets == [(wanted, side, None if size is None else (size, size))]


@pytest.mark.parametrize(
    "text",
    [
        "The left kidney was removed; outline the right one",
        "Outline the right kidney; the left one was removed",
        "Since the left kidney is small, concentrate on the right one and outline it",
        "I want the right kidney instead of the left one",
        "I'd rather have the right kidney than the left one",
        "left kidney, sorry, right kidney",
        "Not the left but the right kidney",
    ],
)
def test_the_other_one(text: str) -> None:
    assert _targets(text) == ("ok", [("kidney", "right", None)])


@pytest.mark.parametrize(
    ("text", "concept"),
    [
        ("I am a physicist, not a doctor: which voxels belong to the pancreas?", "pancreas"),
        ("Our data set still lacks the pancreas, please outline it", "pancreas"),
        ("I can't find the pancreas; you try", "pancreas"),
        ("Nothing was said about the pancreas in the report, yet outline it", "pancreas"),
        ("Without touching the spleen, outline the pancreas", "pancreas"),
        ("No teeth, just the mandible", "mandible"),
        ("Not all of the liver, just the left lobe", "left lobe of liver"),
        ("The aorta, but only its abdominal part", "abdominal aorta"),
        ("The artery which supplies the spleen", "splenic artery"),
        ("Everything but the brain should be blank", "brain"),
        ("the liver on this CT enterography", "liver"),
    ],
)
def test_words_that_deny_something_else(text: str, concept: str) -> None:
    assert _targets(text) == ("ok", [(concept, None, None)])


@pytest.mark.parametrize(
    ("text", "concepts"),
    [
        ("There is a cyst in the liver. Also outline the spleen.", ["hepatic cyst", "spleen"]),
        (
            "Smooth contour of the liver. There is a cyst in the left kidney.",
            ["liver", "renal cyst"],
        ),
        (
            "Right ovarian cyst of 3.7 cm. Trace pelvic free fluid.",
            ["ovarian cyst", "pelvic free fluid"],
        ),
        ("Outline the liver and mark the spleen", ["liver", "spleen"]),
        ("Cyst in the liver, please compare with the CT of the abdomen.", ["hepatic cyst"]),
        ("a) left lung b) right lung c) heart", ["lung", "heart"]),
        (
            "One mask for the right atrium, another for the left atrium",
            ["right atrium", "left atrium"],
        ),
    ],
)
def test_nothing_is_lost_that_may_be_meant(text: str, concepts: list[str]) -> None:
    assert [t.concept for t in parse_prompt(text).targets] == concepts


@pytest.mark.parametrize("end", ["", " Outline it.", " Please segment this nodule."])
def test_a_size_in_a_sentence_of_its_own_is_that_of_what_was_named(end: str) -> None:
    text = f"There is a nodule in the right upper lobe. It measures 7 mm.{end}"
    assert _targets(text) == ("ok", [("pulmonary nodule", "right", (7.0, 7.0))])


def test_a_number_ends_its_sentence() -> None:
    assert [t.concept for t in parse_prompt("Best on slice 40. Outline the liver.").targets] == [
        "liver"
    ]


@pytest.mark.parametrize(
    "request_",
    [
        "Please see the separate report of the spine.",
        "Ultrasound of the liver is requested.",
        "We need a CT of the abdomen.",
    ],
)
def test_an_examination_that_is_asked_for_drops_no_finding(request_: str) -> None:
    prompt = parse_prompt(f"There is a 6 mm nodule in the left lung. {request_}")
    assert "pulmonary nodule" in [t.concept for t in prompt.targets]


def test_reports_keep_what_they_tell() -> None:
    """No report sentence of the phrasings asks, so none of them may lose a finding."""
    path = Path(__file__).with_name("phrasings.jsonl")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    told = [r for r in rows if r["text"].endswith(".") and len(r["targets"]) > 1]
    kept = sum(len(parse_prompt(r["text"]).to_json()["targets"]) >= len(r["targets"]) for r in told)
    assert len(told) > 200
    assert kept >= 0.97 * len(told)


@pytest.mark.parametrize(
    "text",
    [
        "Outline the liver without the lesions.",
        "Outline the liver and leave the lesions out",
        "Outline the liver and ignore the lesions",
        "Segment the liver, not the lesions",
    ],
)
def test_findings_that_a_request_leaves_out_are_cut_out_and_not_denied(text: str) -> None:
    prompt = parse_prompt(text)
    (target,) = prompt.targets
    assert (prompt.status, target.concept) == ("ok", "liver")
    assert [place.concept for place in target.exclusions] == ["liver lesion"]


def test_the_same_words_in_a_report_deny() -> None:
    assert parse_prompt("Liver without focal lesion.").status == "negated"
