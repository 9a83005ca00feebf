"""What is told of two structures, or of one on either side, in one sentence."""

from itertools import product

import pytest

from textseg3d.text.grammar import parse_prompt

# structure and finding there, the other structure and finding there
PAIRS = [
    (
        ("left kidney", "cyst", "renal cyst", "left"),
        ("right kidney", "cyst", "renal cyst", "right"),
    ),
    (
        ("right lung", "mass", "pulmonary mass", "right"),
        ("left lung", "mass", "pulmonary mass", "left"),
    ),
    (
        ("left ovary", "cyst", "ovarian cyst", "left"),
        ("right ovary", "cyst", "ovarian cyst", "right"),
    ),
    (("liver", "cyst", "hepatic cyst", None), ("spleen", "cyst", "splenic cyst", None)),
    (("pancreas", "lesion", "pancreatic lesion", None), ("liver", "lesion", "liver lesion", None)),
    (
        ("bladder", "stone", "bladder stone", None),
        ("left ureter", "stone", "ureteral stone", "left"),
    ),
]
ONLY_THE_FIRST = [
    "Compared with the {b}, the {a} contains a {f}.",
    "Unlike the {b}, the {a} has a {f}.",
    "The {a}, unlike the {b}, contains a {f}.",
    "In contrast to the {b}, the {a} shows a {f}.",
    "There is a {f} in the {a}; none in the {b}.",
    "There is a {f} in the {a} and none in the {b}.",
    "The {a} has a {f}, the {b} has none.",
    "The {a} has a {f}, the {b} does not.",
    "The {b} looks fine but the {a} has a {f}.",
    "a {f} not in the {b} but in the {a}",
    "a {f} in the {a} but not in the {b}",
    "The {f} in the {a}, which spares the {b}",
    "Does the {a} contain a {f}? The {b} is clear.",
    "There was a {f} in the {b}; now there is a {f} in the {a}",
    "The {f} in the {a} is new, that in the {b} has disappeared",
    "The {b} has no {f}, the {a} has one.",
    "No {f} in the {b} but one in the {a}",
    "No {f} in the {b}, but there is one in the {a}",
    "no {f} in the {b}, {f} in the {a}",
    "The {b} is free of any {f}, the {a} contains one {f}.",
]


@pytest.mark.parametrize("text", ONLY_THE_FIRST)
def test_only_one_of_two_has_the_finding(text: str) -> None:
    for (a, finding, name, side), (b, _, _, _) in PAIRS:
        said = text.format(a=a, b=b, f=finding)
        parsed = parse_prompt(said)
        found = [(target.concept, target.side) for target in parsed.targets]
        assert (parsed.status, found) == ("ok", [(name, side)]), said


@pytest.mark.parametrize(
    "text",
    [
        "The {a} has a {f} and the {b} has a {f}.",
        "{f} in the {a}, larger {f} in the {b}",
        "A {f} is seen in the {a} and a {f} in the {b}.",
        "{a}: {f}; {b}: {f}",
    ],
)
def test_both_have_it(text: str) -> None:
    for (a, finding, name, side), (b, _, other, opposite) in PAIRS:
        parsed = parse_prompt(text.format(a=a, b=b, f=finding))
        found = {(target.concept, target.side) for target in parsed.targets}
        told = {(name, side), (other, opposite)}
        assert found in (told, {(name, "both")} if name == other else told), (text, a, found)


@pytest.mark.parametrize(
    ("text", "side"),
    [
        (text, side)
        for text, side in product(
            (
                "cyst in the {s} kidney, stone in the {o}",
                "cyst in the {s} kidney and stone in the {o} one",
                "the {s} kidney has a cyst and the {o} has a stone",
                "the {s} kidney has a cyst, the {o} a stone",
            ),
            ("left", "right"),
        )
    ],
)
def test_the_structure_is_named_once(text: str, side: str) -> None:
    other = {"left": "right", "right": "left"}[side]
    found = [(t.concept, t.side) for t in parse_prompt(text.format(s=side, o=other)).targets]
    assert found == [("renal cyst", side), ("kidney stone", other)]


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("The cyst in the left kidney is 12 mm, the stone is 4 mm.", [12.0, 4.0]),
        ("cyst in the left kidney, long axis 12 mm, short axis 8 mm", [12.0]),
        ("lymph node long axis 12 mm short axis 8 mm", [12.0]),
        ("lymph node, short axis 8 mm", [8.0]),
        ("The cyst decreased by 3 mm to 12 mm", [12.0]),
        ("Cyst in the left kidney, now 12 mm (9 mm last year)", [12.0]),
        ("the cyst, 31 mm across, in the right kidney", [31.0]),
    ],
)
def test_whose_size_it_is(text: str, sizes: list[float]) -> None:
    found = [target.size_mm for target in parse_prompt(text).targets]
    assert found == [(size, size) for size in sizes]


@pytest.mark.parametrize("text", ["spinal cord from T4 to T8", "the aorta from T12 to L4"])
def test_how_far_a_structure_is_wanted_is_no_vertebra(text: str) -> None:
    assert [t.concept for t in parse_prompt(text).targets] in (["spinal cord"], ["aorta"])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("the left kidney in red and the right adrenal gland in green", 2),
        ("both the left kidney and the spleen", 2),
        ("the left kidney and the neighbouring spleen", 2),
        ("In addition to the left kidney, segment the spleen.", 2),
        ("Start with the left kidney, then do the spleen.", 2),
        ("the right femur, the left hip bone", 2),
    ],
)
def test_two_that_are_asked_for(text: str, wanted: int) -> None:
    assert len({target.concept for target in parse_prompt(text).targets}) == wanted


@pytest.mark.parametrize("mark", [", ", "; ", ". "])
def test_headings_in_a_row_keep_what_is_theirs(mark: str) -> None:
    for (a, finding, name, side), (b, _, other, opposite) in PAIRS:
        text = f"{a}: 5 mm {finding}{mark}{b}: 7 mm {finding}"
        found = [(t.concept, t.side, t.size_mm) for t in parse_prompt(text).targets]
        assert found == [(name, side, (5.0, 5.0)), (other, opposite, (7.0, 7.0))], text
        text = f"{a}: {finding}{mark}{b}: normal"
        assert [(t.concept, t.side) for t in parse_prompt(text).targets] == [(name, side)], text


def test_lobes_as_headings() -> None:
    parsed = parse_prompt("RUL: nodule, LLL: consolidation, RML: atelectasis")
    assert [(t.concept, t.side, t.container) for t in parsed.targets] == [
        ("pulmonary nodule", "right", "upper lobe of right lung"),
        ("consolidation", "left", "lower lobe of left lung"),
        ("atelectasis", "right", "middle lobe of right lung"),
    ]


@pytest.mark.parametrize(
    ("text", "side"),
    [("left kidney, I mean the right kidney", "right"), ("LEFT not right kidney", "left")],
)
def test_corrections(text: str, side: str) -> None:
    assert [(t.concept, t.side) for t in parse_prompt(text).targets] == [("kidney", side)]


@pytest.mark.parametrize(
    "text",
    [
        "{a} ({f}), {b} ({f})",
        "{a} ({f}) and {b} ({f})",
        "{a} - {f}, {b} - {f}",
        "{a} with {f}, {b} with {f}",
    ],
)
def test_each_with_its_finding(text: str) -> None:
    for (a, finding, name, side), (b, _, other, opposite) in PAIRS:
        parsed = parse_prompt(text.format(a=a, b=b, f=finding))
        found = {(target.concept, target.side) for target in parsed.targets}
        assert found == {(name, side), (other, opposite)}, (text, a, found)


@pytest.mark.parametrize(
    "first", ["thyroid gland", "renal vein", "left parotid gland", "lymph node"]
)
def test_a_finding_with_its_own_place_takes_no_other_one(first: str) -> None:
    last = parse_prompt(f"lesion in the {first} and cyst in the liver").targets[-1]
    assert (last.concept, last.container) == ("hepatic cyst", "liver")
