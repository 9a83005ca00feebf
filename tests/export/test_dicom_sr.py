"""Structured reports: content by pydicom alone, checked by dciodvfy, read back by dcmqi."""

import json
import os
import subprocess

import numpy as np
import pydicom
import pytest

from tests.cli.test_predict_formats import predict
from tests.export.test_dicom_seg import (
    GEOMETRIES,
    MARK,
    OTHER,
    by_hand,
    marked_series,
    tool,
)
from tests.io import dicom_files
from tests.model_factory import make_model
from textseg3d.errors import UsageError
from textseg3d.export import save_prediction
from textseg3d.inference.result import Prediction, PromptResult
from textseg3d.io import read_volume

VOXEL_ML = 1.25 * 0.75 * 3 / 1000


@pytest.fixture
def report(tmp_path):
    """Source series, segmentation, report and record; one prompt is absent, one is negated."""
    datasets = marked_series(GEOMETRIES["oblique"])
    volume = read_volume(dicom_files.save(datasets, tmp_path / "series"))
    hu = volume.array[0]
    inner = hu == OTHER - 1024
    whole = inner | (hu == MARK - 1024)
    masks = {"left kidney": whole, "liver lesion": inner, "spleen": np.zeros_like(inner)}
    made = by_hand(volume, masks)
    negated = PromptResult("no ascites", "negated", None, None, (), (), (), volume)
    results = {**made.results, "no ascites": negated}
    everything = Prediction(results, volume, "hand", "ab" * 32, 1, 2, False, {})
    paths = save_prediction(everything, tmp_path / "out", format="dicom-seg", sr=True)
    assert [p.name for p in paths] == ["series.seg.dcm", "series.sr.dcm", "series.json"]
    assert json.loads(paths[2].read_text())["files"] == ["series.seg.dcm", "series.sr.dcm"]
    return datasets, paths[0], paths[1], made


def items(parent, value):
    """Content items below ``parent`` whose concept name has a code value, at any depth."""
    found = []
    for item in parent.get("ContentSequence", ()):
        name = item.get("ConceptNameCodeSequence")
        if name and name[0].CodeValue == value:
            found.append(item)
        found += items(item, value)
    return found


def numbers(group):
    """Code value → (number, unit) of a group's measurements."""
    found = {}
    for item in group.ContentSequence:
        if item.ValueType == "NUM":
            measured = item.MeasuredValueSequence[0]
            unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
            name = item.ConceptNameCodeSequence[0].CodeValue
            found[name] = (float(measured.NumericValue), unit)
    return found


def test_content(report):
    datasets, segmentation, path, made = report
    seg, found = pydicom.dcmread(segmentation), pydicom.dcmread(path)
    assert found.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert found.StudyInstanceUID == datasets[0].StudyInstanceUID
    assert found.PatientID == "P1"
    assert (found.Modality, found.CompletionFlag, found.VerificationFlag) == (
        "SR",
        "COMPLETE",
        "UNVERIFIED",
    )
    kidney, lesion, spleen = items(found, "125007")  # measurement groups
    hu = np.concatenate([d.pixel_array.ravel() for d in datasets]).astype(float) - 1024
    inside = np.isin(hu, (MARK - 1024, OTHER - 1024))
    measured = numbers(kidney)
    assert measured["118565006"][0] == pytest.approx(inside.sum() * VOXEL_ML, abs=1e-4)
    assert measured["118565006"][1] == "mL"
    assert measured["112031"][0] == pytest.approx(hu[inside].mean(), abs=0.01)
    assert measured["112031"][1] == "[hnsf'U]"
    diameter = made["left kidney"].instances[0].longest_axial_diameter_mm
    assert measured["103339001"] == (pytest.approx(diameter, abs=0.01), "mm")
    assert measured["111012"] == (75.0, "%")
    # Each group has the ids of its segment, and points to it.
    for number, group in ((1, kidney), (2, lesion)):
        segment = seg.SegmentSequence[number - 1]
        assert segment.TrackingUID == items(group, "112040")[0].UID
        assert items(group, "112039")[0].TextValue == segment.TrackingID
        (reference,) = items(group, "121191")
        target = reference.ReferencedSOPSequence[0]
        assert target.ReferencedSOPInstanceUID == seg.SOPInstanceUID
        assert target.ReferencedSegmentNumber == number
        parameter = items(group, "111002")[0].TextValue
        assert parameter == f"prompt: {['left kidney', 'liver lesion'][number - 1]}"
    assert items(kidney, "121071")[0].ConceptCodeSequence[0].CodeValue == "64033007"
    (site,) = items(kidney, "363698007")
    assert site.ConceptCodeSequence[0].CodeValue == "64033007"
    assert items(site, "272741003")[0].ConceptCodeSequence[0].CodeValue == "7771000"
    (site,) = items(lesion, "363698007")
    assert site.ConceptCodeSequence[0].CodeValue == "10200004"  # in the liver, no side
    assert items(site, "272741003") == []
    # Absent: no segment, no volume, but said.
    assert items(spleen, "121191") == []
    assert items(spleen, "121052")[0].ConceptCodeSequence[0].CodeValue == "121054"
    assert set(numbers(spleen)) == {"111012"}
    named = {
        item.ReferencedSOPInstanceUID
        for study in found.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert named == {seg.SOPInstanceUID} | {d.SOPInstanceUID for d in datasets}


def test_dciodvfy_finds_no_error(report):
    done = subprocess.run(
        [os.environ.get("DCIODVFY") or tool("dciodvfy"), report[2]],
        capture_output=True,
        text=True,
        check=False,
        errors="replace",
    )
    assert [line for line in done.stderr.splitlines() if line.startswith("Error")] == []
    assert "Comprehensive3DSR" in done.stderr


def test_dcmqi_reads_the_measurements(report, tmp_path):
    datasets, segmentation, path, _ = report
    out = tmp_path / "read.json"
    done = subprocess.run(
        [tool("tid1500reader"), "--inputDICOM", path, "--outputMetadata", out],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    groups = {
        g["TrackingIdentifier"]: g
        for g in json.loads(out.read_text())["Measurements"]
        if "ReferencedSegment" in g
    }
    kidney = groups["textseg3d 1 left kidney"]
    assert kidney["segmentationSOPInstanceUID"] == pydicom.dcmread(segmentation).SOPInstanceUID
    assert kidney["ReferencedSegment"] == 1
    assert kidney["Finding"]["CodeValue"] == "64033007"
    assert kidney["FindingSite"]["CodeValue"] == "64033007"
    assert kidney["Laterality"]["CodeValue"] == "7771000"
    values = {i["quantity"]["CodeValue"]: float(i["value"]) for i in kidney["measurementItems"]}
    voxels = sum(np.isin(d.pixel_array, (MARK, OTHER)).sum() for d in datasets)
    assert values["118565006"] == pytest.approx(voxels * VOXEL_ML, abs=1e-4)


def test_needs_a_segmentation(predict_by_hand, masks, tmp_path):
    with pytest.raises(UsageError, match="--sr refers to a DICOM segmentation"):
        save_prediction(predict_by_hand(masks), tmp_path, sr=True)


def test_the_command(tmp_path, capsys):
    model = make_model(tmp_path / "tiny")
    series = dicom_files.save(dicom_files.ct_series(), tmp_path / "in" / "ct")
    out = tmp_path / "out"
    asked = ("-i", series, "-p", "left kidney", "liver", "-o", out, "--sr")
    assert predict(model, *asked) == 2
    assert "add --format dicom-seg" in capsys.readouterr().err
    asked = (*asked, "--format", "dicom-seg")
    assert predict(model, *asked) == 0
    assert sorted(p.name for p in out.iterdir()) == ["ct.json", "ct.seg.dcm", "ct.sr.dcm"]
    assert predict(model, *asked, "--resume") == 0
    groups = items(pydicom.dcmread(out / "ct.sr.dcm"), "125007")
    record = json.loads((out / "ct.json").read_text())
    assert len(groups) == 2
    for entry, group in zip(record["prompts"], groups):
        if entry["voxels"]:
            volume = numbers(group)["118565006"][0]
            assert volume == pytest.approx(entry["volume_ml"], abs=1e-3)
