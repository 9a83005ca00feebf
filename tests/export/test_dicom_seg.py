"""DICOM segmentations of series in eight geometries, read back by other packages."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK

from tests.io import dicom_files
from textseg3d.errors import UsageError
from textseg3d.export import output_names, save_prediction
from textseg3d.export.coding import PRIVATE_SCHEME, segment_coding
from textseg3d.inference.masks import PackedMask
from textseg3d.inference.measure import measure_instances
from textseg3d.inference.result import Prediction, PromptResult
from textseg3d.io import read_volume

MARK, OTHER = 3000, 2500  # stored values of two overlapping things: OTHER is in MARK's mask too
_A, _B = np.deg2rad(25), np.deg2rad(-17)
_TURN = np.array([[np.cos(_A), -np.sin(_A), 0], [np.sin(_A), np.cos(_A), 0], [0, 0, 1]]) @ np.array(
    [[1, 0, 0], [0, np.cos(_B), -np.sin(_B)], [0, np.sin(_B), np.cos(_B)]]
)
GEOMETRIES = {
    "supine": (1, 0, 0, 0, 1, 0),
    "prone": (-1, 0, 0, 0, -1, 0),
    "rows up": (1, 0, 0, 0, -1, 0),
    "columns left": (-1, 0, 0, 0, 1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "oblique": tuple(_TURN[:, :2].T.ravel()),
    "oblique sagittal": tuple(_TURN[:, [1, 2]].T.ravel()),
}


def marked_series(orientation):
    """A series with a lopsided mark and, inside it, another."""
    values = np.full((dicom_files.COUNT, dicom_files.ROWS, dicom_files.COLUMNS), 900, np.uint16)
    values[3:9, 2:12, 5:9] = MARK
    values[3:5, 2:5, 5:15] = MARK
    values[4:6, 3:5, 6:8] = OTHER
    return dicom_files.ct_series(orientation=orientation, values=values)


def position(dataset, row, column):
    """Where a pixel lies, by the formula of the standard (C.7.6.2.1-1)."""
    plane = np.array(dataset.ImageOrientationPatient, float)
    between_rows, between_columns = map(float, dataset.PixelSpacing)
    first = np.array(dataset.ImagePositionPatient, float)
    return first + plane[:3] * between_columns * column + plane[3:] * between_rows * row


def centroid(datasets, wanted):
    """Mean place of the pixels with ``wanted`` values in the series itself."""
    places = [
        position(d, row, column)
        for d in datasets
        for row, column in np.argwhere(np.isin(d.pixel_array, wanted))
    ]
    return np.mean(places, axis=0)


def predict_marks(folder, texts=("left kidney", "liver", "sixth left rib lesion")):
    """Results: the marked voxels under the first text, the inner ones under the others."""
    volume = read_volume(folder)
    hu = volume.array[0]
    masks = [(hu == MARK - 1024) | (hu == OTHER - 1024)] + [hu == OTHER - 1024] * (len(texts) - 1)
    return by_hand(volume, dict(zip(texts, masks)))


def by_hand(volume, masks):
    results = {}
    for text, mask in masks.items():
        packed = PackedMask.pack(mask.shape, tuple(slice(0, n) for n in mask.shape), mask)
        instances, _ = measure_instances(packed, volume)
        status = "ok" if instances else "empty"
        results[text] = PromptResult(text, status, 0.75, packed, tuple(instances), (), (), volume)
    return Prediction(results, volume, "hand", "ab" * 32, 1, 2, False, {"read": 0.5})


@pytest.fixture(params=GEOMETRIES, ids=lambda name: name.replace(" ", "-"))
def written(request, tmp_path):
    """The data sets of a series and the segmentation of its marks."""
    datasets = marked_series(GEOMETRIES[request.param])
    folder = dicom_files.save(datasets, tmp_path / "series")
    paths = save_prediction(predict_marks(folder), tmp_path / "out", format="dicom-seg")
    assert [p.name for p in paths] == ["series.seg.dcm", "series.json"]
    return datasets, paths[0]


def segment_places(dataset, number):
    """LPS places of all pixels of a segment, with pydicom alone."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    places = []
    for pixels, groups in zip(dataset.pixel_array, dataset.PerFrameFunctionalGroupsSequence):
        if groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber != number:
            continue
        frame = pydicom.Dataset()
        frame.ImagePositionPatient = groups.PlanePositionSequence[0].ImagePositionPatient
        frame.ImageOrientationPatient = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        frame.PixelSpacing = shared.PixelMeasuresSequence[0].PixelSpacing
        places += [position(frame, *index) for index in np.argwhere(pixels)]
    return np.array(places)


def test_geometry_and_references(written):
    datasets, path = written
    found = pydicom.dcmread(path)
    for number, values in ((1, (MARK, OTHER)), (2, (OTHER,))):
        places = segment_places(found, number)
        assert len(places) == sum(np.isin(d.pixel_array, values).sum() for d in datasets)
        assert np.abs(places.mean(axis=0) - centroid(datasets, values)).max() < 0.01
    assert found.StudyInstanceUID == datasets[0].StudyInstanceUID
    assert found.FrameOfReferenceUID == datasets[0].FrameOfReferenceUID
    # Each frame names the slice that it lies on.
    place_of = {d.SOPInstanceUID: np.array(d.ImagePositionPatient, float) for d in datasets}
    for groups in found.PerFrameFunctionalGroupsSequence:
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        here = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        assert np.abs(place_of[source.ReferencedSOPInstanceUID] - here).max() < 1e-3
    volume = hd.seg.segread(path).get_volume(segment_numbers=[1], combine_segments=True)
    index = np.argwhere(volume.array > 0).mean(axis=0)
    middle = volume.affine @ [*index, 1]
    assert np.abs(middle[:3] - centroid(datasets, (MARK, OTHER))).max() < 0.01


def codes_of(segment):
    kind = segment.SegmentedPropertyTypeCodeSequence[0]
    side = kind.get("SegmentedPropertyTypeModifierCodeSequence")
    return (
        (kind.CodingSchemeDesignator, kind.CodeValue, kind.CodeMeaning),
        side[0].CodeValue if side else None,
    )


def test_segments_say_what_they_are(tmp_path):
    folder = dicom_files.save(marked_series(GEOMETRIES["supine"]), tmp_path / "series")
    texts = ("left kidney", "liver", "kidneys", "zweiter Höcker", "nodule", "rib 6 right")
    paths = save_prediction(predict_marks(folder, texts), tmp_path / "out", format="dicom-seg")
    found = pydicom.dcmread(paths[0])
    segments = {s.SegmentLabel: s for s in found.SegmentSequence}
    assert tuple(segments) == texts
    assert codes_of(segments["left kidney"]) == (("SCT", "64033007", "Kidney"), "7771000")
    assert codes_of(segments["liver"]) == (("SCT", "10200004", "Liver"), None)
    assert codes_of(segments["kidneys"])[1] == "51440002"
    unknown, side = codes_of(segments["zweiter Höcker"])
    assert unknown[0] == PRIVATE_SCHEME
    assert unknown[2] == "zweiter Höcker"
    assert side is None
    rib, side = codes_of(segments["rib 6 right"])
    assert (rib[0], rib[2], side) == (PRIVATE_SCHEME, "6th rib", "24028007")
    assert "no published code" in segments["rib 6 right"].SegmentDescription
    assert segments["liver"].SegmentDescription == "prompt: liver"
    categories = [s.SegmentedPropertyCategoryCodeSequence[0].CodeValue for s in segments.values()]
    assert categories[:2] == ["123037004", "123037004"]
    assert categories[4] == "49755003"
    algorithm = segments["liver"].SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmName == "textseg3d hand"
    assert segments["liver"].SegmentAlgorithmType == "AUTOMATIC"
    assert len({s.TrackingUID for s in segments.values()}) == len(texts)
    assert all(len(s.RecommendedDisplayCIELabValue) == 3 for s in segments.values())
    assert found.SegmentationType == "BINARY"
    record = json.loads(paths[1].read_text())
    assert [p["segment"] for p in record["prompts"]] == [1, 2, 3, 4, 5, 6]
    assert {p["mask"] for p in record["prompts"]} == {"series.seg.dcm"}


def test_published_codes_are_pydicoms():
    from pydicom.sr.codedict import codes

    known = (
        ("left kidney", codes.SCT.Kidney, codes.SCT.Left),
        ("liver", codes.SCT.Liver, None),
        ("right lung", codes.SCT.Lung, codes.SCT.Right),
    )
    for text, code, side in known:
        coding = segment_coding(text)
        assert coding.coded
        assert coding.type.value == code.value
        assert (coding.side.value if coding.side else None) == (side.value if side else None)
    assert segment_coding("liver and spleen").type.scheme == PRIVATE_SCHEME
    assert segment_coding("liver lesion").region.value == codes.SCT.Liver.value


def tool(name):
    """A program of this environment or of the system, or a skip."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def test_dcmqi_reads_place_code_and_side(written, tmp_path):
    datasets, path = written
    program, out = tool("segimage2itkimage"), tmp_path / "dcmqi"
    out.mkdir()
    done = subprocess.run(
        [program, "--inputDICOM", path, "--outputDirectory", out, "-t", "nrrd"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    meta = json.loads((out / "meta.json").read_text())
    segments = {s["SegmentLabel"]: s for group in meta["segmentAttributes"] for s in group}
    kidney = segments["left kidney"]
    assert kidney["SegmentedPropertyTypeCodeSequence"]["CodeValue"] == "64033007"
    assert kidney["SegmentedPropertyTypeModifierCodeSequence"]["CodeValue"] == "7771000"
    assert "SegmentedPropertyTypeModifierCodeSequence" not in segments["liver"]
    image = SimpleITK.ReadImage(str(out / "1.nrrd"))
    index = np.argwhere(SimpleITK.GetArrayFromImage(image) > 0)[:, ::-1].mean(axis=0)
    place = image.TransformContinuousIndexToPhysicalPoint(index.tolist())
    assert np.abs(np.array(place) - centroid(datasets, (MARK, OTHER))).max() < 0.01


def test_dciodvfy_finds_no_error(written):
    _, path = written
    done = subprocess.run(
        [os.environ.get("DCIODVFY") or tool("dciodvfy"), path],
        capture_output=True,
        text=True,
        check=False,
        errors="replace",
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert errors == []
    assert "Segmentation" in done.stderr


def test_empty_masks_get_no_segment(tmp_path):
    folder = dicom_files.save(marked_series(GEOMETRIES["supine"]), tmp_path / "series")
    volume = read_volume(folder)
    nothing = np.zeros(volume.shape, bool)
    some = volume.array[0] == MARK - 1024
    both = by_hand(volume, {"liver": nothing, "spleen": some})
    paths = save_prediction(both, tmp_path / "out", format="dicom-seg")
    assert [s.SegmentLabel for s in pydicom.dcmread(paths[0]).SegmentSequence] == ["spleen"]
    record = json.loads(paths[1].read_text())
    assert [(p["mask"], p["segment"]) for p in record["prompts"]] == [
        (None, None),
        ("series.seg.dcm", 1),
    ]
    paths = save_prediction(
        by_hand(volume, {"liver": nothing}), tmp_path / "no", format="dicom-seg"
    )
    assert [p.name for p in paths] == ["series.json"]


def test_only_for_dicom(tmp_path, predict_by_hand, masks, scan):
    for refused in (scan, tmp_path / "scan.zip", None):
        with pytest.raises(UsageError, match="needs a folder or file of a DICOM series"):
            output_names(tmp_path / "out", refused, 1, "dicom-seg")
    names = output_names(tmp_path / "out.dcm", tmp_path, 3)
    assert (names.joint, names.record, names.mask("x")) == ("out.dcm", "out.json", "out.dcm")
    with pytest.raises(UsageError, match="needs a DICOM series"):
        save_prediction(predict_by_hand(masks), None, names=names)
    with pytest.raises(UsageError, match="does not end as format"):
        output_names(tmp_path / "out.dcm", tmp_path, 1, "nrrd")
