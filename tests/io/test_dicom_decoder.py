"""Compressed pixels are decoded in a child (rule D12): decoders that really crash, hang and lie."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.io.dicom_files import broken_decoder, compressed_series
from textseg3d.errors import InputError
from textseg3d.io import check_scan, read_volume
from textseg3d.io.dicom_decoder import Decoder
from textseg3d.io.findings import FindingLog

pytest.importorskip("jpeg_ls", reason="needs the extra 'dicom'")
CRASH = "os.kill(os.getpid(), signal.SIGSEGV)"


@pytest.fixture
def decoder_that(tmp_path, monkeypatch):
    def install(deed):
        monkeypatch.setenv("PYTHONPATH", str(broken_decoder(tmp_path / "path", deed)))

    return install


def test_a_decoder_that_crashes(tmp_path, monkeypatch, decoder_that):
    folder, expected = compressed_series(tmp_path / "series")
    decoder_that(CRASH)
    with pytest.raises(InputError, match=r"D12: the decoder crashed \(SIGSEGV\) on IM\d+\.dcm"):
        read_volume(folder)
    rules = [f.rule for f in check_scan(folder) if f.verdict == "reject"]
    assert rules == ["D12"]
    monkeypatch.delenv("PYTHONPATH")
    assert np.array_equal(read_volume(folder).array[0], expected)


def test_two_that_fail_otherwise(tmp_path, decoder_that):
    folder, expected = compressed_series(tmp_path / "series")
    first = sorted(folder.iterdir())[0]
    decoder_that("time.sleep(600)")
    with (
        Decoder(FindingLog(folder), silence_seconds=0.5) as decoder,
        pytest.raises(InputError, match=r"D12.*0\.5 s"),
    ):
        list(decoder.frames(first, [0]))
    (tmp_path / "path" / "gdcm.py").write_text("import sys; print('hello'); sys.exit('no licence')")
    with (
        Decoder(FindingLog(folder)) as decoder,
        pytest.raises(InputError, match=r"D12.*failed \(no licence\)"),
    ):
        list(decoder.frames(first, [0]))
    # One that complains, or prints, is passed by: the next one decodes.
    (tmp_path / "path" / "gdcm.py").write_text("print('hello')\nraise ImportError('no')")
    assert np.array_equal(read_volume(folder).array[0], expected)


def test_one_that_complains_without_end(tmp_path, decoder_that):
    """More than a pipe holds, which nobody would empty."""
    folder, expected = compressed_series(tmp_path / "series")
    decoder_that("print('warning ' * 100_000); raise ImportError('no')")
    first = sorted(folder.iterdir())[0]
    with Decoder(FindingLog(folder), silence_seconds=20) as decoder:
        (stored,) = decoder.frames(first, [0])
    assert stored.shape == expected.shape[1:]


def test_refusals_keep_their_words_and_the_child(tmp_path):
    folder, expected = compressed_series(tmp_path / "series")
    first, second = sorted(folder.iterdir())[:2]
    content = first.read_bytes()
    first.write_bytes(content[: len(content) - 400])
    with Decoder(FindingLog(folder)) as decoder:
        with pytest.raises(ValueError, match="no pixel data"):
            list(decoder.frames(first, [0]))
        (stored,) = decoder.frames(second, [0])
        pid = decoder._child.pid
    assert stored.shape == expected.shape[1:]
    if Path("/proc/self").exists():
        assert not Path(f"/proc/{pid}").exists()  # it left with the block
    assert [f.rule for f in check_scan(folder) if f.verdict == "reject"] == ["D7"]


def test_no_process_to_be_had(tmp_path, monkeypatch):
    """As in a sandbox: it decodes in this process."""
    folder, expected = compressed_series(tmp_path / "series")
    monkeypatch.setattr("sys.executable", os.fspath(tmp_path / "no-python"))
    assert np.array_equal(read_volume(folder).array[0], expected)
