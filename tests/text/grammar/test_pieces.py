"""The steps of the pipeline on their own."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textseg3d.text.grammar.joining import prepare
from textseg3d.text.grammar.lexicon import lexicon_of
from textseg3d.text.grammar.numbers import combine, find_quantities, parse_number
from textseg3d.text.grammar.spelling import edit_distance, speller_of
from textseg3d.text.grammar.tokens import fold, join, tokenise
from textseg3d.text.knowledge import load_tree


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("6 mm", (6, 6)),
        ("6mm", (6, 6)),
        ("1.2 cm", (12, 12)),
        ("1,2 cm", (12, 12)),
        (".5 cm", (5, 5)),
        ("1,000 µm", (1, 1)),
        ("5-8 mm", (5, 8)),
        ("5 mm to 1 cm", (5, 10)),
        ("between 5 and 8 mm", (5, 8)),
        ("> 3 cm", (30, None)),
        (">= 3 cm", (30, None)),
        ("≥3cm", (30, None)),
        ("at least 10 mm", (10, None)),
        ("10 mm or larger", (10, None)),
        ("up to 5 mm", (None, 5)),
        ("no larger than 5 mm", (None, 5)),
        ("not more than 5 mm", (None, 5)),
        ("smaller than 1 cm", (None, 10)),
        ("3 x 4 mm", (4, 4)),
        ("3 mm x 4 mm x 12 mm", (12, 12)),
        ("3x4x12 mm", (12, 12)),
        ("about 2 inches", (50.8, 50.8)),
        ("two centimeters", (20, 20)),
        ("mindestens 5 mm", (5, None)),
        ("moins de 5 mm", (None, 5)),
        ("大于5毫米", (5, None)),
    ],
)
def test_sizes(text: str, bounds: tuple[float | None, float | None]) -> None:
    (quantity,) = find_quantities(tokenise(text))
    assert quantity.unit == "mm"
    assert quantity.bounds == pytest.approx(bounds)


@pytest.mark.parametrize("text", ["6", "5-8", "> 3", "L4", "6th rib", "series 4", "mm", "> cm"])
def test_without_a_unit_there_is_no_size(text: str) -> None:
    assert find_quantities(tokenise(text)) == []


def test_extents_are_kept() -> None:
    (quantity,) = find_quantities(tokenise("1.2 x 0.9 x 0.5 cm"))
    assert quantity.extents == pytest.approx((12, 9, 5))


@settings(deadline=None)
@given(st.floats(0.1, 500).map(lambda value: round(value, 1)))
def test_units_agree(value: float) -> None:
    (one,) = find_quantities(tokenise(f"{value} cm"))
    (other,) = find_quantities(tokenise(f"{round(value * 10, 1)} mm"))
    assert one.bounds == pytest.approx(other.bounds)


def test_numbers() -> None:
    values = [parse_number(text) for text in ("12", "1.5", "1,5", "1,000", "12,345", ".5", "0,125")]
    assert values == [12, 1.5, 1.5, 1000, 12345, 0.5, 0.125]


def test_combining_ranges() -> None:
    assert combine([(5, None), (None, 10)]) == ((5, 10), False)
    assert combine([(30, None), (None, 10)]) == ((30, 10), True)
    assert combine([(5, 5), (8, 8)]) == ((5, 8), False)


def reference_distance(one: str, other: str) -> int:
    """Optimal string alignment, straight from its recursive definition."""

    @cache
    def d(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        best = min(d(i - 1, j) + 1, d(i, j - 1) + 1, d(i - 1, j - 1) + (one[i - 1] != other[j - 1]))
        if i > 1 and j > 1 and one[i - 1] == other[j - 2] and one[i - 2] == other[j - 1]:
            best = min(best, d(i - 2, j - 2) + 1)
        return best

    return d(len(one), len(other))


@settings(deadline=None)
@given(st.text("abc", max_size=7), st.text("abc", max_size=7), st.integers(0, 3))
def test_edit_distance(one: str, other: str, limit: int) -> None:
    assert edit_distance(one, other, limit) == min(reference_distance(one, other), limit + 1)


def test_candidates_are_all_the_nearest_words() -> None:
    lexicon = lexicon_of(load_tree())
    speller = speller_of(lexicon)
    for word, limit in (("kidny", 1), ("panceras", 2), ("hypedense", 2), ("xyzzyplugh", 2)):
        pool = [
            known
            for known in lexicon.vocabulary - lexicon.side_words
            if len(known) >= 4 and known.isalpha() and abs(len(known) - len(word)) <= limit
        ]
        distances = {known: reference_distance(word, known) for known in pool}
        nearest = min(distances.values(), default=99)
        expected = {k for k, v in distances.items() if v == nearest} if nearest <= limit else set()
        assert set(speller.candidates(word)) == expected


def test_tokens() -> None:
    lexicon = lexicon_of(load_tree())
    words = [token.norm for token in prepare(tokenise("Lt. part-solid L 4 station 4R"), lexicon)]
    assert words == ["lt", "part", "solid", "l4", "station", "4r"]
    assert [token.norm for token in tokenise("l'aorte, tumour's 6th")] == [
        "aorte",
        ",",
        "tumor",
        "6th",
    ]
    assert fold("riñón") == "rinon"
    assert join(["左", "肾", "cyst"]) == "左肾 cyst"
