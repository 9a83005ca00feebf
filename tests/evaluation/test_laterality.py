"""Left and right: x grows to the patient's Left."""

from __future__ import annotations

import numpy as np
import pytest

from tests.evaluation.phantoms import box
from textseg3d.evaluation.laterality import body_midline_x, check_laterality

SHAPE = (8, 8, 40)
RIGHT = box(SHAPE, (2, 2, 5), (4, 4, 6))
LEFT = box(SHAPE, (2, 2, 29), (4, 4, 6))


def test_midline_between_a_pair_and_from_the_body():
    image = np.full(SHAPE, -1000.0)
    assert body_midline_x(image, ((LEFT, RIGHT),)) == pytest.approx((31.5 + 7.5) / 2)
    image[:, :, 10:21] = 0
    assert body_midline_x(image) == pytest.approx(15.0)
    assert body_midline_x(np.full(SHAPE, -1000.0)) == pytest.approx(19.5)


def test_right_side_is_no_error():
    result = check_laterality(LEFT, "left", 19.5, LEFT, RIGHT)
    assert (result.wrong_side_share, result.overlap_own, result.error) == (0.0, 1.0, False)


def test_swapped_mask_is_an_error():
    result = check_laterality(RIGHT, "left", 19.5, LEFT, RIGHT)
    assert (result.wrong_side_share, result.overlap_opposite, result.error) == (1.0, 1.0, True)
    assert check_laterality(RIGHT, "left", 19.5, LEFT, None).error


def test_both_sides_predicted_is_no_swap_but_shows_its_share():
    result = check_laterality(LEFT | RIGHT, "left", 19.5, LEFT, RIGHT)
    assert result.wrong_side_share == pytest.approx(0.5)
    assert not result.error


def test_more_overlap_with_the_other_truth_is_an_error_without_crossing_the_midline():
    own, opposite = box(SHAPE, (0, 0, 30), (2, 2, 2)), box(SHAPE, (4, 4, 24), (2, 2, 2))
    assert check_laterality(opposite, "left", 19.5, own, opposite).error


def test_an_empty_mask_lies_nowhere():
    result = check_laterality(np.zeros(SHAPE, bool), "right", 19.5, RIGHT, LEFT)
    assert not result.error
    assert result.to_json()["wrong_side_share"] == 0.0
