"""DICOM series: right voxels in the right place, and every D-rule.

Oracles: highdicom's `get_volume_from_series`, SimpleITK's series reader, and values by hand.
"""

from __future__ import annotations

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from tests.io.dicom_files import (
    COUNT,
    FIRST,
    SERIES,
    ct_series,
    ct_slice,
    read_sorted,
    save,
    stored_values,
)
from textseg3d.cli.main import main
from textseg3d.errors import GeometryError, InputError
from textseg3d.io import check_scan, read_volume, write_volume_like

HU = stored_values().astype(np.int32) - 1024
TILT = np.array([0.0, 3.0 * np.tan(np.radians(15)), 3.0])


def rejected(path, **options):
    return [f.rule for f in check_scan(path, **options) if f.verdict == "reject"]


def verdicts(path, **options):
    return {f.rule: f.verdict for f in check_scan(path, **options)}


ORIENTATIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "prone": (-1, 0, 0, 0, -1, 0),
    "oblique": (0.8, 0.6, 0, 0, 0, -1),
}


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_series_as_highdicom_and_itk(name, tmp_path):
    save(ct_series(orientation=ORIENTATIONS[name]), tmp_path / "s")
    volume = read_volume(tmp_path / "s")
    assert volume.array.dtype == np.int16

    peer = hd.get_volume_from_series(read_sorted(tmp_path / "s"), apply_real_world_transform=False)
    for index in [(0, 0, 0), (3, 5, 7), (COUNT - 1, 19, 23)]:
        k, row, column = index
        world = volume.source.affine_lps @ np.array([column, row, k, 1.0])
        stored = volume.to_source(volume.array[0])[column, row, k]
        nearest = np.rint(np.linalg.inv(peer.affine) @ world).astype(int)[:3]
        np.testing.assert_allclose((peer.affine @ [*nearest, 1])[:3], world[:3], atol=1e-4)
        assert peer.array[tuple(nearest)] == stored

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "s")))
    image = reader.Execute()
    itk_values = sitk.GetArrayFromImage(image)
    assert sorted(itk_values.shape) == sorted(volume.shape)
    for z, y, x in [(0, 0, 0), (2, 3, 4), tuple(n - 1 for n in volume.shape)]:
        world = volume.affine_lps @ np.array([x, y, z, 1.0])
        index = image.TransformPhysicalPointToIndex(world[:3].tolist())
        assert image.GetPixel(index) == volume.array[0, z, y, x]

    # NIfTI written from it: nibabel's RAS place of a voxel is ITK's LPS place
    mask = write_volume_like(tmp_path / "m.nii.gz", volume.array[0], volume)
    written = nib.load(mask)
    world = written.affine @ [4, 3, 2, 1]
    index = image.TransformPhysicalPointToIndex((-world[0], -world[1], world[2]))
    assert image.GetPixel(index) == written.dataobj[4, 3, 2]


def test_values_and_place_by_hand(tmp_path):
    volume = read_volume(save(ct_series(), tmp_path))
    assert np.array_equal(volume.array[0], HU)
    assert volume.spacing_mm == pytest.approx((3.0, 1.25, 0.75))
    np.testing.assert_allclose(volume.origin_mm, FIRST)
    assert volume.source.format == "dicom"
    assert volume.source.header.frames[0][0].is_file()
    first = pydicom.dcmread(volume.source.header.frames[0][0])
    assert first.ImagePositionPatient[2] == FIRST[2]


def test_slopes_of_each_slice(tmp_path):
    series = ct_series()
    for k, ds in enumerate(series):
        ds.RescaleSlope, ds.RescaleIntercept = 1 + k, -1000 - 10 * k
    volume = read_volume(save(series, tmp_path / "whole"))
    expected = np.stack([HU[k] * (1 + k) + 1024 * (1 + k) - 1000 - 10 * k for k in range(COUNT)])
    assert volume.array.dtype == np.int32
    assert np.array_equal(volume.array[0], expected)
    series[3].RescaleSlope = 0.5
    volume = read_volume(save(series, tmp_path / "half"))
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.array[0, 3], stored_values()[3] * 0.5 - 1030)


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        RLELossless,
        JPEG2000Lossless,
        JPEGLSLossless,
    ],
)
def test_transfer_syntaxes(syntax, tmp_path):
    values = np.tile(stored_values(), (1, 2, 2))  # JPEG 2000 encoders want 32 pixels or more
    series = ct_series(values=values)
    little = syntax != ExplicitVRBigEndian
    for k, ds in enumerate(series):
        if syntax.is_encapsulated:
            ds.compress(syntax, generate_instance_uid=False)
        if not little:
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        ds.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(
            tmp_path / f"{k}.dcm",
            ds,
            implicit_vr=syntax == ImplicitVRLittleEndian,
            little_endian=little,
            force_encoding=True,
        )
    assert np.array_equal(read_volume(tmp_path).array[0], values.astype(int) - 1024)


def test_jpeg_lossless(tmp_path):
    """Process 14, which most archives send; the codestreams are GDCM's."""
    values = stored_values()
    for k, ds in enumerate(ct_series(values=values)):
        path = tmp_path / f"{k}.dcm"
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(path))
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG")
        writer.Execute(sitk.GetImageFromArray(values[k][None]))
        made = pydicom.dcmread(path)
        assert made.file_meta.TransferSyntaxUID == JPEGLosslessSV1
        ds.PixelData, ds.BitsStored, ds.HighBit = made.PixelData, 16, 15
        ds["PixelData"].is_undefined_length = True
        ds.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        ds.save_as(path, enforce_file_format=True)
    assert np.array_equal(read_volume(tmp_path).array[0], HU)


def test_signed_twelve_bits_with_rubbish_above(tmp_path):
    """Overlay bits above the stored ones are no part of the value, and the sign is extended."""
    values = (stored_values().astype(np.int16) % 2000) - 1000
    rubbish = (values & 0x0FFF) | 0x3000
    series = ct_series(values=rubbish.astype(np.int16), RescaleIntercept=0)
    assert np.array_equal(read_volume(save(series, tmp_path)).array[0], values)


def test_padding_becomes_air(tmp_path):
    values = stored_values().astype(np.int16) - 1024
    values[:, :3] = -2000
    series = ct_series(
        values=values, RescaleIntercept=0, BitsStored=16, HighBit=15, PixelPaddingValue=-2000
    )
    volume = read_volume(save(series, tmp_path))
    values[:, :3] = -1024
    assert np.array_equal(volume.array[0], values)
    assert any("padding" in w for w in volume.warnings)


def test_missing_slice(tmp_path):
    series = ct_series()
    gap = series.pop(6)
    save(series, tmp_path)
    assert rejected(tmp_path) == ["D1"]
    with pytest.raises(GeometryError, match=r"D1: gap of 6 mm instead of 3 mm after \S+ \(slice 6"):
        read_volume(tmp_path)
    volume = read_volume(tmp_path, allow_missing_slices=True)
    assert volume.shape[0] == COUNT
    kept = [k for k in range(COUNT) if k != 6]
    assert np.array_equal(volume.array[0][kept], HU[kept])
    np.testing.assert_allclose(volume.array[0, 6], (HU[5] + HU[7]) / 2, atol=0.5)
    assert volume.source.header.frames[6] is None
    assert rejected(tmp_path, allow_missing_slices=True) == []
    assert gap.InstanceNumber == 7


def test_irregular_distances(tmp_path):
    series = ct_series()
    for k, ds in enumerate(series):
        ds.ImagePositionPatient[2] = float(FIRST[2] + 3.0 * k + (1.4 if k > 8 else 0.0))
    save(series, tmp_path)
    assert rejected(tmp_path) == ["D1"]
    volume = read_volume(tmp_path, allow_missing_slices=True)
    assert volume.array[0, 0, 0, 0] == HU[0, 0, 0]
    assert volume.array[0, -1, 0, 0] == HU[-1, 0, 0]


def test_rounded_positions_pass(tmp_path):
    series = ct_series()
    for k, ds in enumerate(series):
        ds.ImagePositionPatient[2] = round(-400 + 0.625 * k, 2)
    volume = read_volume(save(series, tmp_path))
    assert volume.spacing_mm[0] == pytest.approx(0.625, abs=1e-3)


def test_copied_slice_is_dropped_and_a_changed_one_rejected(tmp_path):
    series = ct_series()
    copy = ct_slice(stored_values()[4], FIRST + np.array([0, 0, 12.0]), number=5)
    volume = read_volume(save([*series, copy], tmp_path / "copy"))
    assert np.array_equal(volume.array[0], HU)
    assert any(w.startswith("D2") for w in volume.warnings)
    changed = ct_slice(stored_values()[9], FIRST + np.array([0, 0, 12.0]), number=5)
    assert rejected(save([*series, changed], tmp_path / "changed")) == ["D2"]


def test_gantry_tilt(tmp_path):
    """A 15 degree tilt: refused, or resampled so that world positions keep their values."""
    rows = np.arange(20)[:, None] * 1.25
    values = np.stack([np.tile(rows * 20 + k * TILT[1] * 20 + 500, (1, 24)) for k in range(COUNT)])
    save(ct_series(step=TILT, values=values.astype(np.uint16)), tmp_path)
    assert rejected(tmp_path) == ["D3"]
    with pytest.raises(GeometryError, match=r"tilt of 15\.0 degrees; use --resample-shear"):
        read_volume(tmp_path)
    volume = read_volume(tmp_path, resample_shear=True)
    d, h, w = volume.shape
    z, y, x = d // 2, h // 2, w // 2
    place = volume.affine_lps @ np.array([x, y, z, 1.0])
    expected = (place[1] - FIRST[1]) * 20 + 500 - 1024
    assert volume.array[0, z, y, x] == pytest.approx(expected, abs=3)
    assert h > 20


def test_shifted_slice(tmp_path):
    series = ct_series()
    series[5].ImagePositionPatient[0] += 4.0
    assert rejected(save(series, tmp_path)) == ["D3"]


def test_two_orientations_in_one_series(tmp_path):
    other = ct_series(orientation=ORIENTATIONS["sagittal"])
    save(ct_series(), tmp_path, "A")
    save(other, tmp_path, "B")
    assert rejected(tmp_path) == ["D4"]
    volume = read_volume(tmp_path, series=f"{SERIES}#1")
    assert np.array_equal(volume.array[0], HU)
    assert rejected(tmp_path, series=f"{SERIES}#2") == []
    assert rejected(tmp_path, series=f"{SERIES}#3") == ["D5"]


LOCALIZER = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def test_localizer_inside_the_series_is_left_out(tmp_path):
    scout = ct_slice(
        stored_values()[0],
        FIRST,
        (0, 1, 0, 0, 0, -1),
        ImageType=LOCALIZER,
    )
    volume = read_volume(save([*ct_series(), scout], tmp_path))
    assert np.array_equal(volume.array[0], HU)
    assert any(w.startswith("D4: 1 localizer") for w in volume.warnings)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("TemporalPositionIdentifier", (1, 2)),
        ("AcquisitionNumber", (1, 2)),
        ("FrameOfReferenceUID", ("1.2.3.1", "1.2.3.2")),
        ("EchoTime", (10, 80)),
    ],
)
def test_two_phases(key, values, tmp_path):
    second = stored_values(seed=5)
    save(ct_series(**{key: values[0]}), tmp_path, "A")
    save(ct_series(values=second, **{key: values[1]}), tmp_path, "B")
    assert rejected(tmp_path) == ["D5"]
    found = [read_volume(tmp_path, series=f"{SERIES}#{n}").array[0] for n in (1, 2)]
    expected = [HU, second.astype(int) - 1024]
    assert all(any(np.array_equal(f, e) for f in found) for e in expected)


@pytest.mark.parametrize("key", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_missing_geometry(key, tmp_path):
    series = ct_series()
    delattr(series[3], key)
    assert rejected(save(series, tmp_path)) == ["D6"]


def test_zero_pixel_spacing(tmp_path):
    assert rejected(save(ct_series(PixelSpacing=[0, 0]), tmp_path)) == ["N13"]


def test_truncated_pixels(tmp_path):
    save(ct_series(), tmp_path)
    path = tmp_path / "IM0003.dcm"
    path.write_bytes(path.read_bytes()[:-300])
    assert rejected(tmp_path) == ["D7"]


def test_wrong_rows(tmp_path):
    assert rejected(save(ct_series(Rows=40), tmp_path)) == ["D7"]
    assert rejected(save(ct_series(Rows=10), tmp_path)) == ["D7"]


def test_no_pixels(tmp_path):
    assert rejected(save(ct_series(PixelData=None), tmp_path)) == ["D7"]


def test_truncated_rle(tmp_path):
    series = ct_series()
    for ds in series:
        ds.compress(RLELossless, generate_instance_uid=False)
    save(series, tmp_path)
    path = tmp_path / "IM0003.dcm"
    path.write_bytes(path.read_bytes()[:-400])
    assert rejected(tmp_path) == ["D7"]


def test_unknown_transfer_syntax(tmp_path):
    series = ct_series()
    for ds in series:
        ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"  # MPEG2
        ds.PixelData = encapsulate([ds.PixelData])
        ds["PixelData"].is_undefined_length = True
    for k, ds in enumerate(series):
        ds.save_as(tmp_path / f"{k}.dcm", implicit_vr=False, little_endian=True)
    assert rejected(tmp_path) == ["D9"]


@pytest.mark.parametrize(
    "sop_class",
    [
        "1.2.840.10008.5.1.4.1.1.128",  # PET
        "1.2.840.10008.5.1.4.1.1.20",  # NM
        "1.2.840.10008.5.1.4.1.1.6.1",  # US
        "1.2.840.10008.5.1.4.1.1.481.2",  # RT dose
        "1.2.840.10008.5.1.4.1.1.66.4",  # SEG
    ],
)
def test_other_sop_classes(sop_class, tmp_path):
    save(ct_series(count=2, SOPClassUID=sop_class), tmp_path)
    assert rejected(tmp_path) == ["D10"]
    save(ct_series(), tmp_path, "CT")
    assert verdicts(tmp_path)["D10"] == "warn"
    assert np.array_equal(read_volume(tmp_path).array[0], HU)


def test_colour(tmp_path):
    assert rejected(save(ct_series(PhotometricInterpretation="RGB"), tmp_path)) == ["N19"]


def test_several_series(tmp_path, capsys):
    other = generate_uid()
    save(ct_series(), tmp_path, "A")
    save(ct_series(values=stored_values(seed=3), SeriesInstanceUID=other), tmp_path / "sub", "B")
    assert rejected(tmp_path) == ["D11"]
    assert np.array_equal(read_volume(tmp_path, series=SERIES).array[0], HU)
    assert main(["check", str(tmp_path), "--series", other]) == 0
    assert main(["check", str(tmp_path), "--series", "1.2.3"]) == 3
    message = capsys.readouterr().err
    assert SERIES in message
    assert other in message


def test_scout_series_is_left_out(tmp_path):
    save(ct_series(), tmp_path, "A")
    save(
        ct_series(count=1, SeriesInstanceUID="1.2.3", ImageType=LOCALIZER),
        tmp_path,
        "B",
    )
    assert np.array_equal(read_volume(tmp_path).array[0], HU)


def test_junk_and_links_out(tmp_path):
    save(ct_series(), tmp_path / "s")
    (tmp_path / "s" / "notes.txt").write_text("hello")
    (tmp_path / "s" / "empty.dcm").write_bytes(b"")
    save(ct_series(values=stored_values(seed=9)), tmp_path / "other")
    (tmp_path / "s" / "out").symlink_to(tmp_path / "other" / "IM0000.dcm")
    (tmp_path / "s" / "outdir").symlink_to(tmp_path / "other")
    (tmp_path / "s" / "loop").symlink_to(tmp_path / "s" / "loop")
    volume = read_volume(tmp_path / "s")
    assert np.array_equal(volume.array[0], HU)
    assert any("links out of the folder" in w for w in volume.warnings)


def test_dicomdir_is_not_followed(tmp_path):
    from pydicom.fileset import FileSet

    save(ct_series(), tmp_path / "out")
    files = FileSet()
    for path in (tmp_path / "out").glob("*.dcm"):
        files.add(path)
    files.write(tmp_path / "s")
    data = (tmp_path / "s" / "DICOMDIR").read_bytes()
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "DICOMDIR").write_bytes(data)
    assert rejected(tmp_path / "only") == ["D11"]
    assert np.array_equal(read_volume(tmp_path / "s").array[0], HU)


def test_folders_without_dicom(tmp_path):
    assert rejected(tmp_path) == ["D11"]
    (tmp_path / "a.txt").write_text("x")
    assert rejected(tmp_path) == ["D11"]


def test_no_preamble(tmp_path):
    save(ct_series(), tmp_path)
    for path in tmp_path.glob("*.dcm"):
        path.write_bytes(path.read_bytes()[132:])
    assert np.array_equal(read_volume(tmp_path).array[0], HU)


def test_damaged_header(tmp_path):
    save(ct_series(), tmp_path)
    path = tmp_path / "IM0002.dcm"
    path.write_bytes(path.read_bytes()[:180])
    assert rejected(tmp_path) == ["D12"]


def test_a_slice_cut_off_in_the_header_is_not_overlooked(tmp_path):
    """A file cut before its SOP class must not silently thin out the series at its end."""
    save(ct_series(), tmp_path, seed=1)
    last = max(tmp_path.glob("*.dcm"), key=lambda p: pydicom.dcmread(p).ImagePositionPatient[2])
    last.write_bytes(last.read_bytes()[:400])
    assert rejected(tmp_path) == ["D12"]


def test_single_file_of_a_series(tmp_path):
    save(ct_series(), tmp_path)
    volume = read_volume(tmp_path / "IM0000.dcm")
    assert volume.shape == (1, 20, 24)
    assert volume.spacing_mm[0] == 3.0
    assert any("single slice" in w for w in volume.warnings)


def legacy_enhanced(series):
    converted = hd.legacy.LegacyConvertedEnhancedCTImage(
        series, generate_uid(), 7, generate_uid(), 1
    )
    return converted


def test_enhanced_multi_frame(tmp_path):
    save(ct_series(), tmp_path / "classic")
    converted = legacy_enhanced(read_sorted(tmp_path / "classic"))
    (tmp_path / "enhanced").mkdir()
    converted.save_as(tmp_path / "enhanced" / "e.dcm")
    for path in (tmp_path / "enhanced", tmp_path / "enhanced" / "e.dcm"):
        volume = read_volume(path)
        assert np.array_equal(volume.array[0], HU)
        np.testing.assert_allclose(volume.affine_lps, read_volume(tmp_path / "classic").affine_lps)


def test_enhanced_without_a_slice(tmp_path):
    save([s for k, s in enumerate(ct_series()) if k != 4], tmp_path / "classic")
    legacy_enhanced(read_sorted(tmp_path / "classic")).save_as(tmp_path / "e.dcm")
    assert rejected(tmp_path / "e.dcm") == ["D1"]


def test_max_voxels_before_decoding(tmp_path):
    with pytest.raises(InputError, match=r"N7.*--max-voxels"):
        read_volume(save(ct_series(), tmp_path), max_voxels=1000)


def test_command_lists_the_rules(tmp_path, capsys):
    save(ct_series(), tmp_path)
    assert main(["check", str(tmp_path)]) == 0
    rules = {line.split()[0] for line in capsys.readouterr().out.splitlines()[1:-1]}
    assert {f"D{n}" for n in range(1, 13)} <= rules
