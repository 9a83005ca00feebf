"""Rules on masks worked out by hand, and a model that carries them."""

from __future__ import annotations

import json
import shutil

import edt
import numpy as np
import pytest
from scipy import ndimage

from tests.model_factory import make_model
from textseg3d.errors import ModelError, UsageError
from textseg3d.evaluation.selection.models import merge_folds
from textseg3d.inference.masks import PackedMask
from textseg3d.inference.postprocess import (
    FILE_NAME,
    Postprocessing,
    Rule,
    SoftRim,
    clean,
    clean_packed,
    without_soft_rim,
)
from textseg3d.inference.segmenter import Segmenter
from textseg3d.zoo import ModelCard, write_card

SPACING = (2.0, 1.0, 1.0)  # a voxel is 0.002 ml


def three_parts():
    mask = np.zeros((6, 12, 12), bool)
    mask[0:2, 0:5, 0:5] = True  # 50 voxels, 0.1 ml
    mask[2, 5, 5] = True  # touches it with a corner: the same component, 51 voxels
    mask[4, 8:10, 8:10] = True  # 4 voxels, 0.008 ml
    mask[0:2, 8:12, 0:3] = True  # 24 voxels, 0.048 ml
    return mask


@pytest.mark.parametrize(
    ("rule", "voxels"),
    [
        (Rule("x"), 79),
        (Rule("x", keep_largest=True), 51),
        (Rule("x", min_volume_ml=0.01), 75),
        (Rule("x", min_volume_ml=0.048), 75),  # inclusive
        (Rule("x", min_volume_ml=0.05), 51),
        (Rule("x", keep_largest=True, min_volume_ml=1.0), 0),
    ],
)
def test_rules_by_hand(rule, voxels):
    mask = three_parts()
    cleaned = clean(mask, SPACING, rule)
    assert int(cleaned.sum()) == voxels
    assert not (cleaned & ~mask).any()


def test_empty_masks_and_boxes():
    empty = np.zeros((3, 3, 3), bool)
    assert not clean(empty, SPACING, Rule("x", keep_largest=True)).any()
    mask = three_parts()
    box = (slice(0, 6), slice(0, 12), slice(0, 12))
    packed = PackedMask.pack(mask.shape, box, mask)
    assert clean_packed(packed, SPACING, None) is packed
    rule = Rule("x", keep_largest=True)
    np.testing.assert_array_equal(
        clean_packed(packed, SPACING, rule).array(), clean(mask, SPACING, rule)
    )


def test_file(tmp_path):
    rules = Postprocessing((Rule("liver", True, 0.3, 0.8, 0.9),), "5 cases")
    rules.save(tmp_path / FILE_NAME)
    assert Postprocessing.load(tmp_path / FILE_NAME) == rules
    assert rules.rule("spleen") is None
    (tmp_path / FILE_NAME).write_text('{"rules": [{"concept": "liver", "keep_larges": true}]}')
    with pytest.raises(ModelError, match="did you mean 'keep_largest'"):
        Postprocessing.load(tmp_path / FILE_NAME)


@pytest.fixture
def models(tmp_path):
    return [make_model(tmp_path / f"fold_{n}", name=f"fold_{n}", seed=0) for n in range(2)]


def scan():
    rng = np.random.default_rng(0)
    return rng.normal(0, 200, (32, 36, 36)).astype(np.float32)


def answers(folder, prompts=("liver", "spleen")):
    segmenter = Segmenter(folder, device="cpu", precision="fp32")
    return segmenter.predict(scan(), list(prompts), spacing_mm=(3.0, 3.0, 3.0), keep_logits=True)


def test_a_model_applies_its_rules(models, tmp_path):
    plain = answers(models[0])
    rule = Rule("liver", keep_largest=True)
    folder = merge_folds(models[:1], tmp_path / "one", postprocessing=Postprocessing((rule,)))
    cleaned = answers(folder)
    expected = clean(plain["liver"].array, (3.0, 3.0, 3.0), rule)
    assert 0 < expected.sum() < plain["liver"].array.sum()
    np.testing.assert_array_equal(cleaned["liver"].array, expected)
    np.testing.assert_array_equal(cleaned["spleen"].array, plain["spleen"].array)
    assert len(cleaned["liver"].instances) == 1


def test_folds_as_one_model(models, tmp_path):
    """Two equal folds answer as one; two different ones with the mean of their logits."""
    other = make_model(tmp_path / "other", name="other", seed=1)
    shutil.copyfile(models[0] / "bank.safetensors", other / "bank.safetensors")
    write_card(other, ModelCard.read(other))
    twice = answers(merge_folds(models, tmp_path / "twice"))
    single = answers(models[0])
    assert (twice["liver"].array == single["liver"].array).mean() > 0.9999
    mixed = answers(merge_folds([models[0], other], tmp_path / "mixed"))
    for text in ("liver", "spleen"):
        mean = (single[text].logits[0] + answers(other)[text].logits[0]) / 2
        np.testing.assert_allclose(mixed[text].logits[0], mean, atol=2e-2, rtol=1e-3)
    card = json.loads((tmp_path / "mixed" / "card.json").read_text())
    assert card["summary"] == "Mean of 2 networks: fold_0, other."


def test_what_does_not_go_together(models, tmp_path):
    other = make_model(tmp_path / "other", concepts=("liver",), name="other")
    with pytest.raises(ModelError, match="different concepts"):
        merge_folds([models[0], other], tmp_path / "out")
    coarse = make_model(tmp_path / "coarse", spacing=(6.0, 6.0, 6.0))
    with pytest.raises(ModelError, match="different plans"):
        merge_folds([models[0], coarse], tmp_path / "out")
    whole = merge_folds(models, tmp_path / "out")
    with pytest.raises(UsageError, match="exists already"):
        merge_folds(models, tmp_path / "out")
    with pytest.raises(ModelError, match="an ensemble already"):
        merge_folds([whole], tmp_path / "again")


@pytest.mark.parametrize("spacing", [(1.6, 1.0, 1.0), (5.0, 0.7, 0.8), (0.9, 1.1, 2.5)])
def test_soft_rims_are_what_a_distance_transform_finds(spacing):
    rng = np.random.default_rng(0)
    blobs = ndimage.gaussian_filter(rng.normal(size=(14, 30, 32)), 2.5) > 0.02
    assert blobs[0].any()  # cut by the scan's edge
    assert blobs[:, -1].any()
    image = rng.integers(0, 300, blobs.shape).astype(np.int16)
    box = (slice(0, 14), slice(0, 30), slice(0, 32))
    found = without_soft_rim(
        PackedMask.pack(blobs.shape, box, blobs).tight(), spacing, image, SoftRim(("x",), 2.0, 130)
    )
    depth = edt.edt(blobs, anisotropy=spacing, black_border=False)
    expected = blobs & ~((depth <= 2.0) & (image < 130))
    np.testing.assert_array_equal(found.array(), expected)
    assert 0 < expected.sum() < blobs.sum()


def test_no_rim_of_voxels_larger_than_it():
    mask = three_parts()
    packed = PackedMask.pack(mask.shape, (slice(0, 6), slice(0, 12), slice(0, 12)), mask)
    soft = np.zeros(mask.shape, np.int16)
    assert without_soft_rim(packed, (4.0, 4.0, 4.0), soft, SoftRim(("x",), 2.0, 130)) is packed


def test_a_rim_is_for_its_concepts_and_is_read_back(tmp_path):
    rules = Postprocessing(
        (Rule("x", keep_largest=True),), "by hand", (SoftRim(("x", "y"), 2.0, 130.0),)
    )
    rules.save(tmp_path / FILE_NAME)
    read = Postprocessing.load(tmp_path / FILE_NAME)
    assert read == rules
    assert [read.changes(name) for name in "xyz"] == [True, True, False]
    mask = three_parts()
    packed = PackedMask.pack(mask.shape, (slice(0, 6), slice(0, 12), slice(0, 12)), mask)
    image = np.full(mask.shape, 100, np.int16)
    image[0:2, 0:5, 0:5] = 200
    # of the rest, only the two voxels in mid of an edge of the scan lie deep enough to stay
    cleaned = {n: read.clean_packed(n, packed, SPACING, image).voxels for n in "xyz"}
    assert cleaned == {"x": 50, "y": 52, "z": 79}


def test_a_rim_beside_fat_ends_half_way_up_the_edge():
    mask = np.zeros((8, 9, 9), bool)
    mask[:, 2:7, 2:7] = True
    image = np.full(mask.shape, 60, np.int16)
    image[:, :, 2] = -21  # half of fat and organ is -20
    image[:, 2, 3:] = -19
    image[:, 4, 4] = -80  # fat, but deep inside
    box = (slice(0, 8), slice(0, 9), slice(0, 9))
    packed = PackedMask.pack(mask.shape, box, mask)
    rim = SoftRim(("x",), 1.0, below_hu=0.0, beside_hu=-100.0)
    expected = mask.copy()
    expected[:, :, 2] = False
    found = without_soft_rim(packed, (1.0, 1.0, 1.0), image, rim)
    np.testing.assert_array_equal(found.array(), expected)


def test_fluid_at_the_surface_of_an_enhanced_organ_stays():
    mask = np.zeros((8, 9, 9), bool)
    mask[:, 2:7, 2:7] = True
    image = np.full(mask.shape, 200, np.int16)
    image[:, :, 2] = 15  # a cyst; half-way to fat would be 50
    image[:, 2, 3:] = -30
    packed = PackedMask.pack(mask.shape, (slice(0, 8), slice(0, 9), slice(0, 9)), mask)
    rim = SoftRim(("x",), 1.0, below_hu=-20.0, beside_hu=-100.0)
    expected = mask.copy()
    expected[:, 2, 3:] = False
    found = without_soft_rim(packed, (1.0, 1.0, 1.0), image, rim)
    np.testing.assert_array_equal(found.array(), expected)
