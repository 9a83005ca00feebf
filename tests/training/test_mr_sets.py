"""Prepared sets of MR: atlases alone, rendered anew each time, seen as inference sees a scan."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.synthesis.torso import TARGETS, torso, torso_case, write_torso_set
from tests.training.toy import configuration, write_training_set
from textseg3d.cli.main import main
from textseg3d.errors import InputError
from textseg3d.evaluation.cases import find_cases
from textseg3d.plans import Intensity, Plans
from textseg3d.preprocessing import normalise
from textseg3d.synthesis.findings import FINDINGS
from textseg3d.training.cases import TrainingSet, save_case_arrays
from textseg3d.training.sampling import WindowDataset
from textseg3d.zoo import ModelCard

ROOT = Path(__file__).resolve().parents[2]
ZSCORE = dataclasses.replace(configuration(), intensity=(Intensity("zscore", outside=0.0),))
TISSUE = dict(
    zip(map(str, range(1, 10)), ["fat", *["lung"] * 5, "liver", "kidney", "kidney"], strict=True)
)


def write_both(folder: Path) -> Path:
    """The torso as a scan, and as an atlas that may show findings."""
    write_torso_set(folder)
    save_case_arrays(folder, "atlas", torso()[1], None)
    atlas = torso_case(name="atlas", kind="atlas", tissue=TISSUE)
    both = TrainingSet.load(folder)
    dataclasses.replace(both, cases=(*both.cases, atlas)).save(folder)
    return folder


def zyx(path: Path) -> np.ndarray:
    image = nib.as_closest_canonical(nib.load(path))
    return np.asarray(image.dataobj).transpose(2, 1, 0)[:, ::-1, ::-1]


def test_of_a_set_only_atlases_without_findings_become_mr(tmp_path: Path) -> None:
    both = TrainingSet.load(write_both(tmp_path))
    mr = both.as_mr()
    assert (both.modality, mr.modality) == ("CT", "MR")
    assert [c.name for c in mr.cases] == ["atlas"]
    assert not mr.cases[0].insert
    assert not {t.name for t in mr.targets} & set(FINDINGS)
    mr.save(tmp_path)
    assert TrainingSet.load(tmp_path) == mr == mr.as_mr()
    with pytest.raises(InputError, match="no atlas"):
        dataclasses.replace(both, cases=both.cases[:1]).as_mr()
    dataclasses.replace(both, modality="MR").save(tmp_path)
    with pytest.raises(InputError, match="made of atlases alone"):
        TrainingSet.load(tmp_path)


def test_windows_are_normalised_and_placed_by_the_whole_scan(tmp_path: Path) -> None:
    """What inference does with a scan whose values are no HU."""
    data = WindowDataset(tmp_path, write_training_set(tmp_path).as_mr(), ZSCORE, seed=0, prompts=4)
    for step in range(6):
        rng = data.generator(step)
        scan = data.scan(rng, data.choose_case(rng))
        whole = normalise(scan.image[None], ZSCORE.intensity)[0].to(torch.bfloat16)
        sample = data[step]
        assert sample.case == "atlas"
        assert set(sample.x.unique().tolist()) <= set(whole.unique().tolist())
        length = sample.position[:, 1] - sample.position[:, 0]
        expected = [2 * (32 - 1) / n for n in whole.shape]
        torch.testing.assert_close(length, torch.tensor(expected), atol=1e-5, rtol=1e-5)
    assert torch.equal(data[1].x, data[1].x)
    assert not torch.equal(data[1].x, data[2].x)


def test_synthesize_writes_mr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training = write_both(tmp_path / "training")
    command = ["synthesize", str(training), "-n", "2", "--quiet", "-o"]
    for out in ("a", "b"):
        assert main([*command, str(tmp_path / out), "--modality", "MR"]) == 0
    for folder in sorted((tmp_path / "a").iterdir()):
        assert {p.name for p in folder.iterdir()} == {"mr.nii.gz", "seg.nii.gz", "info.json"}
        info = json.loads((folder / "info.json").read_text())
        assert (info["modality"], info["source"]) == ("MR", "atlas")
        assert set(info["targets"]) | set(info["absent"]) == set(TARGETS) - set(FINDINGS)
        values, labels = zyx(folder / "mr.nii.gz"), zyx(folder / "seg.nii.gz")
        assert values.shape == labels.shape
        assert values.min() >= 0
        lungs = [np.argwhere(np.isin(labels, info["targets"].get(s, []))) for s in SIDES]
        if all(map(len, lungs)):
            assert lungs[0].mean(0)[2] > lungs[1].mean(0)[2]
        for file in folder.iterdir():
            assert file.read_bytes() == (tmp_path / "b" / folder.name / file.name).read_bytes()
    assert find_cases([tmp_path / "a"])[0].image.name == "mr.nii.gz"
    assert main([*command, str(tmp_path / "a")]) == 2
    assert "another modality ('MR' instead of 'CT')" in capsys.readouterr().err
    TrainingSet.load(training).as_mr().save(training)
    assert main([*command, str(tmp_path / "c")]) == 0
    assert (tmp_path / "c" / "case_0000" / "mr.nii.gz").is_file()
    assert main([*command, str(tmp_path / "d"), "--modality", "CT"]) == 2
    assert main(["synthesize", str(tmp_path / "a"), "-o", str(tmp_path / "e")]) == 3


SIDES = ("left lung", "right lung")


def test_cases_of_earlier_versions_are_kept(tmp_path: Path) -> None:
    """Their record says nothing of a modality: they are CT."""
    training = write_torso_set(tmp_path / "training")
    command = ["synthesize", str(training), "-n", "1", "--quiet", "-o", str(tmp_path / "out")]
    assert main(command) == 0
    record = tmp_path / "out" / "case_0000" / "info.json"
    info = json.loads(record.read_text())
    assert info.pop("modality") == info["made"].pop("modality") == "CT"
    record.write_text(json.dumps(info))
    assert main(command) == 0
    assert "modality" not in json.loads(record.read_text())


def test_training_needs_zscore_and_the_card_says_mr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_training_set(tmp_path / "data").as_mr().save(tmp_path / "data")
    kwargs = {**ZSCORE.architecture.arch_kwargs, "embed_dim": 192}
    network = dataclasses.replace(ZSCORE.architecture, arch_kwargs=kwargs)
    for name, source in (("good", ZSCORE), ("bad", configuration())):
        plan = dataclasses.replace(source, architecture=network)
        Plans("Toy", "toy", {"tiny": plan}).save(tmp_path / f"{name}.json")
    command = [
        "train", str(tmp_path / "data"), "tiny", "--text", str(ROOT / "model_zoo/ct-nano/text"),
        "-o", str(tmp_path / "run"), "--steps", "1", "--device", "cpu", "-p",
    ]  # fmt: skip
    assert main([*command, str(tmp_path / "bad.json")]) == 2
    assert "'zscore'" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "good.json")]) == 0
    card = ModelCard.from_json(json.loads((tmp_path / "run/model/card.json").read_text()))
    assert list(card.modalities) == ["MR"]
    shutil.rmtree(tmp_path / "run")
