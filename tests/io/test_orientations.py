"""Axes permuted and flipped: one canonical array, one world, and the exact way back."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from tests.io.nifti_files import voxels
from textseg3d.io import read_volume, write_volume_like

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
ORIENTATIONS = [
    (permutation, signs)
    for permutation in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def oblique(degrees=(7.0, -4.0, 11.0)):
    a, b, c = np.radians(degrees)
    x = [[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]
    y = [[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]
    z = [[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]]
    return np.array(x) @ np.array(y) @ np.array(z)


def base_image():
    affine = np.eye(4)
    affine[:3, :3] = oblique() * (0.9, 1.3, 2.5)
    affine[:3, 3] = (-70, 20, -400)
    return nib.Nifti1Image(voxels((17, 19, 23)), affine)


def reoriented(image, permutation, signs):
    """nibabel reorders the voxels and the affine together."""
    orientation = np.array([[axis, sign] for axis, sign in zip(permutation, signs)])
    return image.as_reoriented(orientation)


@pytest.mark.parametrize(("permutation", "signs"), ORIENTATIONS)
def test_48_orientations_are_one_volume(permutation, signs, tmp_path):
    reference = base_image()
    image = reoriented(reference, permutation, signs)
    path = tmp_path / "scan.nii.gz"
    nib.save(image, path)
    volume = read_volume(path)

    # independent: nibabel's closest canonical (RAS), turned to LPS by hand
    ras = nib.as_closest_canonical(image)
    expected = np.asanyarray(ras.dataobj)[::-1, ::-1].transpose(2, 1, 0)
    assert np.array_equal(volume.array[0], expected)
    assert volume.array.dtype == np.int16
    corner = np.array([volume.shape[2] - 1, volume.shape[1] - 1, 0, 1.0])
    np.testing.assert_allclose(RAS_TO_LPS @ (ras.affine @ corner)[:3], volume.origin_mm, atol=2e-4)
    np.testing.assert_allclose(volume.spacing_mm, (2.5, 1.3, 0.9), rtol=1e-5)

    # exact way back
    assert np.array_equal(volume.to_source(volume.array[0]), np.asanyarray(image.dataobj))
    out = write_volume_like(tmp_path / "out.nii.gz", volume.array[0], volume)
    written = nib.load(out)
    assert np.array_equal(np.asanyarray(written.dataobj), np.asanyarray(image.dataobj))
    assert np.array_equal(written.affine, nib.load(path).affine)


@pytest.mark.parametrize(("permutation", "signs"), ORIENTATIONS[::7])
@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
def test_itk_formats_agree_with_nifti(permutation, signs, suffix, tmp_path):
    """The same image through ITK's writers gives the same canonical volume."""
    nib.save(reoriented(base_image(), permutation, signs), tmp_path / "scan.nii.gz")
    image = sitk.ReadImage(str(tmp_path / "scan.nii.gz"))
    sitk.WriteImage(image, str(tmp_path / f"scan.{suffix}"), True)
    volume = read_volume(tmp_path / f"scan.{suffix}")
    nifti = read_volume(tmp_path / "scan.nii.gz")
    assert np.array_equal(volume.array, nifti.array)
    np.testing.assert_allclose(volume.affine_lps, nifti.affine_lps, atol=1e-3)
    for index in [(0, 0, 0), (3, 5, 7)]:
        world = volume.source.affine_lps @ np.array([*index, 1.0])
        np.testing.assert_allclose(world[:3], image.TransformIndexToPhysicalPoint(index), atol=1e-4)


def test_world_position_of_a_bright_voxel(tmp_path):
    """By hand: file index (2, 3, 4) of a RAS-negative-x scan."""
    array = np.zeros((16, 17, 18), np.int16)
    array[2, 3, 4] = 1000
    affine = np.array([[-2.0, 0, 0, 50], [0, 3.0, 0, -40], [0, 0, 4.0, 10], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(array, affine), tmp_path / "scan.nii")
    volume = read_volume(tmp_path / "scan.nii")
    z, y, x = np.argwhere(volume.array[0] == 1000)[0]
    world = volume.affine_lps @ np.array([x, y, z, 1.0])
    # RAS (50 - 4, -40 + 9, 10 + 16) = (46, -31, 26), so LPS (-46, 31, 26)
    np.testing.assert_allclose(world[:3], (-46, 31, 26))
    assert (z, y, x) == (4, 13, 2)
