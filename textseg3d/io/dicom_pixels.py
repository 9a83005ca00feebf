"""Pixels of DICOM slices: sizes checked before decoding, values in HU after it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import InputError
from textseg3d.io.dicom_decoder import Decoder, read_data, stored_frames
from textseg3d.io.dicom_index import DicomFile
from textseg3d.io.dicom_slices import Slice
from textseg3d.io.findings import Finding, FindingLog, enforced, rule
from textseg3d.io.options import ReadOptions
from textseg3d.io.voxels import AIR_HU

enforced("D7", "dicom-pixels", "as many pixels as rows and columns ask for")
enforced("D8", "dicom-pixels", "rescale slope and intercept of each slice applied")
_DEFLATED = "1.2.840.10008.1.2.1.99"
_RLE = "1.2.840.10008.1.2.5"
_LOSSY = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81"}


@dataclass(frozen=True)
class CodingFacts:
    """How the pixels of the chosen slices are stored."""

    files: tuple[DicomFile, ...]


def transfer_syntax(file: DicomFile) -> str:
    """Transfer syntax UID; implicit little endian where the file has no meta header."""
    meta = getattr(file.header, "file_meta", None)
    return str(getattr(meta, "TransferSyntaxUID", "") or "1.2.840.10008.1.2")


@rule("D9", "dicom-coding", "the compression of the pixels can be decoded here")
def _d9(facts: CodingFacts, options: ReadOptions) -> Iterator[Finding]:
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    for syntax in sorted({transfer_syntax(file) for file in facts.files}):
        try:
            available = get_decoder(UID(syntax)).is_available
        except NotImplementedError:
            yield Finding(
                "D9",
                "reject",
                f"transfer syntax {UID(syntax).name} is not read; export it uncompressed",
            )
            continue
        if not available:
            yield Finding(
                "D9",
                "reject",
                f"transfer syntax {UID(syntax).name} needs a decoder: pip install "
                "'textseg3d[dicom]' (pylibjpeg, pyjpegls), or export it uncompressed",
            )
        elif syntax in _LOSSY:
            yield Finding("D9", "warn", f"pixels are compressed with loss ({UID(syntax).name})")


@rule("N19", "dicom-coding", "one number per pixel")
def _n19(facts: CodingFacts, options: ReadOptions) -> Iterator[Finding]:
    for file in facts.files:
        header = file.header
        samples = int(header.get("SamplesPerPixel") or 1)
        photometric = str(header.get("PhotometricInterpretation", "MONOCHROME2"))
        bits = int(header.get("BitsAllocated") or 0)
        stored, high = int(header.get("BitsStored") or bits), header.get("HighBit")
        if samples != 1 or not photometric.startswith("MONOCHROME"):
            what = f"{samples} samples per pixel, {photometric}"
        elif bits not in (8, 16, 32) or not 1 <= stored <= bits:
            what = f"{stored} of {bits} bits per pixel"
        elif high is not None and not stored - 1 <= int(high) < bits:
            what = f"high bit {high} with {stored} of {bits} bits per pixel"
        elif "ModalityLUTSequence" in header:
            what = "a modality lookup table"
        else:
            continue
        yield Finding("N19", "reject", f"{file.path.name} has {what}; export it as plain grey")
        return


def decode_stack(slices: Sequence[Slice], log: FindingLog, decoder: Decoder) -> NDArray[Any]:
    """Pixels [k, rows, columns] in HU (CT) or rescaled units.

    int16 where all values fit, else int32 or int64; float32 where slopes or intercepts are
    not whole.

    Args:
        slices: from the first to the last.
        log: gets what the pixels show.
        decoder: for compressed pixels.

    Raises:
        InputError: D7 too few pixels, or pixels that do not decode; D12 a decoder that crashed.
    """
    rows, columns = slices[0].size
    whole = all(s.slope.is_integer() and s.intercept.is_integer() for s in slices)
    volume = np.empty((len(slices), rows, columns), np.int16 if whole else np.float32)
    padded = 0
    place = {id(s): k for k, s in enumerate(slices)}
    for file, members in _by_file(slices):
        for s, stored in _frames(file, members, log, decoder):
            values, padding = _rescaled(s, stored, whole)
            padded += padding
            while whole and not _fits(values, volume.dtype):
                volume = volume.astype(np.int32 if volume.dtype == np.int16 else np.int64)
            volume[place[id(s)]] = values
    if padded:
        log.add("D9", "fix", f"{padded} padding pixels set to {AIR_HU} HU")
    log.passed("dicom-pixels")
    return volume


def same_pixels(a: Slice, b: Slice, log: FindingLog, decoder: Decoder) -> bool:
    """Whether two slices hold the same values.

    Raises:
        InputError: one of them cannot be decoded.
    """
    first, second = (
        next(_frames(s.file, [s], log, decoder))[1].astype(np.float64) * s.slope + s.intercept
        for s in (a, b)
    )
    return bool(np.array_equal(first, second))


def _fits(values: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    limits = np.iinfo(dtype)
    return bool(limits.min <= values.min() and values.max() <= limits.max)


def _by_file(slices: Sequence[Slice]) -> list[tuple[DicomFile, list[Slice]]]:
    found: dict[Path, tuple[DicomFile, list[Slice]]] = {}
    for s in slices:
        found.setdefault(s.file.path, (s.file, []))[1].append(s)
    return list(found.values())


def _frames(
    file: DicomFile, members: Sequence[Slice], log: FindingLog, decoder: Decoder
) -> Iterator[tuple[Slice, NDArray[Any]]]:
    """Stored values [rows, columns] of some frames of one file."""
    size = members[0].size
    raw = transfer_syntax(file) in _uncompressed()
    arrays = _read_raw(file, members, log) if raw else decoder.frames(file.path, _indices(members))
    for s in members:
        try:
            stored = next(arrays)
        except (MemoryError, InputError):
            raise
        except Exception as error:  # damaged DICOM raises anything, and so do decoders
            _undecodable(file, error, log)
        if stored.shape != size:
            log.reject("D7", f"{file.path.name} decodes to {stored.shape}, not {size}")
        native = raw or transfer_syntax(file) == _RLE
        yield s, _used_bits(stored, file.header) if native else stored


def _indices(members: Sequence[Slice]) -> list[int]:
    return [s.frame for s in members]


def _read_raw(file: DicomFile, members: Sequence[Slice], log: FindingLog) -> Iterator[NDArray[Any]]:
    """Stored values of some frames of an uncompressed file, once it has as many as it says."""
    data = read_data(file.path)
    got = len(data.PixelData or b"")
    rows, columns = members[0].size
    frames = int(file.header.get("NumberOfFrames") or 1)
    expected = rows * columns * frames * int(file.header.BitsAllocated) // 8
    if got < expected or got > expected + 1 + expected % 2:
        log.reject(
            "D7",
            f"{file.path.name} has {got} bytes of pixels, {rows} x {columns} x {frames} need "
            f"{expected}; the file is truncated or its size is wrong",
        )
    yield from stored_frames(data, _indices(members))


def _uncompressed() -> set[str]:
    return {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", _DEFLATED}


def _undecodable(file: DicomFile, error: Exception, log: FindingLog) -> NoReturn:
    reason = f"{type(error).__name__}: {error}"[:160]
    log.reject(
        "D7", f"pixels of {file.path.name} do not decode ({reason}); export the series again"
    )


def _used_bits(stored: NDArray[Any], header: Any) -> NDArray[Any]:
    """Keep the bits that carry the value: what lies above or below them may be anything."""
    allocated = int(header.BitsAllocated)
    used = int(header.get("BitsStored") or allocated)
    high = int(header.get("HighBit", used - 1))
    if used == allocated:
        return stored
    left, right = allocated - 1 - high, allocated - used
    return (stored << left) >> right  # arithmetic for signed types: extends the sign


def _rescaled(s: Slice, stored: NDArray[Any], whole: bool) -> tuple[NDArray[Any], int]:
    """Values of one slice, and how many pixels were padding."""
    header = s.file.header
    if whole:
        values = stored.astype(np.int64 if stored.dtype.itemsize > 2 else np.int32)
        values = values * int(s.slope) + int(s.intercept)
    else:
        values = stored.astype(np.float32) * np.float32(s.slope) + np.float32(s.intercept)
    padding = header.get("PixelPaddingValue")
    if padding is None or s.file.modality != "CT":
        return values, 0
    limit = header.get("PixelPaddingRangeLimit")
    low, high = sorted((_as_int(padding), _as_int(padding if limit is None else limit)))
    if high * s.slope + s.intercept >= AIR_HU or not math.isfinite(s.slope):
        return values, 0  # within the range of tissue: cannot be told from it, so left alone
    outside = (stored >= low) & (stored <= high)
    values[outside] = AIR_HU
    return values, int(np.count_nonzero(outside))


def _as_int(value: Any) -> int:
    if isinstance(value, bytes):
        return int.from_bytes(value[:2], "little", signed=True)
    return int(value)
