"""What people put around a request: the core keeps its reading, whatever stands before or behind.

The cores are read alone, too, by the same grammar; ``test_cores`` pins their readings by hand.
"""

from __future__ import annotations

import pytest

from textseg3d.text.grammar import parse_prompt

CORES = {
    "the left kidney": ("kidney", "left", None),
    "the right oblique fissure": ("oblique fissure of lung", "right", None),
    "the spinal cord": ("spinal cord", None, None),
    "an 8 mm nodule in the left lower lobe": ("pulmonary nodule", "left", (8.0, 8.0)),
    "a stone of 6 mm in the right ureter": ("ureteral stone", "right", (6.0, 6.0)),
    "the hippocampi": ("hippocampus", "both", None),
    "the aortic valve": ("aortic valve", None, None),
}
BEFORE = """\
I'd be glad of an outline of
Can I have
I wonder if you could outline
Draw a line around
Put a contour around
Create an ROI around
Without further ado, segment
Never mind anything. Segment
Special attention to
In preparation for surgery, outline
For the ablation, outline
The structure I need is
The object of interest is
Structure of interest:
Hide everything but
Ignore everything except
What I want is""".splitlines()
BEHIND = """\
so that I can judge its size
so I can measure it
as one mask
as a nodal target volume
as a mesh
before the TAVI procedure
before aspiration
until noon
by Friday
right away
all right
all the way up
from one end to the other
with a thin line
with all of its parts
whatever its size
in ml
even where it is hard to see
despite the metal artifacts
on the 3 mm reconstruction
the way you did before
if that is possible
drawn on this CT
and nothing above or below
to plan the stent
to within 1 mm
(T2)
(thin slices)
and discard everything else""".splitlines()


def reading(text: str) -> tuple[str, list[tuple]]:
    parsed = parse_prompt(text)
    return parsed.status, [(t.concept, t.side, t.size_mm) for t in parsed.targets]


@pytest.mark.parametrize("core", CORES)
def test_cores(core):
    assert reading(core) == ("ok", [CORES[core]])


@pytest.mark.parametrize("before", BEFORE)
def test_before(before):
    for core, expected in CORES.items():
        assert reading(f"{before} {core}") == ("ok", [expected]), core


@pytest.mark.parametrize("behind", BEHIND)
def test_behind(behind):
    for core, expected in CORES.items():
        assert reading(f"Segment {core} {behind}") == ("ok", [expected]), core


@pytest.mark.parametrize(
    ("text", "status", "targets"),
    [
        ("thyroid gland, isthmus included", "ok", [("thyroid gland", None, None)]),
        ("the C2 vertebra including the dens", "ok", [("C2 vertebra", None, None)]),
        ("the right subclavian vein; show me the vein", "ok", [("subclavian vein", "right", None)]),
        ("lipoma of the left neck: mask of the fatty mass", "ok", [("lipoma", "left", None)]),
        ("left lung, 2 kidneys, two structures", "ok", None),
        (
            "Thyroid nodules, 12 mm in the left lobe and 18 mm in the right lobe, outline both",
            "ok",
            [("thyroid nodule", "left", (12.0, 12.0)), ("thyroid nodule", "right", (18.0, 18.0))],
        ),
        (
            "left epidural hematoma, 22 mm thick, to be evacuated: segment",
            "ok",
            [("epidural hematoma", "left", (22.0, 22.0))],
        ),
        ("What is the extent of the left kidney? Paint it.", None, [("kidney", "left", None)]),
        # What looks alike and does say something:
        ("left hematoma was evacuated", "negated", None),
        (
            "breast implant rupture, right?",
            "uncertain",
            [("breast implant rupture", "right", None)],
        ),
        ("no nodule in the left lung", "negated", None),
        (
            "liver, spleen and kidneys included",
            "ok",
            [("liver", None, None), ("spleen", None, None), ("kidney", "both", None)],
        ),
        ("liver including the spleen", "ok", [("liver", None, None), ("spleen", None, None)]),
        ("CT before biopsy of the left renal mass", "ok", [("renal mass", "left", None)]),
        (
            "the left kidney as well as the whole right kidney",
            "ok",
            [("kidney", "both", None)],
        ),
        ("For vein mapping, the femoral veins", "ok", [("femoral vein", "both", None)]),
        (
            "For the DVT series, mark the left popliteal vein.",
            "ok",
            [("popliteal vein", "left", None)],
        ),
        ("edema around the left knee", "ok", None),
        (
            "please outline the carina of trachea, the trachea and the amygdala",
            "ok",
            [("carina of trachea", None, None), ("trachea", None, None), ("amygdala", None, None)],
        ),
        ("nothing in the left lung", None, None),
    ],
)
def test_examples(text, status, targets):
    found = reading(text)
    assert status in (None, found[0])
    assert targets in (None, found[1])
