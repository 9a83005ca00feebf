"""Which DICOM images a folder holds: headers only, nothing followed out of the folder."""

from __future__ import annotations

import io
import os
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textseg3d.io.findings import Finding, rule
from textseg3d.io.options import ReadOptions

MAX_FILES = 200_000
MAX_INFLATED_BYTES = 512 << 20
_META_BYTES = 1024
_DEFLATED = b"1.2.840.10008.1.2.1.99"
# SOP classes that are read: CT and MR, one slice per file or many (enhanced, legacy converted).
CLASSIC = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.4": "MR",
}
ENHANCED = {
    "1.2.840.10008.5.1.4.1.1.2.1": "CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "CT",
    "1.2.840.10008.5.1.4.1.1.4.1": "MR",
    "1.2.840.10008.5.1.4.1.1.4.4": "MR",
}
_DICOMDIR = "1.2.840.10008.1.3.10"
_WANTED = [
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "Modality",
    "ImageType",
    "InstanceNumber",
    "FrameOfReferenceUID",
    "AcquisitionNumber",
    "AcquisitionTime",
    "ContentTime",
    "TemporalPositionIdentifier",
    "EchoNumbers",
    "EchoTime",
    "TriggerTime",
    "DiffusionBValue",
    "NominalPercentageOfCardiacPhase",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]

_WHOLE = (
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)
_REAL = ("RescaleSlope", "RescaleIntercept", "SliceThickness", "SpacingBetweenSlices")
_PADDING = ("PixelPaddingValue", "PixelPaddingRangeLimit")


@dataclass(frozen=True)
class DicomFile:
    """One readable image file.

    Attributes:
        path: the file.
        header: pydicom data set of the wanted elements, without pixels.
        series: SeriesInstanceUID.
        sop_class: SOPClassUID.
        modality: "CT" or "MR".
    """

    path: Path
    header: Any
    series: str
    sop_class: str
    modality: str


@dataclass(frozen=True)
class IndexFacts:
    """What is in a folder.

    Attributes:
        files: images of SOP classes that are read, in path order.
        refused: name of every other SOP class, and how many files have it.
        broken: files that say they are DICOM and cannot be parsed, with the reason.
        junk: how many files are no DICOM.
        outside: how many links lead out of the folder.
        listing: "UID (description, n files)" for each series.
        chosen: the series UID that is read, "" if that is not clear.
    """

    files: tuple[DicomFile, ...]
    refused: dict[str, int]
    broken: tuple[tuple[str, str], ...]
    junk: int
    outside: int
    listing: tuple[str, ...]
    chosen: str


class ClampedFile(io.BufferedReader):
    """A file whose `read` never allocates more than is left of it, whatever length is asked."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(os.fspath(path)))  # pydicom adds the name to texts
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1) -> bytes:
        """Up to `size` bytes, or all that are left."""
        left = max(0, self._size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


def index_folder(root: Path, options: ReadOptions) -> IndexFacts:
    """Read the headers of all files below a folder, or of one file."""
    files: list[DicomFile] = []
    refused: dict[str, int] = {}
    broken: list[tuple[str, str]] = []
    junk = outside = 0
    for path in _paths(root):
        if path is None:
            outside += 1
            continue
        try:
            header = read_header(path)
        except MemoryError:
            raise
        except Exception as error:  # damaged DICOM raises anything
            broken.append((path.name, f"{type(error).__name__}: {error}"))
            continue
        if header is None:
            junk += 1
            continue
        sop_class = str(header.get("SOPClassUID", ""))
        modality = CLASSIC.get(sop_class) or ENHANCED.get(sop_class)
        if modality is None:
            name = _sop_name(sop_class)
            refused[name] = refused.get(name, 0) + 1
            continue
        series = str(header.get("SeriesInstanceUID", ""))
        files.append(DicomFile(path, header, series, sop_class, modality))
    listing, chosen = _choose(files, options)
    return IndexFacts(tuple(files), refused, tuple(broken), junk, outside, tuple(listing), chosen)


def read_header(path: Path) -> Any:
    """Wanted elements of a DICOM file, None if the file is no DICOM image.

    Raises:
        Exception: whatever pydicom meets in a damaged file.
    """
    import pydicom

    with open(path, "rb") as file:
        start = file.read(_META_BYTES)
    preamble = start[128:132] == b"DICM"
    if not preamble and not starts_like_a_data_set(start):
        return None
    if preamble and _DEFLATED in start:
        _check_deflated(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with ClampedFile(path) as file:
            header = pydicom.dcmread(
                file, stop_before_pixels=True, force=not preamble, specific_tags=list(_WANTED)
            )
        if not preamble and "SOPClassUID" not in header:
            return None
        if str(header.get("SOPClassUID", "")) == _DICOMDIR or _is_dicomdir(header):
            return None
        if "SOPClassUID" not in header or "SOPInstanceUID" not in header:
            raise ValueError("it ends before its SOP class and instance UID")
        for _ in header:  # converts raw elements now, so that a damaged one fails here
            pass
        _check_numbers(header)
    return header


def _check_numbers(header: Any) -> None:
    """Elements that are used as numbers are one number each; empty ones are taken out.

    Raises:
        ValueError: one of them is not.
    """
    for key in (*_WHOLE, *_REAL, *_PADDING):
        value = header.get(key)
        if value is None or value == "" or value == b"":
            if key in header:
                del header[key]
            continue
        if key in _PADDING and isinstance(value, bytes):  # its type is not known to the reader
            continue
        try:
            number = float(value)
            if key in _WHOLE and not number.is_integer():
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"{key} is {str(value)[:20]!r}, not a number") from None


def _is_dicomdir(header: Any) -> bool:
    meta = getattr(header, "file_meta", None)
    return str(getattr(meta, "MediaStorageSOPClassUID", "")) == _DICOMDIR


def _check_deflated(path: Path) -> None:
    """Refuse a deflated data set that inflates beyond reason, before pydicom inflates it whole."""
    from pydicom.filereader import _read_file_meta_info, read_preamble

    with open(path, "rb") as file:
        read_preamble(file, force=True)
        _read_file_meta_info(file)
        inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while (data := inflater.unconsumed_tail or file.read(1 << 16)) and not inflater.eof:
            size += len(inflater.decompress(data, 1 << 22))
            if size > MAX_INFLATED_BYTES:
                raise ValueError(f"deflated data set of more than {MAX_INFLATED_BYTES} bytes")


def starts_like_a_data_set(start: bytes) -> bool:
    """Files without preamble begin with an element of group 0002 or 0008."""
    if len(start) < 16:
        return False
    group = int.from_bytes(start[:2], "little")
    element = int.from_bytes(start[2:4], "little")
    return group in (0x0002, 0x0008) and element <= 0x0100


def _paths(root: Path) -> Iterator[Path | None]:
    """Regular files below `root` in name order; None for a link that leads out of it."""
    if root.is_file():
        yield root
        return
    inside = root.resolve()
    count = 0
    for folder, folders, names in os.walk(root, followlinks=False):
        folders.sort()
        for name in sorted(names):
            path = Path(folder) / name
            if path.is_symlink():
                try:
                    if not path.resolve().is_relative_to(inside):
                        yield None
                        continue
                except (OSError, RuntimeError):
                    yield None
                    continue
            if not path.is_file():
                continue
            count += 1
            if count > MAX_FILES:
                return
            yield path


def _sop_name(uid: str) -> str:
    import pydicom

    name = pydicom.uid.UID(uid).name if uid else "no SOP class"
    return name.removesuffix(" Storage")


def _choose(files: list[DicomFile], options: ReadOptions) -> tuple[list[str], str]:
    """A line for each series, and the one to read."""
    groups: dict[str, list[DicomFile]] = {}
    for file in files:
        groups.setdefault(file.series, []).append(file)
    listing = []
    for uid, members in groups.items():
        kind = " ".join(str(members[0].header.get(k, "")) for k in ("Modality", "SeriesNumber"))
        listing.append(f"{uid} ({kind.strip()}, {len(members)} files)")
    wanted = (options.series or "").split("#")[0]
    if wanted:
        return listing, wanted if wanted in groups else ""
    images = [uid for uid, members in groups.items() if not all(map(is_localizer, members))]
    if len(images) == 1:
        return listing, images[0]
    return listing, next(iter(groups)) if len(groups) == 1 else ""


def is_localizer(file: DicomFile) -> bool:
    """Whether a file says that it is a scout image."""
    kinds = file.header.get("ImageType") or []
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return "LOCALIZER" in [str(kind).upper() for kind in kinds]


@rule("D10", "dicom-index", "CT or MR images")
def _d10(facts: IndexFacts, options: ReadOptions) -> Iterator[Finding]:
    if not facts.refused:
        return
    what = ", ".join(f"{count} x {name}" for name, count in sorted(facts.refused.items())[:5])
    if facts.files:
        yield Finding("D10", "warn", f"ignored: {what}")
    else:
        yield Finding(
            "D10", "reject", f"holds no CT or MR images but {what}; give the image series"
        )


@rule("D11", "dicom-index", "one series, or --series says which; nothing outside the folder")
def _d11(facts: IndexFacts, options: ReadOptions) -> Iterator[Finding]:
    if facts.outside:
        yield Finding("D11", "warn", f"{facts.outside} links out of the folder were not followed")
    if facts.junk and facts.files:
        yield Finding("D11", "ok", f"{facts.junk} files that are no DICOM image were ignored")
    if not facts.files:
        if not facts.refused and not facts.broken:
            yield Finding(
                "D11", "reject", f"holds no DICOM images ({facts.junk} other files); give a scan"
            )
        return
    if not facts.chosen:
        shown = "; ".join(facts.listing[:8]) + (" …" if len(facts.listing) > 8 else "")
        what = f"no series {options.series}" if options.series else "several series"
        yield Finding("D11", "reject", f"{what}; choose one with --series UID: {shown}")
    elif len(facts.listing) > 1 and not options.series:
        yield Finding("D11", "fix", f"{len(facts.listing) - 1} localizer series left out")


@rule("D12", "dicom-index", "every DICOM file can be parsed")
def _d12(facts: IndexFacts, options: ReadOptions) -> Iterator[Finding]:
    if facts.broken:
        name, reason = facts.broken[0]
        yield Finding(
            "D12",
            "reject",
            f"{len(facts.broken)} damaged DICOM files, first {name} ({reason[:120]}); "
            "export the series again",
        )
