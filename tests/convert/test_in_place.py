"""Results folders of nnU-Net and TotalSegmentator's installed weights as `--model`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.convert.nnunet_factory import make_nnunet, write_scan
from textseg3d.cli.main import main
from textseg3d.convert.totalsegmentator import table, weights_folder
from textseg3d.errors import ModelError, UsageError
from textseg3d.zoo import find_model

pytest.importorskip("nnunetv2")
RESULT = "nnUNetTrainer__nnUNetPlans__3d_fullres"
TS_RESULT = "nnUNetTrainerNoMirroring__nnUNetPlans__3d_fullres"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TEXTSEG3D_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TOTALSEG_WEIGHTS_PATH", raising=False)
    monkeypatch.delenv("TOTALSEG_HOME_DIR", raising=False)
    return tmp_path / "home"


def test_a_results_folder_is_a_model(tmp_path: Path, home: Path) -> None:
    source = make_nnunet(tmp_path / "Dataset001_Lungs" / RESULT)
    scan = write_scan(tmp_path / "scan")[0]
    out = tmp_path / "out"
    command = ["predict", "-i", str(scan), "-p", "LUL", "--model", str(source), "-o", str(out)]
    assert main([*command, "--quiet", "--device", "cpu"]) == 0
    assert len(list(out.glob("*.nii.gz"))) == 1
    folder = find_model(source)
    assert folder.is_relative_to(home)
    assert find_model(source.parent) == folder  # its only configuration
    assert len(list((home / "converted").glob("Dataset001*"))) == 1  # made once
    dataset = json.loads((source / "dataset.json").read_text())
    (source / "dataset.json").write_text(json.dumps({**dataset, "licence": "other"}))
    assert find_model(source) != folder  # other files, another model
    shutil.copytree(source, source.with_name(RESULT.replace("fullres", "lowres")))
    with pytest.raises(UsageError, match="several models"):
        find_model(source.parent)
    (source / "plans.json").unlink()
    with pytest.raises(ModelError, match=r"has no plans\.json"):
        find_model(source)


def test_a_payload_in_place_is_refused(
    tmp_path: Path, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import os
    import pickle

    from tests.convert.test_convert import Payload, zip_checkpoint

    source = make_nnunet(tmp_path / "Dataset001_Lungs" / RESULT)
    scan = write_scan(tmp_path / "scan")[0]
    proof = tmp_path / "proof"
    payload = pickle.dumps({"network_weights": Payload(os.system, f"touch {proof}")}, protocol=2)
    zip_checkpoint(source / "fold_0" / "checkpoint_final.pth", payload)
    command = ["predict", "-i", str(scan), "-p", "LUL", "--model", str(source), "--quiet"]
    assert main(command) == 3
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert "nothing was run" in error
    assert not proof.exists()
    assert list((home / "converted").glob("Dataset*")) == []


def lay_out(root: Path, numbers: list[int], spacing: float = 1.5) -> None:
    """Networks with random weights where TotalSegmentator puts its own."""
    for number in numbers:
        names = table()["labels"][str(number)]
        labels = {n: i for i, n in enumerate(["background", *names])}
        folder = root / f"Dataset{number}_TotalSegmentator_x_1559subj" / TS_RESULT
        size = {298: 6.0, 297: 3.0}.get(number, spacing)
        make_nnunet(folder, labels=labels, spacing=(size,) * 3, seed=number)


def prefer(folder: Path, label: str) -> None:
    """Make a network say one class everywhere."""
    path = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(path, weights_only=False)
    labels = json.loads((folder / "dataset.json").read_text())["labels"]
    checkpoint["network_weights"]["decoder.seg_layers.1.bias"][labels[label]] += 1000
    torch.save(checkpoint, path)


def totalsegmentator_itself(folder: Path, scan: Path, names: list[str]) -> dict[str, np.ndarray]:
    """Its steps around nnunetv2's predictor, told again: masks on the scan's grid by name."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from scipy.ndimage import zoom

    image = nib.load(scan)
    canonical = nib.as_closest_canonical(image)
    data = canonical.get_fdata()
    factors = np.array(canonical.header.get_zooms()) / 1.5
    small = zoom(data, factors, order=1, mode="nearest").astype(np.int32)
    predictor = nnUNetPredictor(
        tile_step_size=0.8, use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(folder), (0,))
    array = small.transpose(2, 1, 0)[None].astype(np.float32)
    labels = predictor.predict_single_npy_array(array, {"spacing": [1.5, 1.5, 1.5]})
    small_labels = labels.transpose(2, 1, 0)
    back = zoom(
        small_labels, np.array(data.shape) / small_labels.shape, order=0, mode="nearest"
    )  # fmt: skip
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(canonical.affine), nib.io_orientation(image.affine)
    )
    back = nib.orientations.apply_orientation(back, turn)
    return {name: back == value for value, name in enumerate(names, 1)}


def test_totalsegmentator_from_its_own_folders(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from textseg3d import Segmenter
    from textseg3d.convert.plans import class_name

    parts = [291, 292, 293, 294, 295]
    monkeypatch.setenv("TOTALSEG_HOME_DIR", str(tmp_path / "ts"))
    root = weights_folder()
    assert root == tmp_path / "ts" / "nnunet" / "results"
    with pytest.raises(ModelError, match="totalseg_download_weights"):
        find_model("totalsegmentator")
    lay_out(root, [*parts, 298])
    scan = write_scan(tmp_path / "scan", spacing=(1.7, 1.6, 2.3))[0]
    segmenter = Segmenter("totalsegmentator", "cpu", precision="fp32")
    assert len(segmenter.concepts) == 117  # the output classes are equal
    monkeypatch.setattr(torch, "half", torch.float32)
    names = table()["labels"]["291"]
    folder = next(root.glob("Dataset291_*")) / TS_RESULT
    expected = totalsegmentator_itself(folder, scan, names)
    prompts: dict[str, str] = {}
    for name in names:
        prompts[class_name(name, (), set(prompts))] = name
    result = segmenter.predict(scan, [*prompts, "left lung"], exact=True)
    masks = {name: result[text].source_array.astype(bool) for text, name in prompts.items()}
    assert sum(mask.any() for mask in masks.values()) >= 3
    for name, mask in masks.items():
        assert (mask != expected[name]).mean() < 1e-3, name
    both = masks["lung_lower_lobe_left"] | masks["lung_upper_lobe_left"]
    np.testing.assert_array_equal(result["left lung"].source_array.astype(bool), both)
    made = sorted(p.name.split("_")[0] for p in (home / "converted").iterdir() if p.is_dir())
    assert made == ["Dataset291", "totalsegmentator-total-" + made[1].rpartition("-")[2]]
    assert result.windows_run == result.windows_total

    prefer(next(root.glob("Dataset298_*")) / TS_RESULT, "vertebrae_T7")
    one = segmenter.predict(scan, ["T7 vertebra", "portal vein"])  # coarse look, then one part
    assert one["T7 vertebra"].status in ("ok", "empty")
    assert one["portal vein"].status == "empty"  # the coarse network does not see it
    made = {p.name.split("_")[0] for p in (home / "converted").iterdir() if p.is_dir()}
    assert {"Dataset298", "Dataset292"} <= made
    assert not {"Dataset293", "Dataset294", "Dataset295"} & made
    with segmenter.set_image(scan) as session:
        again = session.predict(["T7 vertebra", "portal vein"])
        np.testing.assert_array_equal(again["T7 vertebra"].array, one["T7 vertebra"].array)


def test_every_class_of_the_tables_has_a_name_and_a_side() -> None:
    from textseg3d.convert.plans import class_name

    labels: dict[str, list[str]] = table()["labels"]
    total = [name for number in range(291, 296) for name in labels[str(number)]]
    assert sorted(total) == sorted(labels["298"])
    assert sorted(labels["850"] + labels["851"]) == sorted(labels["852"])
    assert (len(total), len(labels["852"])) == (117, 50)
    for name in total + labels["852"]:
        canonical = class_name(name, (), set())
        for side in ("left", "right"):
            assert (side in name.split("_")) == (side in canonical.split()), (name, canonical)


@pytest.mark.parametrize(
    ("prompt", "count"),
    [("lungs", 5), ("spine", 24), ("ribs", 24), ("both kidneys", 2), ("portal vein", 1)],
)
def test_unions_of_totalsegmentators_classes(prompt: str, count: int) -> None:
    from textseg3d.convert.plans import class_name
    from textseg3d.inference.prompts import Vocabulary

    names: list[Any] = []
    for label in table()["labels"]["298"]:
        names.append(class_name(label, (), set(names)))
    request = Vocabulary(names).understand(prompt)
    assert request.status == "ok"
    assert len(request.parts) >= count
    assert len(request.parts) <= count + 2  # the sacrum and S1 may count as spine
