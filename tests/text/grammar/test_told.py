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
    # one side has it, the other has not
    "The right effusion has resolved and the left persists.": [("pleural effusion", "left", None)],
    "The left effusion has resolved; the right is unchanged.": [
        ("pleural effusion", "right", None)
    ],
    "hydronephrosis on the left but not on the right": [("hydronephrosis", "left", None)],
    "No hydronephrosis on the right; mild on the left.": [("hydronephrosis", "left", None)],
    "right but not left effusion": [("pleural effusion", "right", None)],
    "cyst in the left kidney, not in the right": [("renal cyst", "left", None)],
    # both sides, each with words of its own
    "Trace right, moderate left pleural effusion.": [("pleural effusion", "both", None)],
    "Large right and small left pleural effusions": [("pleural effusion", "both", None)],
    "Pleural effusion, right, moderate; left, trace.": [("pleural effusion", "both", None)],
    "Bilateral renal cysts, the largest on the left measuring 3.6 cm.": [
        ("renal cyst", "both", (36.0, 36.0))
    ],
    "right renal cyst 2 cm, left 3 cm": [
        ("renal cyst", "right", (20.0, 20.0)),
        ("renal cyst", "left", (30.0, 30.0)),
    ],
    "Right lower lobe 5 mm and left upper lobe 7 mm nodules": [
        ("pulmonary nodule", "right", (5.0, 5.0)),
        ("pulmonary nodule", "left", (7.0, 7.0)),
    ],
    "8 mm stone in the left kidney and a 4 mm one in the right ureter": [
        ("kidney stone", "left", (8.0, 8.0)),
        ("ureteral stone", "right", (4.0, 4.0)),
    ],
    # what stands in brackets behind a finding is its place
    "hemangioma (left rectus femoris muscle)": [("hemangioma", "left", None)],
    "left pleural effusion (right lung clear)": [("pleural effusion", "left", None)],
    # sizes of another day, of a part, along several axes
    "Subdural hematoma over the left convexity: 6 mm on 3 May, now 4 mm.": [
        ("subdural hematoma", "left", (4.0, 4.0))
    ],
    "Thymoma, 5.1 x 3.7 cm; it was 4.4 x 3.3 cm in January.": [("thymoma", None, (51.0, 51.0))],
    "Epidural hematoma on the left, 17 mm in thickness (05:40 h: 9 mm).": [
        ("epidural hematoma", "left", (17.0, 17.0))
    ],
    "Nodule in the right lower lobe 6 mm -> 8 mm": [("pulmonary nodule", "right", (8.0, 8.0))],
    "Nodule has grown from 6 mm in 2019 to 9 mm.": [("nodule", None, (9.0, 9.0))],
    "8 mm (prev. 6 mm) GGN in RUL": [("ground-glass nodule", "right", (8.0, 8.0))],
    "Pseudoaneurysm of the right femoral artery, 2.4 x 1.9 cm, with a neck 4 mm wide.": [
        ("pseudoaneurysm", "right", (24.0, 24.0))
    ],
    "Bronchocele in the lingula, 9 mm in calibre and 31 mm in length.": [
        ("bronchocele", "left", (31.0, 31.0))
    ],
    "Hematoma of the right breast, 27 x 18 mm, 3 cm behind the nipple.": [
        ("breast hematoma", "right", (27.0, 27.0))
    ],
    # what is said beside
    "Plaques on both pleurae, some of them calcified": [("pleural plaque", "both", None)],
    "Bone lesion in the right ilium of 9 mm, not seen in 2017.": [
        ("bone lesion", "right", (9.0, 9.0))
    ],
    "Sequestration of the left lower lobe fed by a 5 mm artery from the aorta.": [
        ("pulmonary sequestration", "left", None)
    ],
    "Gallbladder: stone of 16 mm in the neck.": [("gallstone", None, (16.0, 16.0))],
    "L5-S1 left paracentral disc protrusion 6 mm": [("disc herniation", "left", (6.0, 6.0))],
    "left 4th-7th rib fractures": [("rib fracture", "left", None)],
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
