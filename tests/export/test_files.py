"""Files of a prediction, read back with other packages."""

import csv
import json
import os

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK

from textseg3d.errors import TextSegError, UsageError
from textseg3d.export import case_name, output_names, save_prediction


def in_file_order(mask):
    """Canonical [z, y, x] in LPS to the scan's [i, j, k] in RAS order."""
    return mask.transpose(2, 1, 0)[::-1, ::-1]


def test_masks_lie_on_the_scans_grid(predict_by_hand, masks, scan, tmp_path):
    paths = save_prediction(predict_by_hand(masks), tmp_path / "out")
    names = ["ct__left-box.nii.gz", "ct__right-box.nii.gz", "ct__wide.nii.gz", "ct.json"]
    assert [p.name for p in paths] == names
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(names)
    source = nib.load(scan)
    for (text, mask), path in zip(masks.items(), paths):
        image = nib.load(path)
        assert image.get_data_dtype() == np.uint8
        assert np.array_equal(image.affine, source.affine)
        assert image.header["sform_code"] == source.header["sform_code"]
        assert np.array_equal(np.asarray(image.dataobj), in_file_order(mask)), text


def test_nrrd(predict_by_hand, masks, scan, tmp_path):
    paths = save_prediction(predict_by_hand(masks), tmp_path / "out", format="nrrd")
    data, _ = nrrd.read(str(paths[0]))
    assert np.array_equal(data, in_file_order(masks["left box"]))
    ours, theirs = SimpleITK.ReadImage(str(paths[0])), SimpleITK.ReadImage(str(scan))
    assert np.allclose(ours.GetOrigin(), theirs.GetOrigin())
    assert np.allclose(ours.GetDirection(), theirs.GetDirection())
    assert np.allclose(ours.GetSpacing(), theirs.GetSpacing())


def test_record(predict_by_hand, masks, scan, tmp_path):
    asked = {**masks, "nothing": np.zeros((50, 40, 30), bool), "no liver": "negated"}
    paths = save_prediction(predict_by_hand(asked), tmp_path / "out")
    record = json.loads(paths[-1].read_text())
    keys = ["textseg3d", "status", "model", "image", "prompts", "windows", "exact", "seconds"]
    keys += ["peak_rss_mb", "warnings", "files"]
    assert list(record) == keys
    assert record["image"]["shape"] == [50, 40, 30]
    assert record["image"]["spacing_mm"] == [4.0, 1.5, 1.5]
    assert record["image"]["path"] == scan.name
    assert len(record["image"]["sha256"]) == 64
    assert record["windows"] == {"run": 1, "total": 2}
    assert set(record["seconds"]) == {"read", "write"}
    prompts = {entry["text"]: entry for entry in record["prompts"]}
    box = prompts["left box"]
    keys = ["text", "status", "mask", "presence", "volume_ml", "voxels", "codes", "instances"]
    assert list(box) == [*keys, "composed", "warnings"]
    assert (box["status"], box["voxels"]) == ("ok", 1000)
    assert box["volume_ml"] == pytest.approx(1000 * 9 / 1000)
    (instance,) = box["instances"]
    # Middle voxel of the box, through the affine of the file, from RAS to LPS.
    index = [29 - 22.5, 39 - 9.5, 14.5]
    ras = nib.load(scan).affine @ [*index, 1]
    assert instance["centroid_mm_lps"] == pytest.approx([-ras[0], -ras[1], ras[2]])
    assert instance["longest_axial_diameter_mm"] == pytest.approx(9 * 1.5 * 2**0.5 + 1.5, abs=0.01)
    scan_values = np.asarray(nib.load(scan).dataobj)
    mean = scan_values[in_file_order(masks["left box"])].mean()
    assert instance["mean_hu"] == pytest.approx(mean, abs=0.01)
    assert (prompts["nothing"]["status"], prompts["nothing"]["voxels"]) == ("empty", 0)
    assert (tmp_path / "out" / prompts["nothing"]["mask"]).is_file()
    assert prompts["no liver"]["mask"] is None
    assert prompts["no liver"]["warnings"] == ["why"]


def test_leave_out_absent(predict_by_hand, masks, tmp_path):
    asked = {**masks, "nothing": np.zeros((50, 40, 30), bool)}
    paths = save_prediction(predict_by_hand(asked), tmp_path, leave_out_absent=True)
    assert not any("nothing" in p.name for p in paths)
    assert json.loads(paths[-1].read_text())["prompts"][-1]["mask"] is None


def test_label_map_and_its_legend(predict_by_hand, masks, tmp_path):
    save_prediction(predict_by_hand(masks), tmp_path / "out", combine=True)
    labels = np.asarray(nib.load(tmp_path / "out" / "ct.labels.nii.gz").dataobj)
    legend = json.loads((tmp_path / "out" / "ct.labels.json").read_text())
    assert legend["labels"] == {"1": "left box", "2": "right box", "3": "wide"}
    expected = np.zeros((50, 40, 30), np.uint8)
    for value, mask in enumerate(masks.values(), 1):
        expected[mask] = value
    assert np.array_equal(labels, in_file_order(expected))
    shared = int((masks["left box"] & masks["wide"]).sum())
    assert legend["overlaps"] == [
        {"prompt": "wide", "covers": "left box", "voxels": shared, "volume_ml": shared * 9 / 1000}
    ]


def test_probabilities(predict_by_hand, masks, tmp_path):
    save_prediction(predict_by_hand(masks), tmp_path / "out", probabilities=True)
    image = nib.load(tmp_path / "out" / "ct__wide.probability.nii.gz")
    assert image.get_data_dtype() == np.float32
    expected = np.where(in_file_order(masks["wide"]), 1 / (1 + np.exp(-3)), 1 / (1 + np.exp(3)))
    assert np.allclose(np.asarray(image.dataobj), expected, atol=1e-6)


def test_statistics(predict_by_hand, masks, tmp_path):
    asked = {**masks, "=1+1": "unknown"}
    save_prediction(predict_by_hand(asked), tmp_path / "c", statistics="csv")
    save_prediction(predict_by_hand(asked), tmp_path / "j", statistics="json")
    with open(tmp_path / "c" / "ct.statistics.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    as_json = json.loads((tmp_path / "j" / "ct.statistics.json").read_text())
    assert [row["prompt"] for row in as_json] == list(asked)
    assert rows[-1]["prompt"] == "'=1+1"  # no formula for a spreadsheet
    assert rows[-1]["volume_ml"] == ""
    for row, entry in zip(rows[:3], as_json):
        assert float(row["volume_ml"]) == entry["volume_ml"]
        assert int(row["instances"]) == entry["instances"] == 1


def test_one_file(predict_by_hand, masks, tmp_path):
    one = predict_by_hand({"wide": masks["wide"]})
    paths = save_prediction(one, tmp_path / "here.nii.gz", probabilities=True)
    assert [p.name for p in paths] == ["here.nii.gz", "here.probability.nii.gz", "here.json"]
    assert json.loads(paths[-1].read_text())["prompts"][0]["mask"] == "here.nii.gz"
    plain = save_prediction(one, tmp_path / "here.nii")
    assert np.asarray(nib.load(plain[0]).dataobj).sum() == masks["wide"].sum()


def test_outputs_that_are_refused(predict_by_hand, masks, scan, tmp_path):
    prediction = predict_by_hand(masks)
    one = predict_by_hand({"wide": masks["wide"]})
    content = scan.read_bytes()
    for output, chosen, options, pattern in (
        (tmp_path / "x.nii.gz", prediction, {}, "one file"),
        (tmp_path / "x.nii.gz", one, {"format": "nrrd"}, "format"),
        (tmp_path / "x.mha", one, {}, "neither"),
        (tmp_path / "x.png", one, {}, "neither"),
        (scan, one, {}, "scan itself"),
        (tmp_path, one, {"format": "mha"}, "not one of"),
    ):
        with pytest.raises(UsageError, match=pattern):
            save_prediction(chosen, output, **options)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError):
        save_prediction(one, tmp_path / "file")
    link = tmp_path / "link.nii.gz"
    os.link(scan, link)
    with pytest.raises(UsageError, match="scan itself"):
        save_prediction(one, link)
    assert scan.read_bytes() == content
    assert not list(tmp_path.glob(".textseg3d*"))


def test_a_failure_leaves_nothing(predict_by_hand, masks, tmp_path):
    # The second mask has no probability: the first one's files must not stay behind.
    prediction = predict_by_hand(masks)
    broken = prediction.results["right box"]
    object.__setattr__(broken, "logits", ())
    with pytest.raises(UsageError, match="keep_logits"):
        save_prediction(prediction, tmp_path / "out", probabilities=True)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_is_one_line(predict_by_hand, masks):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this system")
    with pytest.raises((UsageError, TextSegError)):
        save_prediction(predict_by_hand(masks), "/dev/full")


def test_next_to_the_scan(predict_by_hand, masks, scan):
    paths = save_prediction(predict_by_hand(masks), None)
    assert {p.parent for p in paths} == {scan.parent}


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("a.nii.gz", "a"),
        ("A.NII.GZ", "A"),
        ("a.b.nrrd", "a.b"),
        ("case_0000.mha", "case_0000"),
        ("odd", "odd"),
        (".nii.gz", ".nii.gz"),
    ],
)
def test_case_names(name, case, tmp_path):
    assert case_name(tmp_path / name) == case


def test_names_of_prompts_never_meet(tmp_path):
    names = output_names(tmp_path, tmp_path / "a.nii.gz", 3)
    texts = [
        "T1-2",
        "T1 2",
        "t1 2",
        "../../etc/passwd",
        "labels",
        "preview",
        "Niere",
        "niere",
        "肾",
    ]
    files = [names.mask(text) for text in texts]
    assert len({f.lower() for f in files}) == len(texts)
    assert all("/" not in f and f.isascii() for f in files)
    assert not {names.labels, names.preview, names.record} & set(files)
