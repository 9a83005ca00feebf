"""`textseg3d train` as a user runs it: from raw data to answers to text prompts, in miniature."""

from __future__ import annotations

import csv
import json

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.training.phantoms import LABELS, phantom, write_dataset, write_nifti
from textseg3d.cli.main import main
from textseg3d.plans import Plans
from textseg3d.text.bank import EmbeddingBank
from textseg3d.zoo import ModelCard

NAME = "Dataset007_Phantom"
RESULTS = f"results/{NAME}/PromptTrainer__nnUNetPlans__3d_fullres/fold_0"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Plan, preprocess and train with the command line; yields the folder and the printed lines."""
    folder = tmp_path_factory.mktemp("train")
    name_the_liver_anew(write_dataset(folder / "raw" / NAME) / "dataset.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("textseg3d.preprocessing.fingerprinting.FOREGROUND_SAMPLES", 30_000)
        for kind in ("raw", "preprocessed", "results"):
            patch.delenv(f"TEXTSEG3D_{kind}", raising=False)
            patch.setenv(f"nnUNet_{kind}", str(folder / kind))
        assert main(["plan_and_preprocess", "-d", "7", "--quiet"]) == 0
        common = ["train", "7", "3d_fullres", "0", "--network", "nano", "--batch", "2"]
        common += ["--learning-rate", "3e-3", "--prompts", "4", "--loaders", "0", "--quiet"]
        assert main([*common, "--steps", "110", "--validate-every", "55", "--npz"]) == 0
        yield folder


def name_the_liver_anew(path):
    """A structure that nobody knows by name, with words that only this dataset has."""
    data = json.loads(path.read_text())
    data["labels"] = {"zorblax" if n == "liver" else n: v for n, v in data["labels"].items()}
    data["prompts"]["zorblax"] = ["zorblax node", "glowing lump of Smith"]
    path.write_text(json.dumps(data))


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def test_an_unseen_phantom_is_segmented_from_text(trained, tmp_path):
    """Wordings that the dataset or the tree has, Dice >= 0.8; what is absent stays empty."""
    hu, labels = phantom(100, spleen=False)
    scan = tmp_path / "unseen.nii.gz"
    write_nifti(scan, hu)
    prompts = {
        "left kidney": 1, "kidney of the left flank": 1, "the right kidney": 2, "spleen": 4,
        "zorblax": 3, "the zorblax node": 3, "segment the glowing lump of Smith": 3,
    }  # fmt: skip
    model = str(trained / RESULTS / "model")
    out = tmp_path / "out"
    command = ["predict", "-i", str(scan), "--model", model, "-o", str(out), "--quiet", "-p"]
    assert main([*command, *prompts]) == 0
    record = json.loads((out / "unseen.json").read_text())
    assert {entry["text"] for entry in record["prompts"]} == set(prompts)
    foreground = int((labels > 0).sum())
    for entry in record["prompts"]:
        image = nib.load(out / entry["mask"])
        found = np.asarray(image.dataobj)[::-1, ::-1].transpose(2, 1, 0) > 0
        value = prompts[entry["text"]]
        if value == LABELS["spleen"]:
            assert found.sum() <= 0.05 * foreground
        else:
            assert dice(found, labels == value) >= 0.8, entry["text"]


def test_the_fold_is_validated_as_nnunet_does(trained):
    run = trained / RESULTS
    summary = json.loads((run / "validation" / "summary.json").read_text())
    splits = json.loads((trained / "preprocessed" / NAME / "splits_final.json").read_text())
    files = [entry["reference_file"] for entry in summary["metric_per_case"]]
    assert sorted(f.split("/")[-1].split(".")[0] for f in files) == splits[0]["val"]
    assert set(summary["mean"]) == {"1", "2", "3", "4"}
    scores = [summary["mean"][label]["Dice"] for label in "1234"]
    assert summary["foreground_mean"]["Dice"] == pytest.approx(np.nanmean(scores))
    assert min(scores[:3]) > 0.75  # the spleen, in half of the cases, takes longer to learn
    for case in splits[0]["val"]:
        truth = nib.load(trained / "raw" / NAME / "labelsTr" / f"{case}.nii.gz")
        image = nib.load(run / "validation" / f"{case}.nii.gz")
        np.testing.assert_allclose(image.affine, truth.affine)
        labels = np.asarray(image.dataobj)
        with np.load(run / "validation" / f"{case}.npz") as data:
            scores = data["probabilities"]
        assert scores.shape == (5, *labels.shape[::-1])
        agree = scores.argmax(0).transpose(2, 1, 0) == labels
        assert agree.mean() > 0.999  # float16 makes a tie here and there


def test_a_run_leaves_what_nnunet_leaves(trained):
    run = trained / RESULTS
    for name in ("plans.json", "dataset.json", "dataset_fingerprint.json"):
        assert (run.parent / name).is_file()
    with (run / "validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [55, 110]
    assert float(rows[-1]["dice"]) > 0.7
    assert (run / "progress.png").stat().st_size > 5000
    plans = Plans.load(run / "model" / "plans.json")
    assert plans.configuration("3d_fullres").architecture.network_class_name == "PromptUNet"


def resumed(trained, monkeypatch, *options):
    for kind in ("raw", "preprocessed", "results"):
        monkeypatch.delenv(f"TEXTSEG3D_{kind}", raising=False)
        monkeypatch.setenv(f"nnUNet_{kind}", str(trained / kind))
    return main(["train", "7", "3d_fullres", "0", "--quiet", *options])


def test_options_that_do_not_fit_are_one_line(trained, monkeypatch, capsys):
    def error(*options):
        code = resumed(trained, monkeypatch, *options)
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        return code, lines[0]

    code, line = error("--continue", "--network", "small")
    assert (code, "continue with the same options" in line) == (2, True)
    code, line = error("--tune", "lora")
    assert (code, "--tune lora needs --from MODEL" in line) == (2, True)
    code, line = error("--from", "ct-nano")
    assert code == 2
    assert "--preset" in line
    code, line = error("-p", "nnUNetPlan")
    assert (code, "there are no plans" in line) == (3, True)
    code, line = error("--batch", "0")
    assert (code, "--batch is 0" in line) == (2, True)


def test_fold_must_be_one(trained, monkeypatch, capsys):
    for kind in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"TEXTSEG3D_{kind}", str(trained / kind))
    assert main(["train", "7", "3d_fullres", "first", "--quiet"]) == 2
    assert main(["train", "7", "3d_fullres", "9", "--quiet"]) == 2
    assert "there are 5 (from 0), or all" in capsys.readouterr().err


def test_low_rank_tuning_changes_the_fusion_alone(trained, monkeypatch):
    """The trained model is the base; only matrices of the fusion differ after the merge.

    Also with a modality token, which the base had not: no tensor comes or goes for it.
    """
    from safetensors.torch import load_file

    path = trained / "preprocessed" / NAME / "nnUNetPlans.json"
    plans = json.loads(path.read_text())
    own = json.loads((trained / RESULTS / "model" / "plans.json").read_text())
    mine = {**own["configurations"]["3d_fullres"], "data_identifier": "nnUNetPlans_3d_fullres"}
    plans["configurations"]["mine"] = mine
    path.write_text(json.dumps(plans))
    for kind in ("raw", "preprocessed", "results"):
        monkeypatch.delenv(f"TEXTSEG3D_{kind}", raising=False)
        monkeypatch.setenv(f"nnUNet_{kind}", str(trained / kind))
    base = trained / RESULTS / "model"
    command = ["train", "7", "mine", "0", "--from", str(base), "--tune", "lora", "--steps", "3"]
    command += ["--batch", "1", "--validate-every", "0", "--no-validation", "--loaders", "0"]
    command += ["--learning-rate", "0.5"]  # three steps must show after rounding to bf16
    command += ["--modality-token"]
    assert main([*command, "--quiet"]) == 0
    run = trained / "results" / NAME / "PromptTrainer__nnUNetPlans__mine" / "fold_0"
    before, after = (load_file(m / "model.safetensors") for m in (base, run / "model"))
    assert before.keys() == after.keys()
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert changed
    assert all(k.startswith("prompt.") and before[k].ndim == 2 for k in changed)
    made = Plans.load(run / "model" / "plans.json").configuration("mine")
    assert made.text.modality_token
    assert "computed tomography" in EmbeddingBank.load(run / "model" / "bank.safetensors")
    card = ModelCard.read(run / "model")
    assert card.modalities == ("CT",)
    assert card.wordings["zorblax"] == ("zorblax node", "glowing lump of Smith")
