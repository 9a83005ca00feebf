"""Any bytes: a volume or an InputError of one line, never anything else, never much memory."""

from __future__ import annotations

import gzip
import io
import os
import tracemalloc
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import generate_uid

from tests.io.dicom_files import ct_series, ct_slice, read_sorted, save, stored_values
from tests.io.faults import itk_image
from tests.io.nifti_files import FIELDS, nifti_bytes, voxels
from textseg3d.errors import InputError
from textseg3d.io import read_volume

LIMIT_BYTES = 48 << 20
QUICK = settings(
    max_examples=int(os.environ.get("TEXTSEG3D_FUZZ_EXAMPLES", "50")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
WORDS = st.sampled_from(
    [
        b"\0\0\0\0",
        b"\xff\xff\xff\xff",
        b"\0\0\xc0\x7f",
        b"\0\0\x80\x7f",
        b"\0\0\x80\xff",
        b"\1\0\0\0",
    ]
)
NIFTI = bytes(nifti_bytes(voxels((9, 10, 11))))


def attempt(path: Path):
    """Read under a memory limit; only InputError may come out."""
    tracemalloc.start()
    message = ""
    try:
        volume = read_volume(path)
        assert np.all(np.isfinite(volume.affine_lps))
    except InputError as error:
        message = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < LIMIT_BYTES
    assert "\n" not in message
    assert not message or path.name in message


@pytest.fixture(autouse=True, scope="module")
def imports_are_in_place(tmp_path_factory):
    path = tmp_path_factory.mktemp("first") / "scan.nii"
    path.write_bytes(NIFTI)
    read_volume(path)


@QUICK
@given(offset=st.integers(0, 351), word=st.one_of(WORDS, st.binary(min_size=1, max_size=8)))
def test_nifti_header_bytes(tmp_path, offset, word):
    data = bytearray(NIFTI)
    data[offset : offset + len(word)] = word
    path = tmp_path / "scan.nii"
    path.write_bytes(data)
    attempt(path)


@QUICK
@given(
    fields=st.dictionaries(
        st.sampled_from(sorted(set(FIELDS) - {"magic"})),
        st.binary(min_size=4, max_size=4),
        max_size=6,
    )
)
def test_nifti_fields(tmp_path, fields):
    data = bytearray(NIFTI)
    for name, value in fields.items():
        offset, code = FIELDS[name]
        size = {"h": 2, "B": 1}.get(code, 4)
        data[offset : offset + size] = value[:size]
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(gzip.compress(data, 1))
    attempt(path)


@QUICK
@given(cut=st.integers(0, 2000), offset=st.integers(0, 2000), value=st.integers(1, 255))
def test_gzip_bytes(tmp_path, cut, offset, value):
    data = bytearray(gzip.compress(NIFTI, 6, mtime=0))
    data[offset % len(data)] ^= value
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(data[: len(data) - cut] if cut < 20 else data)
    attempt(path)


@QUICK
@given(data=st.binary(max_size=700), prefix=st.sampled_from([b"", b"\x5c\1\0\0", b"\x1c\2\0\0"]))
def test_anything(tmp_path, data, prefix):
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(prefix + data)
    attempt(path)


def itk_bytes(tmp_path_factory, name):
    path = tmp_path_factory.mktemp("itk") / name
    sitk.WriteImage(itk_image(), str(path), True)
    return path.read_bytes()


@pytest.fixture(scope="module")
def text_files(tmp_path_factory):
    return {name: itk_bytes(tmp_path_factory, name) for name in ("a.nrrd", "a.mha")}


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
@QUICK
@given(
    offset=st.integers(8, 420),
    word=st.one_of(
        st.binary(min_size=1, max_size=6),
        st.sampled_from([b"nan", b"-1", b"1e999", b"999999999", b"0", b"\n", b"(", b"none", b"="]),
    ),
)
def test_text_headers(tmp_path, text_files, name, offset, word):
    data = bytearray(text_files[name])
    data[offset : offset + len(word)] = word
    path = tmp_path / name
    path.write_bytes(data)
    attempt(path)


def dicom_bytes():
    buffer = io.BytesIO()
    ct_slice(stored_values()[0], (0, 0, 0)).save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


DICOM = dicom_bytes()


@QUICK
@given(offset=st.integers(132, 1200), word=st.binary(min_size=1, max_size=6))
def test_dicom_bytes(tmp_path, offset, word):
    data = bytearray(DICOM)
    data[offset : offset + len(word)] = word
    path = tmp_path / "slice.dcm"
    path.write_bytes(data)
    attempt(path)


@QUICK
@given(size=st.integers(0, len(DICOM)))
def test_dicom_cut_off(tmp_path, size):
    path = tmp_path / "slice.dcm"
    path.write_bytes(DICOM[:size])
    attempt(path)


@pytest.fixture(scope="module")
def enhanced(tmp_path_factory):
    folder = save(ct_series(), tmp_path_factory.mktemp("enhanced"))
    image = hd.legacy.LegacyConvertedEnhancedCTImage(
        read_sorted(folder), generate_uid(), 7, generate_uid(), 1
    )
    buffer = io.BytesIO()
    image.save_as(buffer)
    return buffer.getvalue()


@settings(QUICK, max_examples=15)  # each has 16 frames to parse
@given(place=st.floats(0, 1), word=st.binary(min_size=1, max_size=2))
def test_enhanced_dicom_bytes(tmp_path, enhanced, place, word):
    data = bytearray(enhanced)
    header_bytes = enhanced.index(b"\xe0\x7f\x10\x00") + 12
    offset = 132 + int(place * (header_bytes - 132))
    data[offset : offset + len(word)] = word
    path = tmp_path / "enhanced.dcm"
    path.write_bytes(data)
    attempt(path)
