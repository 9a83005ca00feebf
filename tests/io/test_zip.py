"""D13: archives from anywhere, and D12: decoding in a child process."""

from __future__ import annotations

import stat
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.io.dicom_files import ct_series, save, stored_values
from textseg3d.errors import InputError
from textseg3d.io import check_scan, read_volume
from textseg3d.io.findings import FindingLog
from textseg3d.io.isolated import check_in_child
from textseg3d.io.options import ReadOptions


def rejected(path, **options):
    return [f.rule for f in check_scan(path, **options) if f.verdict == "reject"]


@pytest.fixture
def archive(tmp_path):
    """A zip of a good series, and the folder it came from."""
    save(ct_series(), tmp_path / "s")
    path = tmp_path / "series.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted((tmp_path / "s").iterdir()):
            packed.write(file, f"study/{file.name}")
    return path


def temporary_folders():
    return set(Path(tempfile.gettempdir()).glob("textseg3d-*"))


def test_zip_reads_as_the_folder(archive, tmp_path):
    before = temporary_folders()
    volume = read_volume(archive)
    assert np.array_equal(volume.array, read_volume(tmp_path / "s").array)
    assert volume.source.path == archive
    assert temporary_folders() <= before
    assert rejected(archive, isolate=True) == []


@pytest.mark.parametrize(
    "name", ["../evil.dcm", "a/../../evil.dcm", "/tmp/evil.dcm", "..\\evil.dcm", "C:\\evil.dcm"]
)
def test_names_that_lead_out(archive, name, tmp_path):
    with zipfile.ZipFile(archive, "a") as packed:
        packed.writestr(name, b"x")
    assert rejected(archive) == ["D13"]
    assert not list(tmp_path.rglob("evil*"))


def test_links(archive):
    link = zipfile.ZipInfo("link.dcm")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "a") as packed:
        packed.writestr(link, "/etc/passwd")
    assert rejected(archive) == ["D13"]


def test_bomb(tmp_path):
    path = tmp_path / "bomb.zip"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
        packed.open("a", "w") as member,
    ):
        for _ in range(80):
            member.write(bytes(1 << 20))
    before = temporary_folders()
    assert rejected(path) == ["D13"]
    assert temporary_folders() <= before


def test_lying_size(archive):
    """The directory declares fewer bytes than the member inflates to."""
    data = bytearray(archive.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, entry + 24, 10)
    archive.write_bytes(data)
    assert rejected(archive) == ["D13"]


def test_many_members(tmp_path):
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("a", b"")
    data = bytearray(path.read_bytes())
    end = data.rindex(b"PK\x05\x06")
    struct.pack_into("<HH", data, end + 8, 0xFFFF, 0xFFFF)
    path.write_bytes(data)
    assert rejected(path) == ["D13"]


@pytest.mark.parametrize("keep", [30, 200, 0.5, 0.99])
def test_truncated(archive, keep):
    data = archive.read_bytes()
    archive.write_bytes(data[: keep if keep > 1 else int(len(data) * keep)])
    assert rejected(archive) == ["D13"]


def test_damaged_member(archive):
    data = bytearray(archive.read_bytes())
    data[2000] ^= 0xFF
    archive.write_bytes(data)
    assert rejected(archive) == ["D13"]


def test_encrypted_flag(archive):
    data = bytearray(archive.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    assert rejected(archive) == ["D13"]


def test_zip_without_dicom(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("a.txt", b"hello")
    assert rejected(path) == ["D11"]


def test_child_finds_what_the_process_finds(tmp_path):
    series = ct_series()
    del series[4]
    save(series, tmp_path / "s")
    for options in ({}, {"allow_missing_slices": True}):
        here = check_scan(tmp_path / "s", **options)
        assert check_scan(tmp_path / "s", isolate=True, **options) == here


@pytest.mark.parametrize("limits", [{"memory_bytes": 200 << 20}, {"timeout_seconds": 0.01}])
def test_child_out_of_memory_or_time_is_a_finding(limits, tmp_path):
    values = np.tile(stored_values(), (1, 60, 60))
    save(ct_series(values=values), tmp_path / "s")
    log = FindingLog(tmp_path / "s")
    with pytest.raises(InputError, match="D12: "):
        check_in_child(tmp_path / "s", log, ReadOptions(), **limits)
    assert [f.rule for f in log.findings] == ["D12"]
