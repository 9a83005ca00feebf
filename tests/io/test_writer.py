"""What is written lies on the input's grid, appears whole, and never over the input."""

from __future__ import annotations

import os
import subprocess
import sys

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from tests.io.nifti_files import AFFINE_RAS, SHAPE, nifti_bytes, voxels, write
from textseg3d.errors import GeometryError, UsageError
from textseg3d.io import atomic_path, read_volume, volume_from_array, write_volume_like


@pytest.fixture
def scan(tmp_path):
    return read_volume(write(tmp_path, nifti_bytes()))


def test_mask_keeps_the_header_that_places_it(tmp_path):
    image = nib.Nifti1Image(voxels(), AFFINE_RAS)
    image.set_sform(AFFINE_RAS, 4)
    image.set_qform(AFFINE_RAS, 2)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"PATIENT NAME"
    image.header["aux_file"] = b"patient.txt"
    nib.save(image, tmp_path / "scan.nii.gz")
    volume = read_volume(tmp_path / "scan.nii.gz")
    mask = volume.array[0] > 0
    path = write_volume_like(tmp_path / "mask.nii.gz", mask, volume, intent="liver")
    written, source = nib.load(path), nib.load(tmp_path / "scan.nii.gz")
    for field in ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b"):
        assert np.array_equal(written.header[field], source.header[field])
    assert np.array_equal(written.header["pixdim"][:4], source.header["pixdim"][:4])
    assert written.header["xyzt_units"] == source.header["xyzt_units"]
    assert written.get_data_dtype() == np.uint8
    assert np.array_equal(np.asanyarray(written.dataobj), voxels() > 0)
    assert written.header["intent_name"].item() == b"liver"
    assert b"PATIENT" not in written.header.binaryblock
    assert b"patient" not in written.header.binaryblock
    itk = sitk.ReadImage(str(path))
    assert itk.GetOrigin() == sitk.ReadImage(str(tmp_path / "scan.nii.gz")).GetOrigin()


def test_nifti2_stays_nifti2(tmp_path):
    nib.save(nib.Nifti2Image(voxels(), AFFINE_RAS), tmp_path / "scan.nii")
    volume = read_volume(tmp_path / "scan.nii")
    path = write_volume_like(tmp_path / "mask.nii", volume.array[0] > 0, volume)
    written = nib.load(path)
    assert isinstance(written, nib.Nifti2Image)
    assert np.array_equal(np.asanyarray(written.dataobj), voxels() > 0)


def test_big_endian_pair_gives_a_readable_mask(tmp_path):
    header = nib.Nifti1Header(endianness=">")
    nib.save(nib.Nifti1Pair(voxels(), AFFINE_RAS, header), tmp_path / "scan.img")
    volume = read_volume(tmp_path / "scan.img")
    path = write_volume_like(tmp_path / "mask.nii.gz", volume.array[0], volume)
    assert np.array_equal(np.asanyarray(nib.load(path).dataobj), voxels())
    np.testing.assert_array_equal(nib.load(path).affine, AFFINE_RAS)


@pytest.mark.parametrize(
    "space", ["left-posterior-superior", "right-anterior-superior", "left-anterior-superior"]
)
def test_nrrd_keeps_space_and_directions(space, tmp_path):
    directions = np.array([[0, 1.2, 0.1], [-1.5, 0, 0], [0, -0.2, 2.4]])
    header = {
        "space": space,
        "space directions": directions,
        "space origin": np.array([1.5, -2.5, 30]),
        "encoding": "gzip",
    }
    nrrd.write(str(tmp_path / "scan.nrrd"), voxels(), header)
    volume = read_volume(tmp_path / "scan.nrrd")
    path = write_volume_like(tmp_path / "mask.nrrd", volume.array[0] > 100, volume)
    data, written = nrrd.read(str(path))
    assert np.array_equal(data, voxels() > 100)
    assert written["space"] == space
    np.testing.assert_allclose(written["space directions"], directions, atol=1e-12)
    np.testing.assert_allclose(written["space origin"], (1.5, -2.5, 30))
    a, b = (sitk.ReadImage(str(tmp_path / n)) for n in ("scan.nrrd", "mask.nrrd"))
    np.testing.assert_allclose(a.GetDirection(), b.GetDirection(), atol=1e-12)
    np.testing.assert_allclose(a.GetOrigin(), b.GetOrigin(), atol=1e-12)


@pytest.mark.parametrize("name", ["m.nii.gz", "m.nii", "m.nrrd"])
@pytest.mark.parametrize("dtype", [bool, "u1", "i2", "u2", "i4", "f4", "f8", "f2"])
def test_types(name, dtype, scan, tmp_path):
    array = (np.arange(scan.array[0].size).reshape(scan.shape) % 2).astype(dtype)
    back = read_volume(write_volume_like(tmp_path / name, array, scan))
    assert np.array_equal(back.array[0], array)
    np.testing.assert_allclose(back.affine_lps, scan.affine_lps, atol=1e-5)


def test_array_source(tmp_path):
    affine = np.array([[0, 1.0, 0, 5], [-2.0, 0, 0, 6], [0, 0, 3.0, 7], [0, 0, 0, 1]])
    volume = volume_from_array(voxels(), affine)
    path = write_volume_like(tmp_path / "m.nii.gz", volume.array[0], volume)
    np.testing.assert_allclose(nib.load(path).affine, np.diag([-1, -1, 1, 1]) @ affine)
    assert np.array_equal(np.asanyarray(nib.load(path).dataobj), voxels())
    assert nib.load(path).header["qform_code"] == 1


def test_never_over_the_input(scan, tmp_path):
    before = scan.source.path.read_bytes()
    link = tmp_path / "link.nii.gz"
    os.symlink(scan.source.path, link)
    hard = tmp_path / "hard.nii.gz"
    os.link(scan.source.path, hard)
    for path in (scan.source.path, link, hard):
        with pytest.raises(UsageError, match="never overwritten"):
            write_volume_like(path, scan.array[0], scan)
    assert scan.source.path.read_bytes() == before


def test_nothing_is_left_after_a_failure(scan, tmp_path):
    target = tmp_path / "out" / "m.nii.gz"
    target.parent.mkdir()
    target.write_bytes(b"old")

    def break_off():
        with atomic_path(target) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert target.read_bytes() == b"old"
    with pytest.raises(GeometryError, match="shape"):
        write_volume_like(target, scan.array[0][:-1], scan)
    with pytest.raises(UsageError, match="do not fit"):
        write_volume_like(target, scan.array[0], scan, dtype=np.uint8)
    with pytest.raises(UsageError, match="complex"):
        write_volume_like(target, scan.array[0].astype(complex), scan)
    assert [p.name for p in target.parent.iterdir()] == ["m.nii.gz"]
    assert target.read_bytes() == b"old"


def test_refused_targets(scan, tmp_path):
    with pytest.raises(UsageError, match=r"\.nii\.gz, \.nii or \.nrrd"):
        write_volume_like(tmp_path / "m.mgz", scan.array[0], scan)
    with pytest.raises(UsageError, match="no folder"):
        write_volume_like(tmp_path / "nowhere" / "m.nii.gz", scan.array[0], scan)


FULL_DISK = """
import resource, signal, sys
from textseg3d.errors import TextSegError
from textseg3d.io import read_volume, write_volume_like
volume = read_volume(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_volume_like(sys.argv[2], volume.array[0], volume)
except TextSegError as error:
    print(error)
"""


def test_full_disk_is_one_line_and_leaves_nothing(scan, tmp_path):
    """The system refuses bytes beyond 4096, as a full disk would."""
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / "m.nii"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(scan.source.path), str(target)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"writing {target} failed: ")
    assert len(done.stdout.splitlines()) == 1
    assert not list(target.parent.iterdir())


def test_mask_files_are_small_and_in_order(tmp_path):
    assert SHAPE[0] != SHAPE[1] != SHAPE[2]
    volume = read_volume(write(tmp_path, nifti_bytes()))
    path = write_volume_like(tmp_path / "m.nii.gz", np.zeros(volume.shape, bool), volume)
    assert path.stat().st_size < 700
