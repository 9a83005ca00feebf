"""Properties that a prediction has with any weights."""

import itertools
import threading

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.inference.conftest import SPACING
from tests.model_factory import CONCEPTS, make_model
from textseg3d.errors import Cancelled, GeometryError, InputError, PromptError, UsageError
from textseg3d.inference.accumulate import SharesAccumulator
from textseg3d.inference.prompts import Vocabulary
from textseg3d.io import read_volume

TEN = [*CONCEPTS, "kidneys", "lungs", "both kidneys and the liver"]


@pytest.fixture(scope="module")
def all_ten(segmenter, phantom):
    return segmenter.predict(phantom, TEN, spacing_mm=SPACING, keep_logits=True)


def same(a, b):
    assert a.presence == b.presence
    assert np.array_equal(a.array, b.array)
    assert a.instances == b.instances


def test_masks_are_not_trivial(all_ten):
    shares = [result.array.mean() for result in all_ten.values()]
    assert sum(0.001 < share < 0.999 for share in shares) >= 6, shares
    assert all(result.status in ("ok", "empty") for result in all_ten.values())


def test_a_model_of_ct_says_that_a_scan_without_air_may_be_none(segmenter, phantom):
    dark = np.where(np.indices(phantom.shape).sum(axis=0) % 7 == 0, -1000, phantom).astype(np.int16)
    said = segmenter.predict(dark, "liver", spacing_mm=SPACING).warnings
    assert not any("is this a CT" in text for text in said)
    bright = np.clip(phantom, -150, None)  # fat, but neither air nor lung
    said = segmenter.predict(bright, "liver", spacing_mm=SPACING).warnings
    assert sum("is this a CT" in text for text in said) == 1


def test_alone_or_among_others_gives_the_same_bits(segmenter, phantom, all_ten):
    for text in TEN[2:5]:
        alone = segmenter.predict(phantom, text, spacing_mm=SPACING, keep_logits=True)[text]
        same(alone, all_ten[text])
        assert np.array_equal(alone.logits[0], all_ten[text].logits[0])
    backwards = segmenter.predict(phantom, TEN[::-1], spacing_mm=SPACING)
    for text in TEN:
        same(backwards[text], all_ten[text])


def test_groups_of_prompts_in_threads_give_the_same_bits(segmenter, phantom, all_ten, monkeypatch):
    before = torch.get_num_threads()
    for count in (1, 2):
        monkeypatch.setattr("textseg3d.inference.slabs.workers", lambda count=count: count)
        found = segmenter.predict(phantom, TEN[::-1], spacing_mm=SPACING, keep_logits=True)
        assert torch.get_num_threads() == before
        for text in TEN:
            same(found[text], all_ten[text])
            assert np.array_equal(found[text].logits[0], all_ten[text].logits[0])


def test_set_image_gives_the_same_bits(segmenter, phantom, all_ten):
    with segmenter.set_image(phantom, spacing_mm=SPACING) as scan:
        assert scan.feature_bytes > 0
        for text in TEN[:3]:
            same(scan.predict(text)[text], all_ten[text])
        together = scan.predict(TEN)
    for text in TEN:
        same(together[text], all_ten[text])
    assert (together.windows_run, together.windows_total) == (
        all_ten.windows_run,
        all_ten.windows_total,
    )
    with pytest.raises(UsageError, match="closed"):
        scan.predict("liver")


def test_synonyms_and_unions(segmenter, phantom, all_ten):
    prompts = ["LT kidney", "kidney, left", "the left and right kidney", "Left Lung"]
    found = segmenter.predict(phantom, prompts, spacing_mm=SPACING)
    for text in prompts[:2]:
        same(found[text], all_ten["left kidney"])
    same(found["Left Lung"], all_ten["left lung"])
    both = all_ten["left kidney"].array | all_ten["right kidney"].array
    assert np.array_equal(found["the left and right kidney"].array, both)
    assert np.array_equal(all_ten["kidneys"].array, both)


def test_statuses(segmenter, phantom, model_folder, tmp_path):
    found = segmenter.predict(phantom, ["no liver", "uterus", "lvier"], spacing_mm=SPACING)
    assert found["no liver"].status == "negated"
    assert found["uterus"].status == "unknown"
    assert "knows 7 concepts" in found["uterus"].warnings[0]
    assert found["lvier"].warnings == ("'lvier' was read as 'liver'",)
    for text in ("no liver", "uterus"):
        assert found[text].presence is None
        assert found[text].packed is None
        with pytest.raises(UsageError, match="no mask"):
            _ = found[text].mask
    for text, pattern in (
        ("left right kidney", "contradict"),
        (" ", "empty"),
        ("x" * 5000, "5000"),
    ):
        with pytest.raises(PromptError, match=pattern):
            segmenter.predict(phantom, text, spacing_mm=SPACING)
    from textseg3d import Segmenter

    absent = Segmenter(make_model(tmp_path / "absent", presence_bias=-9.0), "cpu")
    nothing = absent.predict(phantom, "liver", spacing_mm=SPACING)["liver"]
    assert nothing.status == "empty"
    assert nothing.presence < 0.5
    assert nothing.voxels == 0
    assert nothing.array.shape == phantom.shape


def test_unknown_names_the_whole_that_is_known():
    vocabulary = Vocabulary(CONCEPTS)
    request = vocabulary.understand("left lower lobe")
    assert request.status == "unknown"
    assert "left lung" in request.warnings[0]
    assert vocabulary.understand("nodule in the left lung").status == "unknown"
    ignored = vocabulary.understand("smooth liver")
    assert "not taken into account" in ignored.warnings[0]


def test_the_models_own_names_need_no_interpretation():
    vocabulary = Vocabulary(("left ribs", "my tumour", "ribs"))
    request = vocabulary.understand("Left  ribs")
    assert [(p.name, p.side) for p in request.parts] == [("left ribs", "left")]
    assert [p.name for p in vocabulary.understand("my tumour").parts] == ["my tumour"]


def orientations():
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((False, True), repeat=3):
            yield order, flips


def test_48_orientations_give_one_mask(segmenter, phantom, tmp_path):
    affine = np.diag([*(-s for s in SPACING[:0:-1]), SPACING[0], 1.0])  # LPS order in RAS space
    affine[:3, 3] = 30, -20, 100
    xyz = phantom[:, 8:44, 10:52].transpose(2, 1, 0)  # one window
    straight = nib.Nifti1Image(xyz, affine)
    path = tmp_path / "scan.nii.gz"
    reference = None
    seen = set()
    for order, flips in orientations():
        target = nib.orientations.axcodes2ornt("LPS")[list(order)].copy()
        target[:, 1] *= np.where(flips, -1, 1)
        transform = nib.orientations.ornt_transform(nib.io_orientation(affine), target)
        turned = straight.as_reoriented(transform)
        seen.add(nib.aff2axcodes(turned.affine))
        nib.save(turned, path)
        result = segmenter.predict(path, "liver")["liver"]
        assert result.mask.shape == turned.shape
        assert np.allclose(result.mask.affine, turned.affine, atol=1e-4)
        back = result.mask.as_reoriented(
            nib.orientations.ornt_transform(
                nib.io_orientation(turned.affine), nib.io_orientation(affine)
            )
        )
        mask = np.asarray(back.dataobj)
        if reference is None:
            reference = mask
            assert 0 < mask.mean() < 1
        assert np.array_equal(mask, reference)
    assert len(seen) == 48


def test_array_and_file_and_volume_agree(segmenter, phantom, all_ten, tmp_path):
    path = tmp_path / "scan.nii"
    affine = np.diag([*(-s for s in SPACING[:0:-1]), SPACING[0], 1.0])
    nib.save(nib.Nifti1Image(phantom.transpose(2, 1, 0), affine), path)
    same(segmenter.predict(path, "liver")["liver"], all_ten["liver"])
    same(segmenter.predict(str(path), "liver")["liver"], all_ten["liver"])
    same(segmenter.predict(read_volume(path), ["liver"])["liver"], all_ten["liver"])


def test_array_with_a_direction_comes_back_on_its_own_grid(segmenter, phantom, all_ten):
    flipped = np.ascontiguousarray(phantom[:, ::-1, ::-1])  # x to the Right, y to Anterior
    direction = np.diag([-1.0, -1.0, 1.0])
    found = segmenter.predict(flipped, "liver", spacing_mm=SPACING, direction=direction)["liver"]
    assert np.array_equal(found.array, all_ten["liver"].array)
    assert np.array_equal(found.source_array.T[:, ::-1, ::-1], all_ten["liver"].array)


def test_measurements_belong_to_the_mask(all_ten, phantom):
    result = max(all_ten.values(), key=lambda r: r.status == "ok" and len(r.instances))
    voxel = np.prod(SPACING) / 1000
    assert result.voxels == result.array.sum()
    assert result.volume_ml == pytest.approx(result.array.sum() * voxel)
    total = sum(i.volume_ml for i in result.instances)
    assert total == pytest.approx(result.volume_ml)
    weighted = sum(i.mean_hu * i.volume_ml for i in result.instances) / total
    assert weighted == pytest.approx(phantom[result.array].mean(), abs=1e-3)


def test_probability_agrees_with_the_mask(all_ten):
    for text in ("liver", "kidneys"):
        probability = all_ten[text].probability()
        assert probability.dtype == np.float32
        differs = (probability > 0.5) != all_ten[text].array
        assert not differs.any() or np.abs(probability[differs] - 0.5).max() < 1e-5


@pytest.mark.parametrize("shape", [(1, 40, 30), (9, 8, 1), (2, 3, 4), (40, 1, 90)])
@pytest.mark.parametrize("spacing", [(3.0, 3.0, 3.0), (8.0, 0.7, 0.7)])
def test_tiny_and_flat_volumes(segmenter, shape, spacing):
    array = np.random.default_rng(0).integers(-1000, 1000, shape, dtype=np.int16)
    found = segmenter.predict(array, ["liver", "heart"], spacing_mm=spacing)
    for result in found.values():
        assert result.array.shape == shape
        assert result.source_array.shape == shape[::-1]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", ">i2", "int32", "float64", "bool"])
def test_voxel_types(segmenter, dtype):
    array = np.random.default_rng(0).integers(0, 100, (12, 12, 12)).astype(dtype)
    assert segmenter.predict(array, "liver", spacing_mm=(3, 3, 3))["liver"].array.shape == (12,) * 3


def test_exact_runs_every_window(segmenter, phantom):
    wide = np.pad(phantom, ((0, 0), (0, 0), (0, 60)), constant_values=-1000)
    fast = segmenter.predict(wide, "liver", spacing_mm=SPACING)
    exact = segmenter.predict(wide, "liver", spacing_mm=SPACING, exact=True)
    assert fast.windows_run < fast.windows_total == exact.windows_total == exact.windows_run
    assert exact.exact


def test_cancelling_within_one_window(segmenter, phantom):
    calls = []

    def stop(stage, done, total):
        calls.append((stage, done))
        return not (stage == "network" and done == 1)

    with pytest.raises(Cancelled):
        segmenter.predict(phantom, TEN, spacing_mm=SPACING, exact=True, on_progress=stop)
    assert calls[-1] == ("network", 1)
    assert not torch.is_inference_mode_enabled()
    assert not torch.is_autocast_enabled("cpu")
    with segmenter.set_image(phantom, spacing_mm=SPACING) as scan, pytest.raises(Cancelled):
        scan.predict("liver", on_progress=lambda *_: False)


def test_progress_ends_each_stage(segmenter, phantom):
    seen = {}
    segmenter.predict(
        phantom,
        ["liver", "heart"],
        spacing_mm=SPACING,
        on_progress=lambda stage, done, total: seen.update({stage: (done, total)}),
    )
    assert list(seen) == ["read", "preprocess", "network", "export"]
    assert all(done == total for done, total in seen.values())


def test_two_threads_get_the_same_bits(segmenter, phantom, all_ten):
    results = [None, None]

    def work(index):
        results[index] = segmenter.predict(phantom, ["liver", "heart"], spacing_mm=SPACING)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for found in results:
        same(found["liver"], all_ten["liver"])
        same(found["heart"], all_ten["heart"])


def test_no_global_state_of_torch_changes(model_folder, phantom):
    from textseg3d import Segmenter

    before = torch.get_num_threads(), torch.get_rng_state(), torch.is_grad_enabled()
    Segmenter(model_folder, "cpu").predict(phantom, "liver", spacing_mm=SPACING)
    assert torch.get_num_threads() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert torch.is_grad_enabled() == before[2]


def test_precisions_agree_roughly(model_folder, phantom, all_ten):
    from textseg3d import Segmenter

    exact = Segmenter(model_folder, "cpu", precision="fp32")
    logits = exact.predict(phantom, "liver", spacing_mm=SPACING, keep_logits=True)["liver"].logits
    difference = np.abs(logits[0] - all_ten["liver"].logits[0])
    assert np.median(difference) < 0.05 * np.abs(logits[0]).mean() + 0.02
    assert exact.device == "cpu (fp32)"


def test_policy_and_accumulator_are_arguments(model_folder, phantom):
    from textseg3d import Segmenter
    from textseg3d.inference.windows import tile_body

    asked, made = [], []

    def accumulator(grid, device, prompts):
        made.append((len(grid), prompts))
        return SharesAccumulator(grid, device, prompts)

    def policy(shape, size, step, box, exact):
        asked.append((shape, size, step, exact))
        return tile_body(shape, size, 0.4, box, exact)

    own = Segmenter(model_folder, "cpu", window_policy=policy, accumulator=accumulator)
    found = own.predict(phantom, "kidneys", spacing_mm=SPACING)
    assert asked == [((50, 43, 41), (64, 32, 32), 0.75, False)]
    assert made == [(found.windows_run, 2)]


def test_wrong_arguments(segmenter, phantom, model_folder, tmp_path):
    from textseg3d import Segmenter

    with pytest.raises(UsageError, match="spacing_mm"):
        segmenter.predict(phantom, "liver")
    with pytest.raises(InputError, match="shape"):
        segmenter.predict(phantom[0], "liver", spacing_mm=SPACING)
    with pytest.raises(InputError, match="channels"):
        segmenter.predict(np.stack([phantom, phantom]), "liver", spacing_mm=SPACING)
    with pytest.raises(InputError, match="NaN"):
        segmenter.predict(np.full((9, 9, 9), np.nan), "liver", spacing_mm=SPACING)
    with pytest.raises(GeometryError, match="perpendicular"):
        segmenter.predict(phantom, "liver", spacing_mm=SPACING, direction=np.ones((3, 3)))
    with pytest.raises(PromptError, match="no prompt"):
        segmenter.predict(phantom, [], spacing_mm=SPACING)
    with pytest.raises(InputError):
        segmenter.predict(tmp_path / "nothing.nii.gz", "liver")
    with pytest.raises(InputError):  # read first, whatever is wrong with the prompts
        segmenter.predict(tmp_path / "nothing.nii.gz", [])
    for device in ("gpu", "cuda:99", "cuda:x"):
        with pytest.raises(UsageError, match="device"):
            Segmenter(model_folder, device)
    with pytest.raises(KeyError, match="did you mean"):
        segmenter.predict(phantom, "liver", spacing_mm=SPACING)["livr"]
