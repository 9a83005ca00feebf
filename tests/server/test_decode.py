"""Uploads are decoded in a child: what it may take, what its death means, what comes back."""

import os
import signal
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.io import dicom_files
from textseg3d.client.client import _zipped
from textseg3d.client.frames import pack_scan, unpack_mask
from textseg3d.client.nrrd import encode
from textseg3d.errors import Cancelled, InputError
from textseg3d.io import read_volume, write_volume_like
from textseg3d.server.arrays import is_array, pack, read_array
from textseg3d.server.decode import DecodeLimits, RefusedScanError, decode

ARRAY = np.random.default_rng(0).integers(-900, 300, (20, 24, 22), dtype=np.int16)
SPACING = (4.0, 3.0, 2.5)
STRAIGHT = {"spacing_mm": [1] * 3, "direction": np.eye(3).tolist(), "origin_mm": [0] * 3}
TURNED = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]])
children = Path("/proc/thread-self/children")


def nifti(path, affine):
    nib.save(nib.Nifti1Image(ARRAY.transpose(2, 1, 0), affine), path)
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["nifti", "nrrd", "dicom"])
def test_the_same_volume_as_read_here(kind, tmp_path):
    if kind == "nifti":
        content = nifti(tmp_path / "a.nii.gz", np.diag([-2.5, 3, 4, 1]))
    elif kind == "nrrd":
        content = encode(ARRAY, SPACING, TURNED, (1.0, 2.0, 3.0))
    else:
        folder = dicom_files.save(dicom_files.ct_series(), tmp_path / "series")
        content = _zipped(folder)
    scan = tmp_path / "scan"
    scan.write_bytes(content)
    volume = decode(scan, tmp_path, DecodeLimits())
    expected = read_volume(scan)
    assert np.array_equal(volume.array, expected.array)
    assert volume.array.dtype == expected.array.dtype
    assert np.array_equal(volume.affine_lps, expected.affine_lps)
    assert volume.warnings == tuple(w for w in expected.warnings if not w.startswith("N4"))
    again = decode(scan, tmp_path, DecodeLimits(seconds=0))  # no second child
    assert np.array_equal(again.array, volume.array)
    for suffix in (".nii", ".nrrd"):  # files on the scan's grid are the same to the byte
        ours, theirs = tmp_path / f"ours{suffix}", tmp_path / f"theirs{suffix}"
        write_volume_like(ours, volume.array[0], volume)
        write_volume_like(theirs, expected.array[0], expected)
        assert ours.read_bytes() == theirs.read_bytes()


def test_blosc2_is_what_nrrd_is(tmp_path):
    volumes = []
    for name, content in {
        "nrrd": encode(ARRAY, SPACING, TURNED, (1.0, 2.0, 3.0)),
        "blosc2": pack_scan(ARRAY, SPACING, TURNED, (1.0, 2.0, 3.0)),
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "scan").write_bytes(content)
        volumes.append(decode(folder / "scan", folder, DecodeLimits()))
    assert np.array_equal(volumes[0].array, volumes[1].array)
    assert np.allclose(volumes[0].affine_lps, volumes[1].affine_lps)
    assert np.array_equal(unpack_mask(pack((ARRAY > 0).astype(np.uint8), {})), ARRAY > 0)


@pytest.mark.parametrize(
    "content",
    [
        pack_scan(ARRAY, SPACING)[:-200],
        pack_scan(ARRAY, SPACING)[:40],
        pack(ARRAY, {}),
        pack(ARRAY, {**STRAIGHT, "spacing_mm": [1, 0, 1]}),
        pack(ARRAY, {**STRAIGHT, "spacing_mm": [1, 1]}),
        pack(ARRAY, {**STRAIGHT, "direction": [[1]]}),
        pack(ARRAY[0], STRAIGHT),
        pack_scan(np.zeros((100, 100, 101), np.int8), SPACING),
    ],
    ids=["cut", "head", "bare", "zero", "two", "direction", "flat", "large"],
)  # fmt: skip
def test_damaged_blosc2(content, tmp_path):
    (tmp_path / "scan").write_bytes(content)
    assert is_array(tmp_path / "scan")
    with pytest.raises(InputError):
        read_array(tmp_path / "scan", 10**6)


def test_limits_of_the_child(tmp_path):
    before = set(children.read_text().split()) if children.exists() else set()
    scan = tmp_path / "scan"
    scan.write_bytes(encode(ARRAY, SPACING))
    with pytest.raises(RefusedScanError):
        decode(scan, tmp_path, DecodeLimits(memory_bytes=1 << 20))
    with pytest.raises(RefusedScanError) as refused:
        decode(scan, tmp_path, DecodeLimits(seconds=0))
    assert refused.value.rule == "D12"

    def cancel():
        raise Cancelled("enough")

    (tmp_path / "text").write_text("<html>not a scan")
    with pytest.raises(RefusedScanError) as refused:
        decode(tmp_path / "text", tmp_path, DecodeLimits())
    assert refused.value.rule == "N5"
    assert str(tmp_path) in str(refused.value)
    assert str(tmp_path) not in refused.value.expected
    with pytest.raises(Cancelled):
        decode(scan, tmp_path, DecodeLimits(), cancel)
    if children.exists():
        assert set(children.read_text().split()) <= before


@pytest.mark.skipif(not children.exists(), reason="needs Linux's list of children")
def test_a_decoder_that_crashes(tmp_path):
    scan = tmp_path / "scan"
    scan.write_bytes(encode(ARRAY, SPACING))

    def shoot():
        for child in children.read_text().split():
            os.kill(int(child), signal.SIGSEGV)

    with pytest.raises(RefusedScanError, match="SIGSEGV") as refused:
        decode(scan, tmp_path, DecodeLimits(), shoot)
    assert refused.value.rule == "D12"
    assert decode(scan, tmp_path, DecodeLimits()).shape == (20, 24, 22)
