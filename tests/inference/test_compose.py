"""Composition on phantoms whose answers are known by construction."""

from __future__ import annotations

import numpy as np
import pytest

from tests.inference.conftest import SPACING
from tests.model_factory import make_model
from textseg3d.inference.compose import (
    Choice,
    Recipe,
    choose,
    clip_side,
    compare,
    compose,
    dice,
    label_instances,
    measure_blobs,
    midline_voxels,
)
from textseg3d.inference.masks import PackedMask
from textseg3d.inference.prompts import Vocabulary
from textseg3d.io.volume import volume_from_array

SHAPE = (20, 24, 31)  # (z, y, x) at 2 mm; x = 15 is the middle
BALLS = {  # name: centre (z, y, x), radius in voxels, HU
    "low left": ((4, 6, 24), 3, 100),
    "high right": ((15, 12, 6), 2, 50),
    "tiny left": ((14, 19, 22), 1, 300),
}


def ball(name, mirrored=False):
    (z, y, x), radius, _ = BALLS[name]
    if mirrored:
        x = SHAPE[2] - 1 - x
    grid = np.indices(SHAPE)
    return (grid[0] - z) ** 2 + (grid[1] - y) ** 2 + (grid[2] - x) ** 2 <= radius**2


def scan(mirrored=False):
    hu = np.zeros(SHAPE, dtype=np.int16)
    for name, (_, _, value) in BALLS.items():
        hu[ball(name, mirrored)] = value
    return volume_from_array(hu.transpose(2, 1, 0), np.diag([2.0, 2.0, 2.0, 1.0]))


def packed(mask):
    where = np.nonzero(mask)
    if not where[0].size:
        return PackedMask.empty(SHAPE)
    box = tuple(slice(int(w.min()), int(w.max()) + 1) for w in where)
    return PackedMask.pack(SHAPE, box, np.ascontiguousarray(mask[box]))


def balls(*names, mirrored=False):
    return np.logical_or.reduce([ball(name, mirrored) for name in names])


MIDDLE = np.full(SHAPE[0], 15.0)
ALL = tuple(BALLS)


def made(recipe, masks=None, mirrored=False, **options):
    everything = {"nodule": packed(balls(*ALL, mirrored=mirrored))} | (masks or {})
    return compose(recipe, everything, scan(mirrored), MIDDLE, **options)


def nodule(**rules):
    return Recipe("nodule", ("nodule",), finding=True, **rules)


@pytest.mark.parametrize("mirrored", [False, True])
def test_sides_follow_the_patient(mirrored):
    left = balls("low left", "tiny left", mirrored=mirrored)
    right = ball("high right", mirrored)
    wanted = {"left": left, "right": right} if not mirrored else {"left": right, "right": left}
    for side, mask in wanted.items():
        found = made(nodule(side=side), mirrored=mirrored)
        assert np.array_equal(found.mask.array(), mask)
        assert [step["operation"] for step in found.steps] == ["side"]
        assert not found.warnings


def test_anatomy_is_cut_at_the_midline_and_findings_are_not():
    across = np.zeros(SHAPE, dtype=bool)
    across[5:8, 5:8, 12:26] = True  # most of it is left of x = 15
    masks = {"thing": packed(across)}
    cut = made(Recipe("thing", ("thing",), side="left"), masks).mask.array()
    assert np.array_equal(cut, across & (np.arange(31) > 15))
    whole = made(Recipe("thing", ("thing",), finding=True, side="left"), masks).mask.array()
    assert np.array_equal(whole, across)
    assert not made(Recipe("thing", ("thing",), finding=True, side="right"), masks).mask.voxels


def test_the_two_sides_share_no_voxel():
    rng = np.random.default_rng(0)
    mask = rng.random(SHAPE) < 0.5
    middle = np.linspace(12, 18, SHAPE[0])
    left, right = clip_side(mask, middle, "left"), clip_side(mask, middle, "right")
    assert not (left & right).any()
    flipped = clip_side(mask[:, :, ::-1], 30 - middle, "right")
    assert np.array_equal(left, flipped[:, :, ::-1])


@pytest.mark.parametrize(
    ("by", "rank", "count", "names"),
    [
        ("largest", 1, 1, ["low left"]),
        ("largest", 2, 1, ["high right"]),
        ("largest", 1, 2, ["low left", "high right"]),
        ("smallest", 1, 1, ["tiny left"]),
        ("superior", 1, 1, ["high right"]),
        ("inferior", 1, 1, ["low left"]),
        ("anterior", 1, 1, ["low left"]),
        ("posterior", 1, 1, ["tiny left"]),
        ("left", 1, 1, ["low left"]),
        ("right", 1, 1, ["high right"]),
        ("medial", 1, 1, ["tiny left"]),
        ("lateral", 1, 1, ["low left"]),
        ("densest", 1, 1, ["tiny left"]),
        ("darkest", 1, 1, ["high right"]),
    ],
)
def test_orders(by, rank, count, names):
    found = made(nodule(order=Choice(by, rank, count)))
    assert np.array_equal(found.mask.array(), balls(*names))
    assert found.steps[0]["kept"] == count


def test_a_rank_that_does_not_exist_is_empty_and_said():
    found = made(nodule(order=Choice("largest", 4)))
    assert not found.mask.voxels
    assert "mask is empty" in found.warnings[0]


def test_sizes():
    # Diameters along x: 2 radii + 1 voxels of 2 mm: 14, 10 and 6 mm.
    assert np.array_equal(
        made(nodule(size_mm=(9.0, None))).mask.array(), balls("low left", "high right")
    )
    assert np.array_equal(made(nodule(size_mm=(None, 8.0))).mask.array(), ball("tiny left"))
    assert np.array_equal(made(nodule(size_mm=(11.0, 11.0))).mask.array(), ball("high right"))
    none = made(nodule(size_mm=(40.0, 40.0)))
    assert not none.mask.voxels
    assert "14.0 mm" in none.warnings[0]


def test_volumes():
    voxels = int(ball("low left").sum())
    exact = voxels * 0.008
    assert np.array_equal(made(nodule(volume_ml=(exact, exact))).mask.array(), ball("low left"))


def test_place_then_order():
    upper = np.zeros(SHAPE, dtype=bool)
    upper[10:] = True
    found = made(
        nodule(within=("upper",), order=Choice("largest"), count=(2, 2)), {"upper": packed(upper)}
    )
    assert np.array_equal(found.mask.array(), ball("high right"))
    assert [step["operation"] for step in found.steps] == ["within", "order", "count"]
    assert "speaks of 2" in found.warnings[0]


LOBES = ("middle lobe of right lung", "lower lobe of left lung", "lower lobe of right lung")


@pytest.mark.parametrize("edges", [False, True])
@pytest.mark.parametrize("known", ["lobes", "lungs"])
def test_a_finding_in_several_places_stays_in_them(edges, known):
    """Instances in three lobes, two of them named: the third is left out."""
    spots = [(10, 12, 6), (4, 6, 24), (4, 18, 6)]  # right is x < 15
    grid = np.indices(SHAPE)

    def near(spot, radius):
        return sum((g - s) ** 2 for g, s in zip(grid, spot)) <= radius**2

    lobes = dict(zip(LOBES, (near(spot, 4) for spot in spots)))
    found = np.logical_or.reduce([near(spot, 1) for spot in spots])
    masks = {
        "consolidation": packed(found),
        "lungs": packed(np.logical_or.reduce([*lobes.values()])),
    }
    masks |= {name: packed(mask) for name, mask in lobes.items()}
    names = ("consolidation", "lungs") if known == "lungs" else ("consolidation", *LOBES)
    for text, wanted in (
        ("consolidation in the right middle lobe and the left lower lobe", LOBES[:2]),
        ("Consolidation in the RML and the LLL.", LOBES[:2]),
        ("consolidation in the right middle and lower lobes", LOBES[::2]),
        ("largest consolidation in the RML and the RLL", LOBES[::2]),
    ):
        request = Vocabulary(names).understand(text)
        assert len(request.recipes) == 1
        at_edges = ("consolidation",) if edges else ()
        mask = made(request.recipes[0], masks, at_edges=at_edges).mask.array()
        place = np.logical_or.reduce([lobes[name] for name in wanted])
        said = any("not taken into account" in warning for warning in request.warnings)
        assert said == (known == "lungs")
        if known == "lobes" and "largest" not in text:
            assert np.array_equal(mask, found & place), text
        elif known == "lobes":
            assert mask.any()
            assert not (mask & ~place).any()
        elif wanted == LOBES[::2]:  # all that the model can tell is the side
            assert mask.any()
            assert not mask[:, :, 15:].any(), text


def test_places_are_cut_at_the_midline_where_only_both_are_known():
    request = Vocabulary(("edema", "kidneys", "thighs")).understand(
        "edema in the left kidney and the right thigh"
    )
    assert [str(area) for area in request.recipes[0].areas] == [
        "left half of kidneys", "right half of thighs",
    ]  # fmt: skip
    masks = {"edema": np.ones(SHAPE, dtype=bool)}
    masks |= {name: np.zeros(SHAPE, dtype=bool) for name in ("kidneys", "thighs")}
    masks["kidneys"][12:, 5:15], masks["thighs"][:6, 5:15] = True, True
    recipe = request.recipes[0]
    found = made(recipe, {name: packed(mask) for name, mask in masks.items()}, measured=False)
    x = np.arange(31)
    wanted = masks["kidneys"] & (x > 15) | masks["thighs"] & (x < 15)
    assert np.array_equal(found.mask.array(), wanted)
    assert "outline" in found.warnings[0]


def test_a_place_that_is_not_known_at_all_is_said():
    request = Vocabulary(("edema", "kidneys")).understand(
        "edema in the left kidney and right thigh"
    )
    assert not request.recipes[0].areas
    assert "'left kidney', place 'right thigh'" in request.warnings[0]


def test_an_empty_place_is_said():
    found = made(nodule(within=("upper",)), {"upper": PackedMask.empty(SHAPE)})
    assert not found.mask.voxels
    assert "not in upper" in found.warnings[0]


def test_exclusions_and_counts():
    found = made(nodule(without=("a",), count=(1, None)), {"a": packed(balls("low left"))})
    assert np.array_equal(found.mask.array(), balls("high right", "tiny left"))
    assert found.steps[1]["agrees"]
    assert not found.warnings


def test_parts_that_touch_are_instances_of_their_own():
    one, two = np.zeros(SHAPE, dtype=bool), np.zeros(SHAPE, dtype=bool)
    one[2:8], two[8:12] = True, True
    assert label_instances([one | two]).max() == 1
    labels = label_instances([one, two])
    assert labels.max() == 2
    box = tuple(slice(0, n) for n in SHAPE)
    blobs = measure_blobs(labels, scan(), box, MIDDLE)
    assert [blob.voxels for blob in blobs] == [int(one.sum()), int(two.sum())]
    assert choose(blobs, Choice("superior"))[0].label == 2


def test_one_piece_has_no_uppermost():
    masks = {"vertebrae": packed(balls("low left"))}
    found = made(Recipe("vertebrae", ("vertebrae",), order=Choice("superior")), masks)
    assert "one connected piece" in found.warnings[0]


def test_absent_things_stay_absent():
    recipe = nodule(side="left", order=Choice("largest"))
    found = compose(recipe, {"nodule": PackedMask.empty(SHAPE)}, scan(), MIDDLE)
    assert not found.mask.voxels
    assert found.steps[0]["operation"] == "nothing"


def test_dice_and_comparison():
    a, b = balls("low left"), balls("low left", "high right")
    wanted = 2 * (a & b).sum() / (a.sum() + b.sum())
    assert dice(packed(a), packed(b)) == pytest.approx(wanted)
    assert dice(packed(a), PackedMask.empty(SHAPE)) == 0
    assert dice(PackedMask.empty(SHAPE), PackedMask.empty(SHAPE)) == 1
    masks = {"nodule": packed(balls(*ALL))}
    step, warning = compare("x", packed(a), nodule(side="left"), masks, scan(), MIDDLE)
    assert warning is None
    assert step["dice"] > 0.9
    step, warning = compare("x", packed(a), nodule(side="right"), masks, scan(), MIDDLE)
    assert step["dice"] == 0
    assert "disagree" in warning


def test_midlines():
    measured = np.array([np.nan, 10.0, 11.0, 12.0, np.nan])
    line, found = midline_voxels(measured, 20, (10, 4, 40))
    assert found
    # Slice 2 of 5 has its centre at z = 4.5 of 10; x = 11 of 20 is 22.5 of 40.
    assert np.interp(4.5, np.arange(10), line) == pytest.approx(22.5)
    assert np.allclose(np.diff(line), 1.0)
    assert midline_voxels(None, 20, (3, 4, 41)) == (pytest.approx(np.full(3, 20.0)), False)


def test_a_midline_that_was_not_found_is_said():
    assert "outline" in made(nodule(side="left"), measured=False).warnings[0]


NAMES = (
    "lungs", "left kidney", "right kidney", "kidneys", "liver", "hepatic cyst",
    "pulmonary nodule", "lower lobe of left lung", "vertebrae", "heart",
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("left lung", {"parts": ("lungs",), "side": "left"}),
        ("left kidney", {"parts": ("left kidney",), "side": None}),
        ("nodule in the LLL", {"within": ("lower lobe of left lung",), "side": None}),
        ("nodule in the right lung", {"within": ("lungs",), "side": "right"}),
        ("largest nodule in the lungs", {"within": ("lungs",), "order": Choice("largest")}),
        ("lung nodules > 6 mm", {"size_mm": (6.0, None)}),
        ("liver without cysts", {"parts": ("liver",), "without": ("hepatic cyst",)}),
        ("the largest kidney", {"parts": ("left kidney", "right kidney")}),
        ("two lung nodules", {"count": (2, 2)}),
    ],
)
def test_the_parse_becomes_a_recipe(text, rules):
    request = Vocabulary(NAMES).understand(text)
    assert request.status == "ok"
    assert len(request.recipes) == 1
    for key, value in rules.items():
        assert getattr(request.recipes[0], key) == value
    assert not any("not taken into account" in warning for warning in request.warnings)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("liver without lesions", "exclusion of 'liver lesion'"),
        ("smooth liver", "margin 'smooth'"),
        ("nodule in the lingula", "lingula"),
    ],
)
def test_what_is_not_applied_is_said(text, words):
    request = Vocabulary(NAMES).understand(text)
    assert request.status == "ok"
    assert "not taken into account" in request.warnings[0]
    assert words in request.warnings[0]


def test_two_ways_are_compared():
    vocabulary = Vocabulary(NAMES)
    for text in ("left kidney", "LT kidney"):
        other = vocabulary.understand(text).alternative
        assert (other.parts, other.side) == (("kidneys",), "left")
    assert vocabulary.understand("liver").alternative is None


@pytest.fixture(scope="module")
def finder(tmp_path_factory):
    from textseg3d import Segmenter

    concepts = ("lungs", "liver", "pulmonary nodule", "left lung", "kidneys")
    folder = make_model(tmp_path_factory.mktemp("models") / "finder", concepts=concepts)
    return Segmenter(folder, "cpu")


def test_the_whole_way(finder, phantom, tmp_path):
    texts = ["pulmonary nodule", "left lung", "kidneys", "nodule in the left lung", "left kidney",
             "right kidney", "lungs"]  # fmt: skip
    found = finder.predict(phantom, texts, spacing_mm=SPACING)
    inside = found["pulmonary nodule"].array & found["left lung"].array
    assert np.array_equal(found["nodule in the left lung"].array, inside)
    left, right = found["left kidney"].array, found["right kidney"].array
    assert left.any()
    assert right.any()
    assert not (left & right).any()
    assert not ((left | right) & ~found["kidneys"].array).any()
    assert np.nonzero(left)[2].min() > phantom.shape[2] * 0.3
    assert found["left kidney"].composed[0]["operation"] == "side"
    assert found["left lung"].composed[0]["operation"] == "compare"  # "lungs" was asked as well
    assert not finder.predict(phantom, "left lung", spacing_mm=SPACING)["left lung"].composed
    import json

    record = json.loads(found.save(tmp_path)[-1].read_text())
    steps = {p["text"]: [s["operation"] for s in p["composed"]] for p in record["prompts"]}
    assert steps["nodule in the left lung"] == ["within"]
    assert steps["pulmonary nodule"] == []
