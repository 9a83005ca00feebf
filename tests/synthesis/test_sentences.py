"""Sentences against the labels: read by the grammar, and checked by measuring anew."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.distance import pdist

from tests.synthesis.torso import LLL, LUL, SPACING, TARGETS, torso, torso_case
from textseg3d.inference.compose import tolerance_mm
from textseg3d.inference.measure import axial_diameter_mm as peer_diameter_mm
from textseg3d.synthesis.findings import FINDINGS, InsertedFinding, insert
from textseg3d.synthesis.lesions import (
    Lesion,
    Place,
    axial_diameter_mm,
    find_places,
    measure_lesions,
)
from textseg3d.synthesis.sentences import (
    Claim,
    fits,
    make_sentences,
    size_slack_mm,
    true_of,
)
from textseg3d.synthesis.words import WORDS
from textseg3d.text.grammar import parse_prompt
from textseg3d.text.grammar.model import PromptTarget
from textseg3d.text.knowledge import load_tree
from textseg3d.training.insertion import insert_findings

TREE = load_tree()
SEEDS = range(16)
SIDES = ("left", "right")
VOXEL_ML = float(np.prod(SPACING)) / 1000


@dataclasses.dataclass(frozen=True, eq=False)
class Volume:
    """A torso with findings, and what was written about it."""

    labels: np.ndarray
    targets: dict[str, tuple[int, ...]]
    numbers: np.ndarray
    kinds: dict[int, str]  # number → kind, from what was drawn
    about: dict[str, Any]
    lesions: list[Lesion]


def volume(seed: int) -> Volume:
    image, array = torso()
    hu, labels = torch.from_numpy(image).float(), torch.from_numpy(array)
    rng = torch.Generator().manual_seed(seed)
    made = insert_findings(rng, torso_case(), hu, labels, SPACING, 0.85)
    places = {name: find_places(name, made.targets, array, TREE) for name in FINDINGS}
    lesions, numbers = measure_lesions(array, made.targets, places, made.findings, SPACING)
    about = make_sentences(lesions, places, list(FINDINGS)).to_json()
    kinds: dict[int, set[str]] = {}
    for one in made.findings:
        for number in np.unique(numbers[one.finding.box][one.mask.numpy()]):
            kinds.setdefault(int(number), set()).add(one.finding.kind)
    single = {n: found.pop() for n, found in kinds.items() if len(found) == 1}
    return Volume(array, made.targets, numbers, single, about, lesions)


@pytest.fixture(scope="module")
def volumes() -> list[Volume]:
    return [volume(seed) for seed in SEEDS]


def all_sentences(volumes: list[Volume]) -> Iterator[tuple[str, dict[str, Any], Volume]]:
    for one in volumes:
        for group in ("true", "counterfactual", "referring"):
            for sentence in one.about[group]:
                yield group, sentence, one


@functools.cache
def parsed(text: str) -> PromptTarget:
    found = parse_prompt(text, TREE)
    assert found.status == "ok", text
    assert len(found.targets) == 1, text
    assert not found.ignored, text
    return found.targets[0]


def test_the_grammar_reads_every_sentence_as_it_is_meant(volumes: list[Volume]) -> None:
    seen = set()
    for group, sentence, _ in all_sentences(volumes):
        text = sentence["text"]
        seen.add((group, sentence["kind"]))
        target = parsed(text)
        names = {target.concept, target.broader}
        assert sentence["concept"] in names or sentence["type"] in names, text
        said = {a.value.replace("-", " ") for a in target.attributes if a.kind == "density"}
        if sentence["density"] not in (None, "fluid"):
            narrow = sentence["concept"] != sentence["type"] and sentence["concept"] in names
            assert narrow or sentence["density"].replace("-", " ") in said, text
        else:
            assert not said, text
        assert target.side == sentence["side"], text
        assert target.container == sentence["container"], text
        size = sentence["size_mm"]
        assert target.size_mm == (None if size is None else (size, size)), text
        count = sentence["count"]
        assert target.count == (None if count is None else (count, count)), text
        order = target.order.to_json() if target.order else None
        assert order == sentence["order"], text
    kinds = {kind for _, kind in seen}
    assert {"other side", "other lobe", "wrong size", "other density", "wrong count"} <= kinds
    assert {"absent finding", "largest", "smallest", "density", "name", "count, place"} <= kinds


@dataclasses.dataclass(frozen=True)
class Piece:
    """A component, measured the slow way."""

    number: int
    voxels: int
    under: np.ndarray  # labels of its voxels
    centre: np.ndarray  # z, y, x in voxels
    diameter_mm: float
    side: str


@functools.cache
def pieces(one: Volume, finding: str) -> list[Piece]:
    middle = np.mean(
        [np.argwhere(np.isin(one.labels, one.targets[f"{s} lung"])).mean(0)[2] for s in SIDES]
    )
    mask = np.isin(one.labels, one.targets[finding])
    labelled, count = ndimage.label(mask, np.ones((3, 3, 3)))
    found = []
    for n in range(1, count + 1):
        mine = labelled == n
        numbers = np.unique(one.numbers[mine])
        assert len(numbers) == 1
        centre = np.argwhere(mine).mean(0)
        slices = [np.argwhere(plane) * SPACING[1:] for plane in mine if plane.any()]
        longest = max(pdist(p).max() if len(p) > 1 else 0.0 for p in slices) + 3.0
        side = "left" if centre[2] > middle else "right"
        found.append(
            Piece(int(numbers[0]), int(mine.sum()), one.labels[mine], centre, longest, side)
        )
    return found


def meant(one: Volume, sentence: dict[str, Any]) -> list[Piece]:
    """Components that a sentence speaks of, from its words alone."""
    target = parsed(sentence["text"])
    found = pieces(one, sentence["type"])
    if target.container is not None:
        ids = one.targets[target.container]
        found = [m for m in found if np.isin(m.under, ids).mean() >= 0.5]
    if target.side is not None:
        assert all(m.side == target.side for m in found)
    if target.size_mm is not None:
        size = float(target.size_mm[0] or 0)
        found = [m for m in found if abs(m.diameter_mm - size) <= max(2, size / 5)]
    density = sentence["density"]
    if density is not None:
        wanted = {k for k, words in WORDS[sentence["type"]].items() if words.density == density}
        found = [m for m in found if one.kinds.get(m.number) in wanted]
    if target.order is not None:
        sign = -1 if target.order.by == "largest" else 1
        found = sorted(found, key=lambda m: sign * m.voxels)[target.order.rank - 1 :][:1]
    return found


def test_true_ones_are_true_wrong_ones_are_not(volumes: list[Volume]) -> None:
    for group, sentence, one in all_sentences(volumes):
        found = meant(one, sentence)
        numbers = {m.number for m in found}
        text = sentence["text"]
        if group == "counterfactual" and sentence["kind"] != "wrong count":
            assert not found, text
            assert sentence["findings"] == []
        elif sentence["count"] is not None:
            assert (len(found) == sentence["count"]) == (group == "true"), text
        else:
            assert numbers == set(sentence["findings"]) != set(), text
        if group == "referring":
            assert len(sentence["findings"]) == 1, text


def test_findings_are_what_the_labels_show(volumes: list[Volume]) -> None:
    for one in volumes:
        for finding in FINDINGS:
            masks = pieces(one, finding)
            own = [lesion for lesion in one.lesions if lesion.finding == finding]
            assert len(masks) == len(own)
            for mask in masks:
                lesion = next(x for x in own if x.number == mask.number)
                assert lesion.volume_ml == pytest.approx(mask.voxels * VOXEL_ML)
                assert lesion.diameter_mm == pytest.approx(mask.diameter_mm)
                assert lesion.kind == one.kinds.get(lesion.number)
                if finding != "liver lesion":
                    assert lesion.side == mask.side
                np.testing.assert_allclose(lesion.centroid_mm, (mask.centre * SPACING)[::-1])


def test_sizes_mean_what_a_prompt_means() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = ndimage.binary_dilation(rng.random((5, 9, 11)) > 0.97)
        if mask.any():
            spacing = (2.0, 0.7, 1.3)
            ours = axial_diameter_mm(mask, spacing)
            assert ours == pytest.approx(peer_diameter_mm(mask, spacing))
    for size in (4.0, 10.0, 33.0):
        assert size_slack_mm(size) == tolerance_mm((size, size))


NODULE = 20
PLACE = Place("lower lobe of left lung", "left lower lobe", "lower lobe of lung", "left",
              frozenset({LLL}), 10)  # fmt: skip


def lesion(**changes: object) -> Lesion:
    fields: dict[str, object] = {
        "number": 1,
        "finding": "pulmonary nodule",
        "kind": "solid nodule",
        "side": "left",
        "places": (PLACE.name,),
        "touched": (PLACE.name,),
        "diameter_mm": 10.0,
        "volume_ml": 0.5,
        "centroid_mm": (0.0, 0.0, 0.0),
        "drawn_mm": 10.0,
    }
    return Lesion(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "claimed", "answer"),
    [
        ({}, {"kind": "solid nodule", "size_mm": 10}, True),
        ({}, {"kind": "ground-glass nodule"}, False),
        ({}, {"kind": "calcified nodule"}, None),  # a calcified nodule is solid, too
        ({"kind": None}, {"kind": "ground-glass nodule"}, None),  # nobody knows
        ({"kind": None}, {}, True),
        ({}, {"size_mm": 12}, True),
        ({}, {"size_mm": 13}, None),  # about right is neither true nor wrong
        ({}, {"size_mm": 25}, False),
        ({"places": ("left lung",), "touched": ("left lung", PLACE.name)}, {}, None),
        ({"places": ("left lung",), "touched": ("left lung",)}, {}, False),
        ({"places": (), "touched": ()}, {}, None),  # it lies somewhere that no label tells
        ({"finding": "renal cyst"}, {}, False),
    ],
)
def test_unclear_is_neither_true_nor_false(
    changes: dict[str, Any], claimed: dict[str, Any], answer: bool | None
) -> None:
    claim = Claim("pulmonary nodule", place=PLACE, **claimed)
    assert fits(claim, lesion(**changes)) is answer
    whole = true_of(claim, [lesion(**changes)])
    assert whole == {True: (1,), False: (), None: None}[answer]


def test_findings_that_touch_are_one() -> None:
    """Of two kinds they have none; of one kind they keep it; drawn by a person they have none."""
    cases = {
        ("solid nodule", "ground-glass nodule"): (None, None),
        ("solid nodule", "solid nodule"): ("solid nodule", None),
        ("solid nodule", None): (None, None),
        ("solid nodule",): ("solid nodule", 12.0),
    }
    for kinds, expected in cases.items():
        _, labels = torso()
        drawn = []
        for kind, y in zip(kinds, (22, 25)):
            rng = torch.Generator().manual_seed(y)
            hu, lung = torch.full(labels.shape, -850.0), torch.from_numpy(labels == LUL)
            found = insert(rng, hu, lung, SPACING, kind or "solid nodule", 12.0, (45, y, 55))  # type: ignore[arg-type]
            assert found is not None
            mine = found.mask & (torch.from_numpy(labels[found.box]) != NODULE)
            labels[found.box][mine.numpy()] = NODULE
            if kind is not None:
                drawn.append(InsertedFinding("pulmonary nodule", found, mine))
        targets = {"left lung": (LUL, LLL, NODULE), "pulmonary nodule": (NODULE,)}
        places = {n: find_places(n, targets, labels, TREE) for n in ("pulmonary nodule",)}
        lesions, numbers = measure_lesions(labels, targets, places, drawn, SPACING)
        assert [(one.kind, one.drawn_mm) for one in lesions] == [expected]
        assert np.array_equal(numbers == 1, labels == NODULE)


def test_places_are_the_organ_and_its_parts() -> None:
    _, labels = torso()
    names = [p.name for p in find_places("pulmonary nodule", TARGETS, labels, TREE)]
    assert set(names) == {name for name in TARGETS if "lung" in name}
    assert names[-1] == "lungs"
    assert [p.name for p in find_places("liver lesion", TARGETS, labels, TREE)] == ["liver"]
    labels[labels == LUL] = 0
    left = {p.name for p in find_places("pulmonary nodule", TARGETS, labels, TREE)}
    assert "upper lobe of left lung" not in left
