"""The examination at the head of a worklist's line is no target; structures in its place are."""

from __future__ import annotations

import pytest

from textseg3d.text.grammar import parse_prompt


@pytest.mark.parametrize(
    ("text", "status", "targets"),
    [
        ("CT HEAD W/O - epidural hematoma R, measure", "ok", [("epidural hematoma", "right")]),
        ("CT abdomen w/o contrast: kidney stones", "ok", [("kidney stone", None)]),
        ("CTA CHEST // descending aorta // contour", "ok", [("descending aorta", None)]),
        ("MR hip R - acetabular labrum", "ok", [("acetabular labrum", "right")]),
        ("MR hip R - acetabular labrum L", "ok", [("acetabular labrum", "left")]),
        ("MR breast L: cyst", "ok", [("breast cyst", "left")]),  # not any cyst
        ("MR brain W/O: lesion", "ok", [("brain tumor", None)]),
        ("CT mediastinum: mass 3 cm", "ok", [("mediastinal mass", None)]),
        ("CTA HEAD - AVM L PARIETAL LOBE", "ok", [("arteriovenous malformation of brain", "left")]),
        ("CT head without contrast: no hemorrhage", "negated", [("intracranial hemorrhage", None)]),
        ("CT neck/chest: nodes", "ok", [("lymph nodes", None)]),
        ("MRI liver - lesions", "ok", [("liver lesion", None)]),
        ("CT kidneys - stones", "ok", [("kidney stone", None)]),
        ("US scrotum - outline the spermatocele on the right", "ok", [("spermatocele", "right")]),
        ("CT chest without pneumothorax", "negated", [("pneumothorax", None)]),
        ("CT liver, spleen", "ok", [("liver", None), ("spleen", None)]),
        ("CT: liver", "ok", [("liver", None)]),
        ("CT of the left kidney", "ok", [("kidney", "left")]),
        ("head, neck", "ok", [("head", None), ("neck", None)]),
    ],
)
def test_the_examination_is_no_target(text, status, targets):
    parsed = parse_prompt(text).to_json()
    assert parsed["status"] == status
    assert [(t["concept"], t["side"]) for t in parsed["targets"]] == targets


@pytest.mark.parametrize(
    ("text", "side"), [("optic neuritis OD", "right"), ("coloboma OS", "left"), ("lens OU", "both")]
)
def test_eyes_have_their_own_sides(text, side):
    assert [t.side for t in parse_prompt(text).targets] == [side]


def test_the_bone_is_no_left_eye():
    assert [t.concept for t in parse_prompt("os temporale").targets] == ["temporal bone"]
