"""Two findings, places or sides in one text: what is told once for both, and what is not."""

from __future__ import annotations

import pytest

from textseg3d.text.grammar import parse_prompt

Wanted = list[tuple[str, str | None, object]]
EFFUSIONS: Wanted = [("pleural effusion", "left", None), ("pleural effusion", "right", None)]

CASES: dict[str, Wanted] = {
    # a side that stands before the first finding holds for the second one, where both are paired
    "Moderate left hydronephrosis and hydroureter.": [
        ("hydronephrosis", "left", None),
        ("hydroureter", "left", None),
    ],
    "LLL consolidation with small effusion": [
        ("consolidation", "left", None),
        ("pleural effusion", "left", None),
    ],
    "left hydronephrosis and gallstone": [
        ("hydronephrosis", "left", None),
        ("gallstone", None, None),
    ],
    "Large joint effusion in the left knee and a 4.5 cm Baker cyst.": [
        ("joint effusion", "left", None),
        ("Baker cyst", "left", (45.0, 45.0)),
    ],
    "left subdural and a nodule in the lung": [
        ("subdural hematoma", "left", None),
        ("pulmonary nodule", None, None),
    ],
    "effusion and pneumothorax on the left": [
        ("pleural effusion", "left", None),
        ("pneumothorax", "left", None),
    ],
    # each its own side and size
    "nodule LUL 5 mm, RLL 8 mm": [
        ("pulmonary nodule", "left", (5.0, 5.0)),
        ("pulmonary nodule", "right", (8.0, 8.0)),
    ],
    "Cyst right kidney 3 cm, left kidney 2 cm": [
        ("renal cyst", "right", (30.0, 30.0)),
        ("renal cyst", "left", (20.0, 20.0)),
    ],
    "1.2 cm right and 8 mm left thyroid nodules": [
        ("thyroid nodule", "right", (12.0, 12.0)),
        ("thyroid nodule", "left", (8.0, 8.0)),
    ],
    "5 mm (R) and 3 mm (L) kidney stones": [
        ("kidney stone", "right", (5.0, 5.0)),
        ("kidney stone", "left", (3.0, 3.0)),
    ],
    # "the right one" is another one, unless there is nothing wrong with it
    "Left pleural effusion has increased; the right one is unchanged.": EFFUSIONS,
    "The left adrenal nodule is stable; the right one has grown to 2 cm.": [
        ("adrenal nodule", "left", None),
        ("adrenal nodule", "right", (20.0, 20.0)),
    ],
    "pneumothorax on the left, the right is clear": [("pneumothorax", "left", None)],
    "Breast implant rupture on the left; the right implant is intact.": [
        ("breast implant rupture", "left", None)
    ],
    # a place within another place
    "Both kidneys are normal except a 3 cm cyst in the right upper pole": [
        ("renal cyst", "right", (30.0, 30.0))
    ],
    "L4 left pedicle": [("pedicle of vertebra", "left", None)],
    "At S2 on the left, a perineural cyst of 13 mm.": [("perineural cyst", "left", (13.0, 13.0))],
    "in the left kidney, lower pole, a 6 mm stone": [("kidney stone", "left", (6.0, 6.0))],
    "perinephric fat around the right kidney": [("perirenal fat", "right", None)],
    "osteonecrosis of the femoral heads": [("osteonecrosis", "both", None)],
    "left prostate lesion": [("prostate lesion", "left", None)],
    "right hilar and subcarinal nodes": [
        ("hilar lymph nodes", "right", None),
        ("subcarinal lymph nodes", None, None),
    ],
    "true and false lumen of the aortic dissection": [
        ("true lumen of aortic dissection", None, None),
        ("false lumen of aortic dissection", None, None),
    ],
    # what is not asked for, and sizes of something else
    "ACL not needed, just the MCL of the left knee": [("medial collateral ligament", "left", None)],
    "Liver abscess of 7 cm, drainage advised.": [("liver abscess", None, (70.0, 70.0))],
    "Still missing from the set: the right thalamus.": [("thalamus", "right", None)],
    "Of the two patellae, contour the left one.": [("patella", "left", None)],
    "increase in size of the RUL nodule from 6 to 9 mm": [
        ("pulmonary nodule", "right", (9.0, 9.0))
    ],
    "umbilical hernia, 2 cm neck": [("umbilical hernia", None, None)],
}

DENIED: dict[str, Wanted] = {
    "No left-sided pneumothorax or effusion.": [
        ("pneumothorax", "left", None),
        ("pleural effusion", "left", None),
    ],
    "Neither pleural effusion nor pneumothorax on the left.": [
        ("pleural effusion", "left", None),
        ("pneumothorax", "left", None),
    ],
    "No subdural or epidural hematoma over the right hemisphere.": [
        ("subdural hematoma", "right", None),
        ("epidural hematoma", "right", None),
    ],
    "left ureter free of stones": [("ureteral stone", "left", None)],
    "Status post right nephrectomy without residual mass": [("residual mass", None, None)],
    "ACL not needed": [("anterior cruciate ligament", None, None)],
}

DOUBTED: dict[str, Wanted] = {
    "polyp? ascending colon": [("colonic polyp", None, None)],
    "low probability for pulmonary embolism": [("pulmonary embolism", None, None)],
    "Findings are equivocal for thymoma.": [("thymoma", None, None)],
}


def _check(text: str, status: str, targets: Wanted) -> None:
    parsed = parse_prompt(text)
    assert parsed.status == status
    assert [(t.concept, t.side, t.size_mm) for t in parsed.targets] == targets


@pytest.mark.parametrize(("text", "targets"), CASES.items())
def test_affirmed(text: str, targets: Wanted) -> None:
    _check(text, "ok", targets)


@pytest.mark.parametrize(("text", "targets"), DENIED.items())
def test_denied(text: str, targets: Wanted) -> None:
    _check(text, "negated", targets)


@pytest.mark.parametrize(("text", "targets"), DOUBTED.items())
def test_doubted(text: str, targets: Wanted) -> None:
    _check(text, "uncertain", targets)


def test_a_shared_side_is_told() -> None:
    parsed = parse_prompt("right effusion and atelectasis")
    assert parsed.hint is not None
    assert "'right' is taken for 'atelectasis' too" in parsed.hint
