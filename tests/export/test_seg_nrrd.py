"""`.seg.nrrd` files, read back by slicerio, pynrrd and SimpleITK."""

import json

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK

from textseg3d.errors import UsageError
from textseg3d.export import output_names, save_prediction
from textseg3d.export.coding import segment_coding
from textseg3d.export.seg_nrrd import terminology

slicerio = pytest.importorskip("slicerio")
from slicerio.segmentation import terminology_entry_from_string  # noqa: E402


def in_file_order(mask):
    """Canonical [z, y, x] in LPS to the scan's [i, j, k] in RAS order."""
    return mask.transpose(2, 1, 0)[::-1, ::-1]


def test_round_trip_with_overlaps(predict_by_hand, masks, scan, tmp_path):
    asked = {
        "left kidney": masks["left box"],
        "liver": masks["right box"],
        "Höcker|~": masks["wide"],
    }
    paths = save_prediction(predict_by_hand(asked), tmp_path / "out", format="seg.nrrd")
    assert [p.name for p in paths] == ["ct.seg.nrrd", "ct.json"]
    found = slicerio.read_segmentation(str(paths[0]))
    assert found["voxels"].shape[0] == 2  # only the overlapping one needs another layer
    segments = {s["name"]: s for s in found["segments"]}
    assert list(segments) == ["left kidney", "liver", "Hcker"]  # it reads ASCII only
    assert "Segment2_Name:=Höcker\n".encode() in paths[0].read_bytes()
    for (name, segment), mask in zip(segments.items(), asked.values()):
        voxels = found["voxels"][segment["layer"]] == segment["labelValue"]
        assert np.array_equal(voxels, in_file_order(mask)), name
        hit = np.argwhere(voxels)
        extent = np.stack([hit.min(axis=0), hit.max(axis=0)], axis=1).ravel()
        assert list(segment["extent"]) == list(extent)
    kidney, liver = segments["left kidney"]["terminology"], segments["liver"]["terminology"]
    assert kidney["type"] == ["SCT", "64033007", "Kidney"]
    assert kidney["typeModifier"] == ["SCT", "7771000", "Left"]
    assert liver["category"] == ["SCT", "123037004", "Anatomical Structure"]
    assert "typeModifier" not in liver
    assert len({tuple(s["color"]) for s in segments.values()}) == 3
    lps = np.diag([-1.0, -1, 1, 1]) @ nib.load(scan).affine
    assert np.allclose(found["ijkToLPS"], lps)
    record = json.loads(paths[1].read_text())
    assert [(p["mask"], p["segment"]) for p in record["prompts"]] == [
        ("ct.seg.nrrd", number) for number in (1, 2, 3)
    ]


def test_apart_masks_share_a_layer(predict_by_hand, masks, scan, tmp_path):
    asked = {name: masks[name] for name in ("left box", "right box")}
    asked["nothing"] = np.zeros_like(masks["wide"])
    path = tmp_path / "other.seg.nrrd"
    assert save_prediction(predict_by_hand(asked), path)[0] == path
    data, header = nrrd.read(str(path))
    assert data.dtype == np.uint8
    assert np.array_equal(data == 1, in_file_order(masks["left box"]))
    assert np.array_equal(data == 2, in_file_order(masks["right box"]))
    assert header["Segment2_Extent"] == "0 -1 0 -1 0 -1"
    ours, theirs = SimpleITK.ReadImage(str(path)), SimpleITK.ReadImage(str(scan))
    assert np.allclose(ours.GetOrigin(), theirs.GetOrigin())
    assert np.allclose(ours.GetDirection(), theirs.GetDirection())


def test_many_segments_in_one_layer(predict_by_hand, masks, tmp_path):
    asked = {}
    for number in range(260):
        mask = asked[f"{number + 1} mm nodule"] = np.zeros_like(masks["wide"])
        mask[number % 50, number // 50, 3] = True
    path = save_prediction(predict_by_hand(asked), tmp_path, format="seg.nrrd")[0]
    data, _ = nrrd.read(str(path))
    assert sorted(np.unique(data)) == list(range(261))


def test_side_of_one_prompt_does_not_stay_for_the_next():
    texts = [terminology(segment_coding(text)) for text in ("left kidney", "liver", "left lung")]
    assert ["7771000" in text for text in texts] == [True, False, True]
    entry = terminology_entry_from_string(terminology(segment_coding("liver lesion")))
    assert entry["anatomicRegion"] == ["SCT", "10200004", "Liver"]
    assert entry["type"][0] == "99TEXTSEG3D"


def test_names(tmp_path):
    assert output_names(None, tmp_path / "a.nii.gz", 2, "seg.nrrd").mask("x") == "a.seg.nrrd"
    names = output_names(tmp_path / "b.seg.nrrd", tmp_path / "a.nii.gz", 2)
    assert (names.mask("x"), names.record, names.labels) == (
        "b.seg.nrrd",
        "b.json",
        "b.labels.nii.gz",
    )
    with pytest.raises(UsageError, match="does not end"):
        output_names(tmp_path / "b.seg.nrrd", tmp_path / "a.nii.gz", 1, "nrrd")
