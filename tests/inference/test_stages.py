"""Stages of a cascade: where they look, what they answer, and that the route does not matter."""

from __future__ import annotations

import dataclasses
import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from tests.inference.stage_models import (
    ELSEWHERE,
    LUNGS,
    NODULE,
    distances,
    make_scan,
    make_stage_model,
)
from textseg3d import Segmenter
from textseg3d.errors import Cancelled, MemoryBudgetError, ModelError, PlansError
from textseg3d.inference.masks import PackedMask
from textseg3d.inference.places import REACH_MM, near
from textseg3d.io import volume_from_array
from textseg3d.zoo import ModelCard, check_model, write_card

SPACING = (2.5, 1.25, 1.5)
PROMPTS = ["pulmonary nodule", "nodule in the left lung", "lungs", "liver"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_stage_model(tmp_path_factory.mktemp("models") / "rules")


@pytest.fixture(scope="module")
def segmenter(folder):
    return Segmenter(folder, "cpu")


@pytest.fixture(scope="module")
def random_stage(tmp_path_factory):
    folder = make_stage_model(tmp_path_factory.mktemp("models") / "random", random_stage=True)
    return Segmenter(folder, "cpu")


@pytest.fixture(scope="module")
def volume():
    array, affine = make_scan(SPACING)
    return volume_from_array(array, affine)


@pytest.fixture(scope="module")
def found(random_stage, volume):
    return random_stage.predict(volume, PROMPTS, keep_logits=True)


def same(one, other):
    assert (one.presence, one.status, one.warnings) == (
        other.presence,
        other.status,
        other.warnings,
    )
    assert np.array_equal(one.array, other.array)
    assert all(np.array_equal(a, b) for a, b in zip(one.logits, other.logits, strict=True))


def is_ball(mask, affine_lps, centre, radius):
    """Whether a mask [i, j, k] is a ball in the world, as far as its voxels can tell."""
    apart = distances(mask.shape, affine_lps, centre)
    ball = apart <= radius
    inside = np.argwhere(mask) @ affine_lps[:3, :3].T + affine_lps[:3, 3]
    offset = np.linalg.norm(inside.mean(axis=0) - centre)
    return 2 * (mask & ball).sum() / (mask.sum() + ball.sum()) > 0.85 and offset < 0.5


@pytest.mark.parametrize("spacing", [SPACING, (2.0, 2.0, 2.0), (1.1, 2.3, 1.6)])
def test_the_mask_lies_where_the_nodule_is(segmenter, spacing):
    array, affine = make_scan(spacing)
    volume = volume_from_array(array, affine)
    prediction = segmenter.predict(volume, ["pulmonary nodule", "lungs"])
    mask = prediction["pulmonary nodule"].source_array.astype(bool)
    assert is_ball(mask, affine, *NODULE)
    lungs = prediction["lungs"].source_array.astype(bool)
    assert lungs[distances(lungs.shape, affine, LUNGS[1][0]) < 8].all()
    assert not lungs[distances(lungs.shape, affine, ELSEWHERE[0]) < 12].any()


def test_orientations_give_one_mask(segmenter, tmp_path):
    array, affine = make_scan(SPACING)
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    straight = nib.Nifti1Image(array, ras)
    expected = None
    for codes in ("LPS", "RAS", "SAL", "PIR"):
        target = nib.orientations.axcodes2ornt(codes)
        turned = straight.as_reoriented(
            nib.orientations.ornt_transform(nib.io_orientation(ras), target)
        )
        nib.save(turned, tmp_path / "scan.nii.gz")
        mask = segmenter.predict(tmp_path / "scan.nii.gz", "pulmonary nodule")
        image = mask["pulmonary nodule"].mask
        back = image.as_reoriented(
            nib.orientations.ornt_transform(
                nib.io_orientation(image.affine), nib.io_orientation(ras)
            )
        )
        voxels = np.asarray(back.dataobj)
        expected = voxels if expected is None else expected
        assert np.array_equal(voxels, expected)
        assert np.allclose(back.affine, ras, atol=1e-4)
    assert is_ball(expected.astype(bool), affine, *NODULE)


def test_windows_run_only_near_what_the_stage_looks_into(segmenter, volume):
    prediction = segmenter.predict(volume, ["pulmonary nodule", "lungs"])
    (stage,) = prediction.stages
    assert (stage.name, stage.within, stage.answered) == (
        "fine", ("lungs",), ("pulmonary nodule",),
    )  # fmt: skip
    assert 0 < stage.windows_run < len(stage.windows)
    lungs = prediction["lungs"].array
    filled = [np.flatnonzero(lungs.any(tuple({0, 1, 2} - {a}))) for a in range(3)]
    for (low, high), hit, mm, n in zip(stage.box, filled, SPACING, volume.shape, strict=True):
        assert low == max(0, hit[0] - -(-20 // mm))
        assert high == min(n, hit[-1] + 1 + -(-20 // mm))
    centres = (np.argwhere(lungs) + 0.5) * SPACING - np.array([b[0] for b in stage.box]) * SPACING
    for window in stage.windows:
        first = np.array(window["start"]) * 2.0
        apart = np.maximum(0, np.maximum(first - centres, centres - (first + 32))).max(axis=1).min()
        assert window["run"] == (apart <= REACH_MM + 2), window  # give or take a voxel
        if not window["run"]:
            assert window["why"] == "nothing of lungs within 6 mm"


def test_positions_are_those_in_the_box_of_the_lungs(segmenter, volume):
    from textseg3d.inference.stages import prepare_stage
    from textseg3d.preprocessing import window_position

    lungs = segmenter.predict(volume, "lungs")["lungs"].packed.tight()
    (stage,) = segmenter._predictor.stages
    image = prepare_stage(stage.engine(None), volume, lungs, exact=False)
    start = next(iter(image.image.grid))
    got = window_position(image.image.box, start, (16, 16, 16))
    for axis in range(3):
        voxel = (image.crop[axis].stop - image.crop[axis].start) * SPACING[axis]
        voxel /= image.image.x.shape[axis + 1]  # about 2 mm
        low, high = (
            (edge - image.crop[axis].start) * SPACING[axis]
            for edge in (lungs.box[axis].start, lungs.box[axis].stop)
        )
        ends = (np.array([start[axis], start[axis] + 15]) + 0.5) * voxel
        assert np.allclose(got[axis], 2 * (ends - low) / (high - low) - 1, atol=1e-5)


def test_a_place_that_leaves_the_nodule_out_has_it_nevertheless(segmenter, volume):
    """The rule's "left lung" is what is dark: it does not cover the bright nodule in it."""
    found = segmenter.predict(volume, PROMPTS)
    result = found["nodule in the left lung"]
    assert np.array_equal(result.array, found["pulmonary nodule"].array)
    assert result.voxels > 0
    assert result.composed[0]["reach_mm"] == REACH_MM


def test_alone_or_among_others_gives_the_same_bits(random_stage, volume, found):
    assert 0.001 < found["pulmonary nodule"].array.mean() < 0.2
    for text in PROMPTS[:2]:
        same(random_stage.predict(volume, text, keep_logits=True)[text], found[text])
    turned = random_stage.predict(volume, PROMPTS[::-1], keep_logits=True)
    for text in PROMPTS:
        same(turned[text], found[text])


def test_set_image_gives_the_same_bits_and_runs_the_stage_once(random_stage, volume, found):
    seen = []
    with random_stage.set_image(volume) as scan:
        before = scan.feature_bytes
        same(scan.predict("liver", keep_logits=True)["liver"], found["liver"])
        assert scan.feature_bytes == before
        assert scan.predict("liver").stages == ()
        first = scan.predict("pulmonary nodule", keep_logits=True)
        same(first["pulmonary nodule"], found["pulmonary nodule"])
        assert scan.feature_bytes > before
        again = scan.predict(PROMPTS, keep_logits=True, on_progress=lambda *s: seen.append(s))
        for text in PROMPTS:
            same(again[text], found[text])
        assert again.stages[0].windows == found.stages[0].windows
    assert scan.feature_bytes == 0
    assert any(stage == "network (fine)" for stage, _, _ in seen)
    assert set(found.seconds) == {"read", "preprocess", "network", "network (fine)", "export"}


def test_memory_changes_no_bit(random_stage, volume, found):
    tight = random_stage.predict(volume, PROMPTS, keep_logits=True, max_memory=10**11)
    for text in PROMPTS:
        same(tight[text], found[text])
    with pytest.raises(MemoryBudgetError):
        random_stage.predict(volume, "pulmonary nodule", max_memory=10**6)


def test_kept_logits_are_the_mask(found, volume):
    result = found["pulmonary nodule"]
    assert result.logits[0].shape == volume.shape
    assert np.array_equal(result.probability() > 0.5, result.array)
    lungs = found["lungs"].packed
    everywhere = PackedMask.pack(
        volume.shape, tuple(slice(0, n) for n in volume.shape), np.ones(volume.shape, bool)
    )
    assert not (result.array & ~near(everywhere, lungs, SPACING).array()).any()


def test_exact_runs_all_windows_of_the_part(segmenter):
    array, affine = make_scan(SPACING)
    half = volume_from_array(array[:51, :62, :34], affine)  # the lung with the nodule
    exact = segmenter.predict(half, "pulmonary nodule", exact=True)
    (stage,) = exact.stages
    assert stage.windows_run == stage.windows_total == len(stage.windows)
    mask = exact["pulmonary nodule"].source_array.astype(bool)
    assert is_ball(mask, half.source.affine_lps, *NODULE)


def test_nothing_to_look_into_is_absent(tmp_path, volume):
    segmenter = Segmenter(make_stage_model(tmp_path / "none", lungs=False), "cpu")
    prediction = segmenter.predict(volume, ["pulmonary nodule", "liver"], keep_logits=True)
    result = prediction["pulmonary nodule"]
    assert (result.status, result.presence, result.voxels) == ("empty", 0.0, 0)
    assert "is looked for in lungs, of which this scan shows nothing" in result.warnings[0]
    assert result.probability().max() < 1e-9
    assert prediction["liver"].warnings == ()
    assert (prediction.stages[0].box, prediction.stages[0].windows_run) == (None, 0)
    with segmenter.set_image(volume) as scan:
        same(scan.predict("pulmonary nodule", keep_logits=True)["pulmonary nodule"], result)


def test_cancelling_in_the_stage(random_stage, volume, found):
    def stop(stage, done, _):
        return not (stage == "network (fine)" and done == 2)

    with pytest.raises(Cancelled, match=r"network \(fine\) 2/"):
        random_stage.predict(volume, "pulmonary nodule", on_progress=stop)
    with random_stage.set_image(volume) as scan:
        with pytest.raises(Cancelled):
            scan.predict("pulmonary nodule", on_progress=stop)
        result = scan.predict("pulmonary nodule", keep_logits=True)
    same(result["pulmonary nodule"], found["pulmonary nodule"])


def test_the_record_says_what_the_stage_did(segmenter, volume, tmp_path, folder):
    paths = segmenter.predict(volume, "pulmonary nodule").save(tmp_path)
    (stage,) = json.loads(paths[-1].read_text())["stages"]
    assert (stage["name"], stage["within"]) == ("fine", ["lungs"])
    assert stage["sha256"] == ModelCard.read(folder).files["fine.safetensors"].sha256
    assert stage["windows"]["run"] < len(stage["windows"]["list"])
    assert stage["seconds"] > 0


def test_the_network_is_loaded_when_it_is_needed(folder, volume):
    fresh = Segmenter(folder, "cpu")
    (stage,) = fresh._predictor.stages
    fresh.predict(volume, "liver")
    assert stage._engine is None
    fresh.predict(volume, "pulmonary nodule")
    assert stage._engine is not None


def test_damaged_folders_are_refused(tmp_path):
    folder = make_stage_model(tmp_path / "model")
    with pytest.raises(PlansError, match="is a stage of 'coarse'"):
        Segmenter(folder, "cpu", configuration="fine")
    card = ModelCard.read(folder)
    weights = (folder / "fine.safetensors").read_bytes()
    (folder / "fine.safetensors").unlink()
    with pytest.raises(ModelError, match=r"fine\.safetensors: is missing"):
        Segmenter(folder, "cpu")
    write_card(folder, card)
    with pytest.raises(ModelError, match="does not list it; stage 'fine' needs it"):
        Segmenter(folder, "cpu")
    (folder / "fine.safetensors").write_bytes(weights)
    write_card(folder, dataclasses.replace(card, concepts=("liver", "pulmonary nodule")))
    with pytest.raises(ModelError, match="looks into 'lungs', which is no concept"):
        Segmenter(folder, "cpu")
    write_card(folder, card)
    assert all(check.problem is None for check in check_model(folder))


def test_presence_is_that_of_the_most_certain_voxel(segmenter, volume):
    """Of a stage: a finding can be smaller than the image tokens that others' is read from."""
    found = segmenter.predict(volume, ["pulmonary nodule"], keep_logits=True)["pulmonary nodule"]
    assert found.presence == pytest.approx(1 / (1 + np.exp(-float(found.logits[0].max()))))
    assert found.array[np.unravel_index(found.logits[0].argmax(), found.logits[0].shape)]


def test_specks_alone_are_not_there(folder, volume, tmp_path):
    shutil.copytree(folder, tmp_path / "model")
    rule = {"concept": "pulmonary nodule", "min_volume_ml": 1000.0}
    (tmp_path / "model" / "postprocessing.json").write_text(json.dumps({"rules": [rule]}))
    write_card(tmp_path / "model", ModelCard.read(tmp_path / "model"))
    found = Segmenter(tmp_path / "model", "cpu").predict(volume, "pulmonary nodule")
    assert found["pulmonary nodule"].presence == 0.0
    assert found["pulmonary nodule"].status == "empty"
