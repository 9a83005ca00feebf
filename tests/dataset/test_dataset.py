"""nnU-Net's dataset layout: reading it, naming its faults, splitting it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.dataset.small import DESCRIPTION, make_dataset, save
from textseg3d.dataset import (
    Dataset,
    Description,
    base_folder,
    dataset_folder,
    five_folds,
    load_or_make_splits,
    read_case,
    verify_dataset_integrity,
)
from textseg3d.errors import InputError, UsageError

PATH = "dataset.json"


def described(**changes):
    return Description.from_dict({**DESCRIPTION, **changes}, PATH)


def messages(folder):
    return [f"{fault.verdict}: {fault.message}" for fault in verify_dataset_integrity(folder)]


def test_labels_regions_ignore_and_prompts():
    found = described(
        labels={"background": 0, "tumour": [1, 2], "core": 2, "ignore": 3},
        regions_class_order=[1, 2],
        prompts={"tumour": ["the whole tumour", "tumor"]},
        licence="none of nnU-Net's keys",
    )
    assert [(label.name, label.values) for label in found.labels] == [
        ("tumour", (1, 2)),
        ("core", (2,)),
    ]
    assert found.labels[0].wordings == ("the whole tumour", "tumor")
    assert (found.ignore, found.has_regions, found.values) == (3, True, (0, 1, 2, 3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"0": "background", "1": "liver"}}, "names come first, values second"),
        ({"labels": {"background": 0, "a": 1, "b": 3}}, "without a gap"),
        ({"labels": {"background": 0, "a": 2, "ignore": 1}}, "ignore is 1, expected 3"),
        ({"labels": {"background": 0, "a": [1, 2], "b": 2}}, "regions_class_order needs 2 values"),
        ({"labels": {"background": 0, "a": 1.5}}, "label 'a' is 1.5"),
        ({"channel_names": {"1": "CT"}}, r"channel_names has keys \['1'\]"),
        ({"prompts": {"left_kidney": ["x"]}}, "did you mean 'left kidney'"),
        ({"file_ending": "nii.gz"}, "file_ending is 'nii.gz'"),
    ],
)
def test_faults_of_the_description(changes, message):
    with pytest.raises(InputError, match=message):
        described(**changes)


def test_missing_key_is_named():
    data = {key: value for key, value in DESCRIPTION.items() if key != "numTraining"}
    with pytest.raises(InputError, match="has no numTraining"):
        Description.from_dict(data, PATH)


def test_cases_and_their_arrays(tmp_path):
    dataset = Dataset.load(make_dataset(tmp_path / "Dataset007_X", channels=2))
    assert [case.name for case in dataset.cases] == ["a", "b", "c"]
    arrays = read_case(dataset.cases[1])
    assert arrays.image.shape == (2, 9, 18, 20)
    assert arrays.image.dtype == np.float32
    assert arrays.volume.spacing_mm == pytest.approx((2.0, 1.1, 1.1))
    # x grows to the left in a canonical volume, as in the phantom.
    assert np.argwhere(arrays.labels == 1)[:, 2].min() == 12


def test_explicit_paths(tmp_path, monkeypatch):
    source = make_dataset(tmp_path / "source")
    monkeypatch.setenv("ELSEWHERE", str(source))
    folder = tmp_path / "Dataset008_Y"
    folder.mkdir()
    entry = {
        "images": ["$ELSEWHERE/imagesTr/b_0000.nii.gz"],
        "label": "../source/labelsTr/b.nii.gz",
    }
    description = {**DESCRIPTION, "numTraining": 1, "dataset": {"case_b": entry}}
    (folder / "dataset.json").write_text(json.dumps(description))
    (case,) = Dataset.load(folder).cases
    assert read_case(case).labels.shape == (9, 18, 20)
    assert messages(folder) == []


def test_a_good_dataset_has_no_faults(tmp_path):
    assert messages(make_dataset(tmp_path / "Dataset007_X", channels=2)) == []


def test_every_fault_has_one_line(tmp_path):
    folder = make_dataset(tmp_path / "Dataset007_X", numTraining=5)
    images, labels = folder / "imagesTr", folder / "labelsTr"
    save(images / "d_0000.nii.gz", np.ones((8, 8, 8), np.int16))  # no label
    save(images / "e.nii.gz", np.ones((8, 8, 8), np.int16))  # no channel
    save(images / "f_0001.nii.gz", np.ones((8, 8, 8), np.int16))  # a channel too high
    save(labels / "f.nii.gz", np.zeros((8, 8, 8), np.uint8))
    save(labels / "z.nii.gz", np.zeros((8, 8, 8), np.uint8))  # no image
    save(labels / "a.nii.gz", np.full((8, 20, 24), 7, np.uint8))  # an unknown value
    save(labels / "b.nii.gz", np.zeros((9, 18, 21), np.uint8), (2.0, 1.1, 1.1))  # another shape
    (images / "c_0000.nii.gz").write_bytes(b"no scan")
    found = messages(folder)
    assert all("\n" not in text for text in found)
    for part in (
        "case d: there is no file",
        "e.nii.gz has no channel number",
        "case f has images f_0001.nii.gz; expected 1 channel",
        "z.nii.gz belongs to no image",
        "has label values [7]",
        "b.nii.gz has shape (9, 18, 21)",
        "c_0000.nii.gz",
    ):
        assert sum(part in text for text in found) == 1, part
    assert len(found) == 7


def test_spacing_number_and_nan_faults(tmp_path):
    folder = make_dataset(tmp_path / "Dataset007_X", numTraining=4, dtype=np.float32)
    save(folder / "labelsTr" / "a.nii.gz", np.ones((8, 20, 24), np.uint8), (3.0, 1.0, 1.0))
    save(folder / "labelsTr" / "b.nii.gz", np.full((9, 18, 20), 0.5, np.float32), (2.0, 1.1, 1.1))
    save(
        folder / "imagesTr" / "c_0000.nii.gz", np.full((7, 22, 22), np.nan, np.float32), (2.5, 1, 1)
    )
    found = messages(folder)
    assert "numTraining 4, found 3" in found[0]
    assert "has spacing (3.0, 1.0, 1.0)" in found[1]
    assert "no whole numbers" in found[2]
    assert "c_0000.nii.gz" in found[3]


def test_folders_by_number_name_and_path(tmp_path, monkeypatch):
    for kind in ("raw", "preprocessed", "results"):
        monkeypatch.delenv(f"TEXTSEG3D_{kind}", raising=False)
        monkeypatch.delenv(f"nnUNet_{kind}", raising=False)
    with pytest.raises(UsageError, match="export nnUNet_raw="):
        base_folder("raw")
    folder = make_dataset(tmp_path / "raw" / "Dataset007_X")
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "theirs"))
    assert dataset_folder("7") == dataset_folder("Dataset007_X") == dataset_folder(str(folder))
    assert dataset_folder("7", "preprocessed") == tmp_path / "theirs" / "Dataset007_X"
    monkeypatch.setenv("TEXTSEG3D_preprocessed", str(tmp_path / "ours"))
    assert dataset_folder(str(folder), "preprocessed") == tmp_path / "ours" / "Dataset007_X"
    with pytest.raises(InputError, match="did you mean 'Dataset007_X'"):
        dataset_folder("Dataset007_Y")
    (tmp_path / "raw" / "Dataset007_Z").mkdir()
    with pytest.raises(InputError, match="ambiguous: Dataset007_X, Dataset007_Z"):
        dataset_folder("7")


@pytest.mark.parametrize("count", [5, 7, 10, 23, 200])
def test_folds_equal_nnunet(count):
    module = pytest.importorskip("nnunetv2.utilities.crossval_split")
    names = [f"case_{n:03d}" for n in np.random.default_rng(1).permutation(count)]
    theirs = module.generate_crossval_split(np.sort(names), seed=12345, n_splits=5)
    assert five_folds(names) == [{k: [str(n) for n in v] for k, v in f.items()} for f in theirs]


def test_splits_are_kept_and_checked(tmp_path):
    raw, preprocessed = tmp_path / "raw", tmp_path / "preprocessed"
    raw.mkdir()
    preprocessed.mkdir()
    names = [f"c{n}" for n in range(6)]
    own = [{"train": names[:4], "val": names[4:]}]
    (raw / "splits_final.json").write_text(json.dumps(own))
    assert load_or_make_splits(preprocessed, names, raw) == own
    (raw / "splits_final.json").unlink()
    assert load_or_make_splits(preprocessed, names, raw) == own
    (preprocessed / "splits_final.json").write_text(json.dumps([{"train": ["q"], "val": ["c1"]}]))
    with pytest.raises(InputError, match="fold 0 names 'q'"):
        load_or_make_splits(preprocessed, names)
    (preprocessed / "splits_final.json").write_text(json.dumps([{"train": ["c1"], "val": ["c1"]}]))
    with pytest.raises(InputError, match="trains and validates on 'c1'"):
        load_or_make_splits(preprocessed, names)
    with pytest.raises(InputError, match="4 cases cannot be split into 5"):
        five_folds(names[:4])


def test_the_real_hippocampus_dataset(shared_data):
    dataset = Dataset.load(shared_data / "Dataset004_Hippocampus")
    assert len(dataset.cases) == 200
    assert dataset.description.labels[0].wordings[1] == "head of the hippocampus"
    arrays = read_case(dataset.cases[0])
    assert arrays.image.shape[1:] == arrays.labels.shape
    assert set(np.unique(arrays.labels)) == {0, 1, 2}
