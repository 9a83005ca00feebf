"""Choosing among configurations, ensembles and rules, on label maps whose Dice is known by hand."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from tests.evaluation.phantoms import box, save_zyx
from tests.model_factory import make_model
from textseg3d.cli.main import main
from textseg3d.dataset.description import Description
from textseg3d.errors import GeometryError, InputError
from textseg3d.evaluation.grids import read_labels
from textseg3d.evaluation.selection.decide import Components, decide_rule, measure_components
from textseg3d.evaluation.selection.ensembling import from_file_order, labels_of
from textseg3d.inference.postprocess import Postprocessing, Rule
from textseg3d.zoo import ModelCard

SHAPE, SPACING = (10, 16, 16), (2.0, 1.0, 1.0)  # a voxel is 0.002 ml
LIVER, SPLEEN = box(SHAPE, (1, 1, 1), (4, 4, 4)), box(SHAPE, (1, 8, 1), (4, 4, 4))
HALF = box(SHAPE, (1, 1, 1), (2, 4, 4))
FALSE = box(SHAPE, (7, 12, 12), (1, 4, 4))  # 16 voxels, 0.032 ml, far away
NAME, CASES = "Dataset009_Organs", ("a", "b", "c", "d")
DESCRIPTION = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "liver": 1, "spleen": 2},
    "numTraining": 4,
    "file_ending": ".nii.gz",
}


def probabilities(liver, spleen):
    background = 1 - np.maximum(liver, spleen)
    return np.stack([background, liver, spleen]).astype(np.float16)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Two configurations, two folds: one finds too much of the liver, the other too little."""
    for kind in ("raw", "preprocessed", "results"):
        monkeypatch.delenv(f"TEXTSEG3D_{kind}", raising=False)
        monkeypatch.setenv(f"nnUNet_{kind}", str(tmp_path / kind))
    raw, results = tmp_path / "raw" / NAME, tmp_path / "results" / NAME
    truth = 1 * LIVER + 2 * SPLEEN
    for name in CASES:
        save_zyx(raw / "imagesTr" / f"{name}_0000.nii.gz", truth * 50, SPACING, np.int16)
        save_zyx(raw / "labelsTr" / f"{name}.nii.gz", truth, SPACING)
    (raw / "dataset.json").write_text(json.dumps(DESCRIPTION))
    much = probabilities(0.9 * LIVER + 0.6 * FALSE, 0.9 * SPLEEN)
    little = probabilities(0.9 * HALF + 0.4 * (LIVER & ~HALF) + 0.3 * FALSE, 0.9 * SPLEEN)
    for name, values in (("3d_fullres", much), ("3d_lowres", little)):
        for fold, cases in enumerate((CASES[:2], CASES[2:])):
            folder = results / f"PromptTrainer__nnUNetPlans__{name}" / f"fold_{fold}" / "validation"
            for case in cases:
                save_zyx(folder / f"{case}.nii.gz", values.argmax(0), SPACING)
                np.savez_compressed(folder / f"{case}.npz", probabilities=values)
            (folder / "summary.json").write_text("{}")
    return raw, results


def test_best_single_configuration_and_its_rule(folders, capsys):
    """Liver: 2·64/(64 + 80) against 2·32/(64 + 32); spleen: 1."""
    _, results = folders
    assert (
        main(["find_best_configuration", "9", "-f", "0", "1", "--disable_ensembling", "-np", "1"])
        == 0
    )
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["PromptTrainer__nnUNetPlans__3d_fullres", f"{(128 / 144 + 1) / 2:.4f}"]
    assert lines[1] == ["PromptTrainer__nnUNetPlans__3d_lowres", f"{(64 / 96 + 1) / 2:.4f}"]
    assert lines[2][1:] == [lines[0][0], "1.0000 after postprocessing"]
    assert lines[3] == ["rule", "liver", "largest component"]
    found = json.loads((results / "inference_information.json").read_text())
    best = found["best_model_or_ensemble"]
    assert best["result_on_crossval_pre_pp"] == pytest.approx((128 / 144 + 1) / 2, abs=1e-12)
    assert best["result_on_crossval_post_pp"] == 1.0
    assert best["selected_model_or_models"][0]["configuration"] == "3d_fullres"
    rules = Postprocessing.load(results / lines[0][0] / "crossval_results_folds_0_1" /
                                "postprocessing.json")  # fmt: skip
    assert rules.rules == (Rule("liver", True, 0.0, pytest.approx(128 / 144), 1.0),)
    assert "4 validation cases of folds 0, 1" in rules.decided_on


def test_the_ensemble_wins(folders, capsys):
    """Mean probabilities: 0.65 in the missing half, 0.45 where only one sees something."""
    _, results = folders
    assert main(["find_best_configuration", "9", "-f", "0", "1", "-np", "1"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    name = (
        "ensemble___PromptTrainer__nnUNetPlans__3d_fullres"
        "___PromptTrainer__nnUNetPlans__3d_lowres___0_1"
    )
    assert lines[0] == [name, "1.0000"]
    np.testing.assert_array_equal(
        np.asarray(nib.load(results / "ensembles" / name / "c.nii.gz").dataobj),
        (1 * LIVER + 2 * SPLEEN).transpose(2, 1, 0),
    )
    found = json.loads((results / "inference_information.json").read_text())
    assert len(found["best_model_or_ensemble"]["selected_model_or_models"]) == 2
    assert len(found["all_results"]) == 3


def test_folds_become_a_model_with_the_rules(folders, capsys):
    _, results = folders
    for fold in (0, 1):
        folder = results / f"PromptTrainer__nnUNetPlans__3d_fullres/fold_{fold}/model"
        make_model(folder, concepts=("liver", "spleen"), name=f"fold_{fold}")
    command = ["find_best_configuration", "9", "-f", "0", "1", "--disable_ensembling", "-np", "1"]
    assert main([*command, "-c", "3d_fullres"]) == 0
    model = results / "PromptTrainer__nnUNetPlans__3d_fullres" / "model_folds_0_1"
    assert f"predict --model {model} -i SCAN -p 'liver' 'spleen'" in capsys.readouterr().out
    card = ModelCard.read(model)
    assert "postprocessing.json" in card.files
    assert Postprocessing.load(model / "postprocessing.json").rule("liver").keep_largest
    assert main([*command, "-c", "3d_fullres"]) == 0  # again, over what is there


def test_what_is_missing_is_named(folders, capsys):
    _, results = folders
    assert main(["find_best_configuration", "9"]) == 3
    assert "fold_2" in capsys.readouterr().err
    assert main(["find_best_configuration", "9", "-tr", "Other"]) == 3
    assert "train first" in capsys.readouterr().err
    lowres = results / "PromptTrainer__nnUNetPlans__3d_lowres/fold_1/validation"
    (lowres / "d.nii.gz").unlink()
    assert main(["find_best_configuration", "9", "-f", "0", "1"]) == 3
    assert "different cases (first: d.nii.gz)" in capsys.readouterr().err


def test_folders_of_label_maps(folders, tmp_path, capsys):
    """The single steps, as nnU-Net's commands of these names."""
    raw, results = folders
    inputs = []
    for name in ("3d_fullres", "3d_lowres"):
        merged = tmp_path / name
        merged.mkdir()
        for path in (results / f"PromptTrainer__nnUNetPlans__{name}").glob("fold_*/validation/?.*"):
            (merged / path.name).write_bytes(path.read_bytes())
        (merged / "dataset.json").write_text(json.dumps(DESCRIPTION))
        inputs.append(str(merged))
    out = tmp_path / "mean"
    assert main(["ensemble", "-i", *inputs, "-o", str(out), "-np", "1", "--save_npz"]) == 0
    truth = (raw / "labelsTr").iterdir()
    for path in truth:
        np.testing.assert_array_equal(nib.load(out / path.name).dataobj, nib.load(path).dataobj)
    mean = np.load(out / "a.npz")["probabilities"]
    assert float(mean[1][tuple(np.argwhere(FALSE)[0])]) == pytest.approx(0.45, abs=1e-3)

    command = ["determine_postprocessing", "-i", inputs[0], "-ref", str(raw / "labelsTr")]
    assert main([*command, "-np", "1"]) == 0
    assert "liver\tkeep_largest=True" in capsys.readouterr().out
    cleaned = tmp_path / "cleaned"
    command = ["apply_postprocessing", "-i", inputs[0], "-o", str(cleaned), "-np", "1"]
    assert main([*command, "-pp_file", f"{inputs[0]}/postprocessing.json"]) == 0
    np.testing.assert_array_equal(
        nib.load(cleaned / "a.nii.gz").dataobj, nib.load(raw / "labelsTr/a.nii.gz").dataobj
    )
    (tmp_path / "3d_lowres" / "a.npz").unlink()
    assert main(["ensemble", "-i", *inputs, "-o", str(out)]) == 3
    assert "differing: a" in capsys.readouterr().err


def test_components_and_rules_by_hand():
    table = measure_components(LIVER, LIVER | FALSE, SPACING)
    assert sorted(zip(table.sizes.tolist(), table.overlaps.tolist(), strict=True)) == [
        (16, 0), (64, 64),
    ]  # fmt: skip
    assert (table.truth, table.voxel_ml) == (64, 0.002)
    assert table.dice(Rule("x")) == pytest.approx(128 / 144)
    assert table.dice(Rule("x", min_volume_ml=0.033)) == 1.0
    assert table.dice(Rule("x", keep_largest=True, min_volume_ml=1)) == 0.0


def part(*pairs, truth):
    sizes, overlaps = zip(*pairs, strict=True) if pairs else ((), ())
    return Components(np.array(sizes, int), np.array(overlaps, int), truth, 0.002)


def test_two_true_parts_need_a_volume_not_the_largest():
    """Both kidneys are true; specks of 10 voxels (0.02 ml) are not: 0.03 ml is the mildest."""
    cases = [part((300, 300), (280, 280), (10, 0), truth=580) for _ in range(3)]
    rule = decide_rule("kidneys", cases)
    assert (rule.keep_largest, rule.min_volume_ml) == (False, 0.03)
    assert rule.dice_before == pytest.approx(1160 / 1170)
    assert rule.dice_after == 1.0


def test_no_rule_without_a_gain():
    assert decide_rule("x", [part((100, 90), truth=120)]) is None
    # One case gains by the largest alone (1 for 0.8), the other loses more (0.667 for 1).
    cases = [part((100, 100), (50, 0), truth=100), part((100, 100), (100, 100), truth=200)]
    rule = decide_rule("x", cases)
    assert rule is None or not rule.keep_largest
    assert decide_rule("x", []) is None


def test_a_mask_of_nothing_true_may_go():
    """An absent organ: the false mask scores 0, without it the case has no score (nnU-Net's)."""
    cases = [part((400, 400), truth=400), part((20, 0), truth=0)]
    rule = decide_rule("x", cases)
    assert (rule.min_volume_ml, rule.dice_before, rule.dice_after) == (0.1, 0.5, 1.0)


def description(tmp_path, **changes):
    return Description.from_dict({**DESCRIPTION, **changes}, tmp_path / "dataset.json")


def test_labels_of_probabilities(tmp_path):
    values = np.zeros((3, 1, 1, 4), np.float32)
    values[:, 0, 0] = np.array([[0.5, 0.2, 0.1, 0.2], [0.3, 0.6, 0.2, 0.4], [0.2, 0.2, 0.7, 0.4]])
    assert labels_of(values, description(tmp_path))[0, 0].tolist() == [0, 1, 2, 1]
    regions = description(
        tmp_path,
        labels={"background": 0, "whole": [1, 2], "core": 2}, regions_class_order=[1, 2],
    )  # fmt: skip
    assert labels_of(values[1:], regions)[0, 0].tolist() == [0, 1, 2, 0]
    assert labels_of(values, regions)[0, 0].tolist() == [0, 1, 2, 0]  # with a background
    with pytest.raises(InputError, match="2 channels"):
        labels_of(values[1:], description(tmp_path))


@pytest.mark.parametrize("flip", [(1, 1, 1), (-1, 1, -1), (1, -1, 1)])
def test_file_order_of_flipped_files(tmp_path, flip):
    """Whatever the file's axes, a map read from it goes back to the same voxels."""
    values = np.random.default_rng(0).integers(0, 5, (3, 4, 5)).astype(np.int16)
    image = nib.Nifti1Image(values, np.diag([*(2.0 * s for s in flip), 1.0]))
    nib.save(image, tmp_path / "x.nii.gz")
    like = read_labels(tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(from_file_order(values.transpose(2, 1, 0), like), like.array[0])
    with pytest.raises(GeometryError, match="probabilities have shape"):
        from_file_order(values, like)
