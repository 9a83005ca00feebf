"""Odd but valid scans pass, and give the values and places that other readers give."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from tests.io.nifti_files import AFFINE_RAS, SHAPE, nifti_bytes, voxels, write
from textseg3d.cli.main import main
from textseg3d.errors import GeometryError, InputError, UsageError
from textseg3d.io import check_scan, read_volume


def verdicts(path, **options):
    return {f.rule: f.verdict for f in check_scan(path, **options)}


def in_file_order(volume):
    return volume.to_source(volume.array[0])


@pytest.mark.parametrize(
    "dtype",
    ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", ">i2", ">f4", ">u2", ">f8"],
)
@pytest.mark.parametrize("cls", [nib.Nifti1Image, nib.Nifti2Image])
def test_types_and_byte_orders(dtype, cls, tmp_path):
    array = np.random.default_rng(0).integers(0, 100, SHAPE).astype(dtype)
    header = cls.header_class(endianness=">" if dtype.startswith(">") else "<")
    header.set_data_dtype(np.dtype(dtype))
    nib.save(cls(array, AFFINE_RAS, header), tmp_path / "scan.nii.gz")
    volume = read_volume(tmp_path / "scan.nii.gz")
    assert volume.array.dtype == np.dtype(dtype).newbyteorder("=")
    assert volume.array.dtype.isnative
    assert np.array_equal(in_file_order(volume), array)


@pytest.mark.parametrize(("slope", "inter"), [(1, -1024), (0.5, 0), (2.5, -1000), (-1, 3)])
def test_scaling_as_nibabel(slope, inter, tmp_path):
    path = write(tmp_path, nifti_bytes(voxels(dtype=np.uint16), scl_slope=slope, scl_inter=inter))
    volume = read_volume(path)
    assert volume.array.dtype == np.float32
    expected = nib.load(path).get_fdata(dtype=np.float32)
    np.testing.assert_allclose(in_file_order(volume), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("slope", "inter", "verdict"),
    [(0, 0, "ok"), (0, 5, "warn"), (np.nan, 0, "warn"), (np.inf, 0, "warn"), (1, np.nan, "warn")],
)
def test_unusable_scaling_is_none(slope, inter, verdict, tmp_path):
    path = write(tmp_path, nifti_bytes(scl_slope=slope, scl_inter=inter))
    assert verdicts(path)["N21"] == verdict
    volume = read_volume(path)
    assert volume.array.dtype == np.int16
    assert np.array_equal(in_file_order(volume), voxels())


def test_pair_either_name(tmp_path):
    nib.save(nib.Nifti1Pair(voxels(), AFFINE_RAS), tmp_path / "scan.img")
    for name in ("scan.hdr", "scan.img"):
        volume = read_volume(tmp_path / name)
        assert np.array_equal(in_file_order(volume), voxels())


def test_gzipped_pair(tmp_path):
    nib.save(nib.Nifti1Pair(voxels(), AFFINE_RAS), tmp_path / "scan.img.gz")
    assert np.array_equal(in_file_order(read_volume(tmp_path / "scan.hdr.gz")), voxels())


def test_singleton_fourth_axis(tmp_path):
    nib.save(nib.Nifti1Image(voxels()[..., None], AFFINE_RAS), tmp_path / "scan.nii.gz")
    assert np.array_equal(in_file_order(read_volume(tmp_path / "scan.nii.gz")), voxels())


@pytest.mark.parametrize("index", [0, 2, 3])
def test_volume_option(index, tmp_path, capsys):
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(np.stack([voxels(seed=n) for n in range(4)], -1), AFFINE_RAS), path)
    volume = read_volume(path, volume_index=index)
    assert np.array_equal(in_file_order(volume), voxels(seed=index))
    assert main(["check", str(path), "--volume", str(index)]) == 0
    assert main(["check", str(path), "--volume", "4"]) == 3
    assert "volumes 0 to 3" in capsys.readouterr().err


@pytest.mark.parametrize("units", [1, 3])
def test_units_give_the_same_place(units, tmp_path):
    factor = {1: 1e-3, 3: 1e3}[units]
    affine = AFFINE_RAS.copy()
    affine[:3] *= factor
    image = nib.Nifti1Image(voxels(), affine)
    image.header.set_xyzt_units({1: "meter", 3: "micron"}[units])
    nib.save(image, tmp_path / "scan.nii.gz")
    volume = read_volume(tmp_path / "scan.nii.gz")
    np.testing.assert_allclose(volume.spacing_mm, (3.0, 1.25, 1.5), rtol=1e-5)
    expected = np.diag([-1, -1, 1, 1]) @ AFFINE_RAS
    np.testing.assert_allclose(volume.source.affine_lps, expected, rtol=1e-5)
    assert verdicts(tmp_path / "scan.nii.gz")["N17"] == "fix"


@pytest.mark.parametrize("letters", ["LPS", "RAS", "LAS", "PIR", "SRA"])
def test_assumed_orientation(letters, tmp_path, capsys):
    path = write(tmp_path, nifti_bytes(qform_code=0, sform_code=0))
    volume = read_volume(path, assume_orientation=letters.lower())
    affine_ras = np.diag([-1, -1, 1, 1]) @ volume.source.affine_lps
    assert "".join(nib.aff2axcodes(affine_ras)) == letters
    np.testing.assert_allclose(np.linalg.norm(affine_ras[:3, :3], axis=0), (1.5, 1.25, 3.0))
    assert any(w.startswith("N10") for w in volume.warnings)
    assert main(["check", str(path), "--assume-orientation", letters]) == 0
    with pytest.raises(GeometryError):
        read_volume(path)


@pytest.mark.parametrize("letters", ["", "LP", "LLS", "XYZ", "LPSA"])
def test_bad_letters_are_usage_errors(letters, tmp_path, capsys):
    path = write(tmp_path, nifti_bytes())
    with pytest.raises(UsageError):
        read_volume(path, assume_orientation=letters)
    assert main(["check", str(path), "--assume-orientation", letters]) == 2


def test_qform_alone_as_nibabel(tmp_path):
    rng = np.random.default_rng(1)
    for n in range(5):
        q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        affine = np.eye(4)
        affine[:3, :3] = q * (1.0, 2.0, 3.0)
        affine[:3, 3] = rng.normal(size=3) * 100
        image = nib.Nifti1Image(voxels(), None)
        image.set_qform(affine, 1)
        image.set_sform(None, 0)
        nib.save(image, tmp_path / f"{n}.nii")
        volume = read_volume(tmp_path / f"{n}.nii")
        expected = np.diag([-1, -1, 1, 1]) @ nib.load(tmp_path / f"{n}.nii").affine
        np.testing.assert_allclose(volume.source.affine_lps, expected, atol=1e-4)


def test_small_shear_is_squared_up(tmp_path):
    path = write(tmp_path, nifti_bytes(srow_x1=0.0005, qform_code=0))
    assert verdicts(path)["N15"] == "fix"
    volume = read_volume(path)
    np.testing.assert_allclose(volume.direction.T @ volume.direction, np.eye(3), atol=1e-12)
    assert np.array_equal(in_file_order(volume), voxels())
    middle = (np.array([*SHAPE, 2.0]) - 1) / 2
    middle[3] = 1
    world = np.diag([-1, -1, 1, 1]) @ nib.load(path).affine @ middle
    np.testing.assert_allclose(volume.source.affine_lps @ middle, world, atol=1e-6)


def test_shear_is_resampled_when_asked(tmp_path):
    """A linear function of the world stays that function of the world."""
    affine = AFFINE_RAS.copy()
    affine[1, 2] = 1.0  # y shifts with k
    grid = np.stack([*np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), np.ones(SHAPE)])
    world = np.tensordot(affine, grid, axes=1)
    values = (world[0] + 2 * world[1] - world[2]).astype(np.float32)
    image = nib.Nifti1Image(values, affine)
    image.set_qform(AFFINE_RAS, 0)
    nib.save(image, tmp_path / "scan.nii.gz")
    with pytest.raises(GeometryError, match=r"N15.*--resample-shear"):
        read_volume(tmp_path / "scan.nii.gz")
    volume = read_volume(tmp_path / "scan.nii.gz", resample_shear=True)
    np.testing.assert_allclose(volume.direction.T @ volume.direction, np.eye(3), atol=1e-9)
    d, h, w = volume.shape
    centre = np.array([w // 2, h // 2, d // 2, 1.0])
    x, y, z, _ = np.diag([-1, -1, 1, 1]) @ volume.affine_lps @ centre
    assert volume.array[0, d // 2, h // 2, w // 2] == pytest.approx(x + 2 * y - z, abs=0.01)
    assert main(["check", str(tmp_path / "scan.nii.gz"), "--resample-shear"]) == 0


def test_max_voxels(tmp_path, capsys):
    path = write(tmp_path, nifti_bytes())
    count = int(np.prod(SHAPE))
    assert read_volume(path, max_voxels=count).array.size == count
    with pytest.raises(InputError, match=r"N7.*--max-voxels"):
        read_volume(path, max_voxels=count - 1)
    assert main(["check", str(path), "--max-voxels", str(count - 1)]) == 3
    assert main(["check", str(path), "--max-voxels", "0"]) == 2


def test_nan_voxels_become_air(tmp_path):
    array = voxels(dtype=np.float32)
    array[0, 0, :5] = [np.nan, np.inf, -np.inf, np.nan, np.nan]
    path = write(tmp_path, nifti_bytes(array))
    volume = read_volume(path)
    assert np.array_equal(in_file_order(volume)[0, 0, :5], [-1024] * 5)
    assert any(w.startswith("N20: 5 voxels") for w in volume.warnings)
    array = np.abs(array)
    volume = read_volume(write(tmp_path, nifti_bytes(array)))
    assert in_file_order(volume)[0, 0, 0] == np.nanmin(array)


@pytest.mark.parametrize(
    ("array", "verdict"),
    [
        (np.full(SHAPE, 7, np.int16), "warn"),
        (np.full(SHAPE, -1024, np.int16), "warn"),
        (voxels().astype(np.uint8), "warn"),
        (voxels(), "ok"),
    ],
)
def test_not_hu(array, verdict, tmp_path):
    assert verdicts(write(tmp_path, nifti_bytes(array)))["N22"] == verdict


@pytest.mark.parametrize("shape", [(64, 64, 1), (1, 64, 64), (64, 1, 64), (9, 10, 3)])
def test_thin_scans(shape, tmp_path):
    path = write(tmp_path, nifti_bytes(voxels(shape)))
    assert verdicts(path)["N23"] == "warn"
    assert np.array_equal(in_file_order(read_volume(path)), voxels(shape))


@pytest.mark.parametrize(("name", "packed"), [("a.nii", True), ("a.nii.gz", False)])
def test_misnamed_compression(name, packed, tmp_path):
    data = bytes(nifti_bytes())
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if packed else data)
    assert verdicts(path)["N4"] == "fix"
    assert np.array_equal(in_file_order(read_volume(path)), voxels())


def test_gzip_of_several_members_and_padding(tmp_path):
    data = bytes(nifti_bytes())
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(gzip.compress(data[:5000]) + gzip.compress(data[5000:]) + bytes(512))
    assert np.array_equal(in_file_order(read_volume(path)), voxels())
    assert verdicts(path)["N2"] == "ok"
    path.write_bytes(gzip.compress(data) + b"junk")
    assert verdicts(path)["N2"] == "warn"


def test_sform_beside_qform_warns(tmp_path):
    findings = verdicts(write(tmp_path, nifti_bytes(qoffset_x=90.0)))
    assert findings["N11"] == "warn"


def test_header_extension(tmp_path):
    image = nib.Nifti1Image(voxels(), AFFINE_RAS)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"hello" * 20))
    nib.save(image, tmp_path / "scan.nii.gz")
    assert verdicts(tmp_path / "scan.nii.gz")["N25"] == "ok"
    assert np.array_equal(in_file_order(read_volume(tmp_path / "scan.nii.gz")), voxels())


@pytest.mark.parametrize(
    "name",
    [
        "with space.nii.gz",
        "ünïcödé 肝.nii.gz",
        "-leading.nii.gz",
        "no_suffix",
        "UPPER.NII",
        "a'\"b.nii",
    ],
)
def test_names(name, tmp_path, monkeypatch):
    path = tmp_path / name
    data = bytes(nifti_bytes())
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert np.array_equal(in_file_order(read_volume(path)), voxels())
    monkeypatch.chdir(tmp_path)
    assert main(["check", "--", name]) == 0


def test_long_path_and_link(tmp_path):
    deep = tmp_path.joinpath(*["d" * 60] * 5)
    deep.mkdir(parents=True)
    path = write(deep, nifti_bytes())
    assert len(str(path)) > 300
    link = tmp_path / "link.nii.gz"
    os.symlink(path, link)
    assert np.array_equal(in_file_order(read_volume(link)), voxels())


def test_read_only_folder(tmp_path):
    folder = tmp_path / "ro"
    folder.mkdir()
    path = write(folder, nifti_bytes())
    folder.chmod(0o555)
    try:
        assert np.array_equal(in_file_order(read_volume(path)), voxels())
    finally:
        folder.chmod(0o755)
    shutil.rmtree(folder)


def test_check_table_and_json(tmp_path, capsys):
    path = write(tmp_path, nifti_bytes())
    assert main(["check", str(path)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    rules = [line.split()[0] for line in out.splitlines()[1:-1]]
    assert rules == [f"N{n}" for n in range(1, 27)]


def test_io_needs_no_torch():
    code = (
        "import sys, textseg3d.io, textseg3d.cli.check;"
        "sys.exit(bool({'torch', 'SimpleITK', 'pydicom', 'nibabel'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
