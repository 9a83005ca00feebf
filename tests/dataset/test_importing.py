"""Imports of small files in each layout; what comes out is checked with nibabel and nnunetv2."""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import nibabel as nib
import numpy as np
import pytest

from textseg3d.cli.main import main
from textseg3d.dataset import Dataset, read_case, verify_dataset_integrity
from textseg3d.dataset.case_notes import load_case_notes
from textseg3d.dataset.importing.coder import LabelCoder

# An oblique, flipped grid: nothing but a copy of the header can keep it.
TURN = np.deg2rad(8)
AFFINE = np.array(
    [
        [-0.8 * np.cos(TURN), 0.0, 2.5 * np.sin(TURN), 11.0],
        [0.0, 0.9, 0.0, -7.0],
        [0.8 * np.sin(TURN), 0.0, 2.5 * np.cos(TURN), 3.0],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
STRAIGHT = np.diag([-0.8, -0.9, 2.5, 1.0])
SHAPE = (12, 14, 10)  # x, y, z, as in the file


def scan(path, shape=SHAPE, affine=AFFINE, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).integers(-1000, 1000, shape).astype(np.int16)
    image = nib.Nifti1Image(array, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 2)
    nib.save(image, path)
    return array


def mask(path, array, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.astype(np.uint8), affine), path)


def values(path):
    return np.asarray(nib.load(path).dataobj)


def files_of(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.name not in ("import.jsonl", ".import.lock")
    }


def box(*corners, shape=SHAPE):
    array = np.zeros(shape, bool)
    array[tuple(slice(a, b) for a, b in corners)] = True
    return array


def decathlon(root, cases=("liver_1", "liver_2")):
    task = root / "Task03_Liver"
    truth = np.zeros(SHAPE, np.uint8)
    truth[2:6, 2:6, 2:6], truth[3:5, 3:5, 3:5] = 1, 2
    for number, case in enumerate(cases):
        scan(task / f"imagesTr/{case}.nii.gz", (*SHAPE, 2), seed=number)
        mask(task / f"labelsTr/{case}.nii.gz", truth)
    scan(task / "imagesTs/liver_9.nii.gz", (*SHAPE, 2), seed=9)
    (task / "imagesTr/._liver_1.nii.gz").write_bytes(b"\0")  # what a Mac leaves in the archives
    data = {
        "name": "Liver", "licence": "CC-BY-SA 4.0", "tensorImageSize": "3D",
        "modality": {"0": "CT", "1": "T2"},
        "labels": {"0": "background", "1": "liver", "2": "liver_tumour"},
        "numTraining": len(cases),
        "training": [
            {"image": f"./imagesTr/{c}.nii.gz", "label": f"./labelsTr/{c}.nii.gz"} for c in cases
        ],
        "test": ["./imagesTs/liver_9.nii.gz"],
    }  # fmt: skip
    (task / "dataset.json").write_text(json.dumps(data))
    return task


def test_decathlon(tmp_path, capsys):
    task, out = decathlon(tmp_path), tmp_path / "Dataset703_Liver"
    assert main(["import", "decathlon", str(task), "-o", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    whole = nib.load(task / "imagesTr/liver_2.nii.gz")
    for channel in range(2):
        one = nib.load(out / f"imagesTr/liver_2_{channel:04d}.nii.gz")
        np.testing.assert_array_equal(one.dataobj, np.asarray(whole.dataobj)[..., channel])
        np.testing.assert_array_equal(one.get_sform(), whole.get_sform())
        assert (int(one.header["sform_code"]), int(one.header["qform_code"])) == (1, 2)
        assert one.header.get_zooms() == pytest.approx(whole.header.get_zooms()[:3])
    assert (out / "labelsTr/liver_1.nii.gz").read_bytes() == (
        task / "labelsTr/liver_1.nii.gz"
    ).read_bytes()
    assert sorted(p.name for p in (out / "imagesTs").iterdir()) == [
        "liver_9_0000.nii.gz", "liver_9_0001.nii.gz",
    ]  # fmt: skip
    data = json.loads((out / "dataset.json").read_text())
    assert data["labels"] == {"background": 0, "liver": 1, "liver_tumour": 2}
    assert data["prompts"]["liver_tumour"] == ["liver tumour"]
    assert (data["channel_names"], data["numTraining"]) == ({"0": "CT", "1": "T2"}, 2)
    assert data["licence"] == "CC-BY-SA 4.0"


def test_decathlon_dataset_has_no_fault(tmp_path):
    task, out = decathlon(tmp_path), tmp_path / "Dataset703_Liver"
    assert main(["import", "decathlon", str(task), "-o", str(out)]) == 0
    assert [f for f in verify_dataset_integrity(out) if f.verdict == "error"] == []


def rex(root):
    """Two findings that overlap and one of a category of its own; a second, unlabelled scan."""
    for number, name in enumerate(("train_1_a_1", "valid_2_a_1", "test_3_a_1")):
        scan(root / f"ct/{name}/{name}.nii.gz", seed=number)
    findings = np.zeros((3, *SHAPE), np.uint8)
    findings[0][2:4, 2:4, 2:4], findings[0][6:8, 2:4, 2:4] = 1, 2  # two instances
    findings[1][3:7, 3:5, 2:5] = 1
    findings[2][2:4, 9:11, 5:7] = 1
    mask(root / "masks/train_1_a_1.nii.gz", findings, np.eye(4))
    mask(root / "masks/valid_2_a_1.nii.gz", findings[:1], np.eye(4))
    texts = {"0": "two nodules in the LLL", "1": "ground glass around them", "2": "a third nodule"}
    entry = {
        "findings": texts, "entity_counts": {"0": 2, "1": 1, "2": 1}, "shape": list(SHAPE),
        "pixels": {}, "categories": {"0": "2d", "1": "2c", "2": "2d"},
    }  # fmt: skip
    one = {**entry, "findings": {"0": "nodules"}, "categories": {"0": "2d"}}
    data = {
        "train": [{"name": "train_1_a_1.nii.gz", **entry}],
        "val": [{"name": "valid_2_a_1.nii.gz", **one}],
        "test": [{"name": "test_3_a_1.nii.gz", **one}],
    }
    (root / "list.json").write_text(json.dumps(data))
    return findings


def test_rexgroundingct(tmp_path):
    findings, out = rex(tmp_path), tmp_path / "Dataset702_Rex"
    command = ["import", "rexgroundingct", str(tmp_path / "list.json"), "-o", str(out)]
    command += ["--images", str(tmp_path / "ct"), "--masks", str(tmp_path / "masks"), "--link"]
    assert main(command) == 0
    source = tmp_path / "ct/train_1_a_1/train_1_a_1.nii.gz"
    assert (out / "imagesTr/train_1_a_1_0000.nii.gz").samefile(source)
    assert (out / "imagesTs/test_3_a_1_0000.nii.gz").is_file()
    labels = json.loads((out / "dataset.json").read_text())["labels"]
    truth = values(out / "labelsTr/train_1_a_1.nii.gz")
    nodules, glass = findings[0] + findings[2] > 0, findings[1] > 0
    for name, expected in (("pulmonary nodule or mass", nodules), ("ground-glass opacity", glass)):
        np.testing.assert_array_equal(np.isin(truth, labels[name]), expected)
        assert len(labels[name]) == 2  # alone, and where both are
    assert labels["emphysema"] == 3
    np.testing.assert_allclose(nib.load(out / "labelsTr/train_1_a_1.nii.gz").affine, AFFINE)
    notes = load_case_notes(out)["train_1_a_1"]
    assert notes.annotated == ("pulmonary nodule or mass", "ground-glass opacity")
    first = notes.findings[0]
    assert (first.text, first.instances, first.exhaustive) == ("two nodules in the LLL", 2, False)
    np.testing.assert_array_equal(values(out / first.mask), findings[0])
    assert load_case_notes(out)["valid_2_a_1"].findings[0].exhaustive
    assert json.loads((out / "splits_final.json").read_text()) == [
        {"train": ["train_1_a_1"], "val": ["valid_2_a_1"]}
    ]
    case = read_case(Dataset.load(out).cases[0])
    assert case.labels.shape == SHAPE[::-1]


def sat(root):
    for name in ("a", "b", "c"):
        scan(root / f"nii/{name}.nii.gz", affine=STRAIGHT)
    organ, lesion = box((2, 8), (2, 8), (2, 8)), box((3, 5), (3, 5), (3, 5))
    mask(root / "nii/a_mask.nii.gz", np.stack([organ, lesion]), np.eye(4))
    mask(root / "nii/b_masks/kidney.nii.gz", organ, STRAIGHT)
    mask(root / "nii/c_map.nii.gz", lesion * 2, STRAIGHT)
    common = {"modality": "ct", "dataset": "KiTS"}
    lines = [
        {"image": "nii/a.nii.gz", "label": ["kidney", "kidney tumor"], "mask": "nii/a_mask.nii.gz"},
        {"image": "nii/b.nii.gz", "label": ["kidney"], "mask": "nii/b_masks"},
        {"image": "nii/c.nii.gz", "label": ["kidney", "kidney tumor"], "mask": "nii/c_map.nii.gz"},
    ]
    other = {"image": "nii/a.nii.gz", "label": ["liver"], "modality": "mri", "dataset": "CHAOS"}
    text = "\n".join(json.dumps(line) for line in [*({**x, **common} for x in lines), other])
    (root / "list.jsonl").write_text(text + "\n\n")
    return organ, lesion


def test_sat(tmp_path, capsys):
    organ, lesion = sat(tmp_path)
    out = tmp_path / "Dataset701_KiTS"
    command = ["import", "sat", str(tmp_path / "list.jsonl"), "-o", str(out)]
    assert main(command) == 2
    assert "CHAOS, KiTS" in capsys.readouterr().err
    assert main([*command, "--dataset", "KiT"]) == 2
    assert "did you mean 'KiTS'" in capsys.readouterr().err
    assert main([*command, "--dataset", "KiTS"]) == 0
    data = json.loads((out / "dataset.json").read_text())
    assert data["labels"] == {"background": 0, "kidney": [1, 3], "kidney tumor": [2, 3]}
    assert data["regions_class_order"] == [1, 2]
    a = values(out / "labelsTr/a.nii.gz")
    np.testing.assert_array_equal(a, organ + 2 * lesion.astype(np.uint8))
    np.testing.assert_array_equal(values(out / "labelsTr/b.nii.gz"), organ)
    np.testing.assert_array_equal(values(out / "labelsTr/c.nii.gz"), 2 * lesion)
    assert load_case_notes(out)["b"].annotated == ("kidney",)
    assert load_case_notes(out)["c"].annotated == ("kidney", "kidney tumor")
    assert not [f for f in verify_dataset_integrity(out) if f.verdict == "error"]


def cvpr(root):
    truth = np.zeros(SHAPE[::-1], np.uint8)
    truth[2:4, 3:6, 1:3], truth[6:8, 3:6, 5:9] = 1, 2
    image = np.random.default_rng(0).integers(0, 256, truth.shape).astype(np.uint8)
    common = {"imgs": image, "spacing": np.array([2.5, 0.9, 0.8])}
    (root / "npz").mkdir()
    pickled = np.array({"1": "evil"}, dtype=object)
    np.savez(root / "npz/CT_Organs_1.npz", gts=truth, text_prompts=pickled, **common)
    np.savez(root / "npz/CT_Organs_2.npz", **common)
    np.savez(root / "npz/CT_Nodules_1.npz", gts=truth, **common)
    prompts = {
        "CT_Organs": {"1": ["spleen", "the spleen in CT"], "2": "liver", "instance_label": 0},
        "CT_Nodules": {"1": ["lung nodule"], "instance_label": 1},
    }
    (root / "prompts.json").write_text(json.dumps(prompts))
    return image, truth


def test_cvpr2025(tmp_path, capsys):
    image, truth = cvpr(tmp_path)
    out = tmp_path / "Dataset704_Organs"
    command = ["import", "cvpr2025", str(tmp_path / "npz"), "--prompts"]
    command += [str(tmp_path / "prompts.json"), "--orientation", "LPS"]
    assert main([*command, "-o", str(out)]) == 2
    assert "CT_Nodules, CT_Organs" in capsys.readouterr().err
    assert main([*command, "-o", str(out), "--dataset", "CT_Organs"]) == 0
    data = json.loads((out / "dataset.json").read_text())
    assert data["labels"] == {"background": 0, "spleen": 1, "liver": 2}
    assert data["prompts"]["spleen"] == ["spleen", "the spleen in CT"]
    assert data["channel_names"] == {"0": "CT (0 to 255)"}
    assert (out / "imagesTs/CT_Organs_2_0000.nii.gz").is_file()
    case = read_case(Dataset.load(out).cases[0])  # in LPS+ order, z first, as the arrays were
    np.testing.assert_array_equal(case.image[0], image)
    np.testing.assert_array_equal(case.labels, truth)
    assert case.volume.spacing_mm == pytest.approx((2.5, 0.9, 0.8))

    nodules = tmp_path / "Dataset705_Nodules"
    more = ["--dataset", "CT_Nodules", "--spacing-order", "xyz"]
    assert main([*command, "-o", str(nodules), *more]) == 0
    case = read_case(Dataset.load(nodules).cases[0])
    np.testing.assert_array_equal(case.labels, truth != 0)
    assert case.volume.spacing_mm == pytest.approx((0.8, 0.9, 2.5))
    (finding,) = load_case_notes(nodules)["CT_Nodules_1"].findings
    assert (finding.text, finding.instances) == ("lung nodule", 2)
    np.testing.assert_array_equal(values(nodules / finding.mask), truth.transpose(2, 1, 0))
    assert main([*command[:-1], "LPX", "-o", str(out)]) == 2
    assert "such as LPS" in capsys.readouterr().err


def test_orientation_of_arrays(tmp_path):
    image, _ = cvpr(tmp_path)
    out = tmp_path / "Dataset706_Flipped"
    command = ["import", "cvpr2025", str(tmp_path / "npz"), "--orientation", "RAI", "-o", str(out)]
    command += ["--prompts", str(tmp_path / "prompts.json"), "--dataset", "CT_Organs"]
    assert main(command) == 0
    case = read_case(Dataset.load(out).cases[0])
    np.testing.assert_array_equal(case.image[0], image[::-1, ::-1, ::-1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_killed_imports_end_with_the_same_files(tmp_path):
    from textseg3d.dataset.importing import import_decathlon

    names = tuple(f"liver_{n:02d}" for n in range(12))
    task = decathlon(tmp_path, names)
    out, rng, kills = tmp_path / "Dataset703_Liver", np.random.default_rng(0), 0
    for _ in range(10):
        child = os.fork()
        if child == 0:
            import_decathlon(task, out)
            os._exit(0)
        time.sleep(rng.uniform(0.002, 0.02))
        os.kill(child, signal.SIGKILL)
        kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        if (out / "dataset.json").is_file():
            break
        assert not (out / "dataset.json").exists()
    assert kills > 0
    import_decathlon(task, out)
    whole = tmp_path / "again" / "Dataset703_Liver"
    import_decathlon(task, whole)
    assert files_of(out) == files_of(whole)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.nii.gz")}
    import_decathlon(task, out)  # nothing to do
    assert before == {p: p.stat().st_mtime_ns for p in out.rglob("*.nii.gz")}


def test_other_settings_and_faults(tmp_path, capsys):
    task, out = decathlon(tmp_path), tmp_path / "Dataset703_Liver"
    assert main(["import", "decathlon", str(task), "-o", str(tmp_path / "Liver")]) == 2
    assert "three digits" in capsys.readouterr().err
    assert main(["import", "decathlon", str(task), "-o", str(out)]) == 0
    ledger = (out / "import.jsonl").read_bytes()
    (out / "import.jsonl").write_bytes(ledger + b'{"case": "liver_7", "te')  # torn by a crash
    assert main(["import", "decathlon", str(task), "-o", str(out)]) == 0
    assert (out / "import.jsonl").read_bytes() == ledger
    data = json.loads((task / "dataset.json").read_text())
    data["labels"]["2"] = "cyst"
    (task / "dataset.json").write_text(json.dumps(data))
    assert main(["import", "decathlon", str(task), "-o", str(out)]) == 3
    assert "begun from another source" in capsys.readouterr().err
    mask(task / "labelsTr/liver_1.nii.gz", np.zeros((3, 3, 3)))
    fresh = tmp_path / "Dataset707_New"
    assert main(["import", "decathlon", str(task), "-o", str(fresh)]) == 3
    assert "has shape (3, 3, 3), its image (12, 14, 10)" in capsys.readouterr().err
    assert not (fresh / "dataset.json").exists()


def test_coder_equals_bits():
    """Any overlap comes back from its value: against one bit per label."""
    rng = np.random.default_rng(3)
    names = [f"l{n}" for n in range(5)]
    coder = LabelCoder(names)
    for _ in range(3):
        masks = rng.random((5, 6, 7, 8)) < 0.3
        encoded = coder.encode(masks.shape[1:], zip(names, masks, strict=True))
        for name, one in zip(names, masks, strict=True):
            np.testing.assert_array_equal(np.isin(encoded, coder.labels()[name]), one)
    again = LabelCoder(names, coder.combinations)
    np.testing.assert_array_equal(
        again.encode(masks.shape[1:], zip(names, masks, strict=True)), encoded
    )
    assert LabelCoder(["a", "b"]).regions_class_order() is None


def test_help_imports_no_torch():
    import subprocess

    code = (
        "import sys; from textseg3d.cli.main import main; main(['import', 'sat', '--help']);"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0
