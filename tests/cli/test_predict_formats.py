"""`textseg3d predict --format seg.nrrd|dicom-seg`, from series and file to the written file."""

import json
import re

import nibabel as nib
import numpy as np
import pydicom
import pytest

from tests.io import dicom_files
from tests.model_factory import make_model
from textseg3d.cli.main import main


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def series(tmp_path):
    return dicom_files.save(dicom_files.ct_series(), tmp_path / "in" / "ct")


def predict(model, *arguments):
    return main(["predict", "--quiet", "--model", str(model), *map(str, arguments)])


def test_dicom_series_to_dicom_segmentation(model, series, tmp_path):
    out = tmp_path / "out"
    prompts = ["left kidney", "liver", "no spleen"]
    asked = ("-i", series, "-p", *prompts, "-o", out, "--format", "dicom-seg")
    assert predict(model, *asked) == 0
    assert predict(model, *asked) == 2  # nothing is replaced unasked
    assert predict(model, *asked, "--resume") == 0
    record = json.loads((out / "ct.json").read_text())
    entries = {p["text"]: p for p in record["prompts"]}
    found = pydicom.dcmread(out / "ct.seg.dcm")
    labels = [s.SegmentLabel for s in found.SegmentSequence]
    assert labels == [text for text in prompts if entries[text]["voxels"]]
    assert entries["no spleen"]["segment"] is None
    pixels = found.pixel_array.reshape(-1, *found.pixel_array.shape[-2:])
    of_frame = [
        groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        for groups in found.PerFrameFunctionalGroupsSequence
    ]
    for text in labels:
        number = entries[text]["segment"]
        voxels = sum(int(p.sum()) for p, n in zip(pixels, of_frame) if n == number)
        assert voxels == entries[text]["voxels"]


def missing_slice():
    series = dicom_files.ct_series()
    del series[6]
    return series


def two_phases():
    first = dicom_files.ct_series(AcquisitionNumber=1)
    return first + dicom_files.ct_series(AcquisitionNumber=2)


def tilted_gantry():
    return dicom_files.ct_series(step=[0.0, 3.0 * np.tan(np.radians(15)), 3.0])


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (missing_slice, r"D1: gap of 6 mm instead of 3 mm"),
        (two_phases, r"D5: .*--series"),
        (tilted_gantry, r"D3: .*tilt of 15\.0 degrees; use --resample-shear"),
    ],
)
def test_series_that_hide_something_are_rejected_with_the_reason(
    made, reason, model, tmp_path, capsys
):
    series = dicom_files.save(made(), tmp_path / "in" / "ct")
    out = tmp_path / "out"
    asked = ("-i", series, "-p", "liver", "-o", out, "--format", "dicom-seg", "--sr")
    assert predict(model, *asked) == 3
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(reason, line), line
    assert [p.name for p in out.glob("*.dcm")] == []


def test_a_file_cannot_become_a_dicom_segmentation(model, tmp_path, capsys):
    scan = tmp_path / "ct.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((20, 24, 22), np.int16), np.diag([3.0, 3, 4, 1])), scan)
    assert predict(model, "-i", scan, "-p", "liver", "--format", "dicom-seg") == 2
    assert "--format dicom-seg needs a folder or file of a DICOM series" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ct.nii.gz"]


def test_outputs_are_no_scans(model, tmp_path):
    scan = tmp_path / "ct.nii.gz"
    values = np.random.default_rng(0).integers(-900, 200, (20, 24, 22), dtype=np.int16)
    nib.save(nib.Nifti1Image(values, np.diag([3.0, 3, 4, 1])), scan)
    asked = ("-i", tmp_path, "-p", "liver", "spleen", "--format", "seg.nrrd")
    assert predict(model, *asked) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ct.json", "ct.nii.gz", "ct.seg.nrrd"]
    assert predict(model, *asked, "--overwrite") == 0
    assert len(list(tmp_path.iterdir())) == 3
