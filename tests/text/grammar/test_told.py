"""How reports tell: comparisons with the other side, distances, headings, lists by side."""

from __future__ import annotations

import pytest

from textseg3d.text.grammar import parse_prompt

CASES = {
    # what is compared with the other side keeps its own; "more on one than on the other" is both
    "right kidney larger than left": [("kidney", "right", None)],
    "left adrenal nodule, smaller than the right one": [("adrenal nodule", "left", None)],
    "Right effusion is larger than the left effusion": [("pleural effusion", "right", None)],
    "bilateral effusions, larger on the right than on the left": [
        ("pleural effusion", "both", None)
    ],
    "Atelectasis worse on the right than the left": [("atelectasis", "both", None)],
    "right greater than left pleural effusions": [("pleural effusion", "both", None)],
    # a number before a unit is a size, not the number of a segment
    "CT KUB - segment the 4 mm stone in the distal right ureter": [
        ("ureteral stone", "right", (4.0, 4.0))
    ],
    "segment 4 mm nodule in the left lung": [("pulmonary nodule", "left", (4.0, 4.0))],
    # distances are no sizes, and what they are from is no place
    "8 mm nodule in the left upper lobe, 5 mm from the pleura": [
        ("pulmonary nodule", "left", (8.0, 8.0))
    ],
    "aortic dissection beginning 2 cm beyond the left subclavian artery": [
        ("aortic dissection", None, None)
    ],
    "Pulmonary hamartoma (LLL), 1.9 cm, 2017: 1.8 cm.": [
        ("pulmonary hamartoma", "left", (19.0, 19.0))
    ],
    # one finding whose heading and whose own place are different structures
    "Angiography of the right leg: occlusion of the popliteal artery": [
        ("arterial occlusion", "right", None)
    ],
    "Left eye with a coloboma at the optic nerve head": [("coloboma", "left", None)],
    "MR HIP (R): labral tear with a 7 mm paralabral cyst": [
        ("labral tear", "right", None),
        ("paralabral cyst", "right", (7.0, 7.0)),
    ],
    "MR knee L: ACL, PCL": [
        ("anterior cruciate ligament", "left", None),
        ("posterior cruciate ligament", "left", None),
    ],
    "Brain metastases: right frontal 11 mm, left cerebellar 6 mm.": [
        ("brain metastasis", "right", (11.0, 11.0)),
        ("brain metastasis", "left", (6.0, 6.0)),
    ],
    # where something is moved to
    "Concha bullosa on the left, nasal septal deviation to the right.": [
        ("concha bullosa", "left", None),
        ("nasal septal deviation", None, None),
    ],
    "lipoma deep to the left pectoralis major": [("lipoma", "left", None)],
    "fracture of the left radius": [("radius fracture", "left", None)],
}


@pytest.mark.parametrize(("text", "targets"), CASES.items())
def test_what_is_told(text: str, targets: list[tuple[str, str | None, object]]) -> None:
    parsed = parse_prompt(text)
    assert parsed.status == "ok"
    assert [(t.concept, t.side, t.size_mm) for t in parsed.targets] == targets


def test_as_is_denies_both() -> None:
    parsed = parse_prompt("Mediastinal hematoma is absent, as is hemopericardium.")
    assert parsed.status == "negated"
    assert [t.concept for t in parsed.targets] == ["mediastinal hematoma", "hemopericardium"]


def test_what_lies_deep_to_a_muscle_is_not_in_it() -> None:
    (target,) = parse_prompt("lipoma deep to the left pectoralis major").targets
    assert not target.places
