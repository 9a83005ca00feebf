"""Masks as a DICOM segmentation of the series that was read: BINARY, coded, one per scan."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import textseg3d
from textseg3d.errors import MemoryBudgetError, MissingDependencyError, UsageError
from textseg3d.export.coding import MAX_TEXT, SegmentCoding, segment_coding
from textseg3d.export.colours import rgb
from textseg3d.io.dicom import DicomSource
from textseg3d.io.writer import source_view

if TYPE_CHECKING:
    from textseg3d.inference.result import Prediction, PromptResult
    from textseg3d.io import Volume
    from textseg3d.text.knowledge import Code

MAX_BYTES = 4 << 30
SERIES_NUMBER = 7001


def source_of(volume: Volume) -> DicomSource:
    """The DICOM files of a volume, for an object that refers to them.

    Raises:
        UsageError: if it was not read from them, slice by slice.
    """
    source = volume.source
    if source.format != "dicom":
        raise UsageError(
            f"--format dicom-seg needs a DICOM series, {source.path or 'the scan'} is "
            f"{source.format}; use --format seg.nrrd or nifti"
        )
    if not isinstance(source.header, DicomSource):
        raise UsageError(
            f"--format dicom-seg needs the files of the series, {source.path} was resampled or "
            "unpacked from an archive; give the unpacked folder, or use --format seg.nrrd"
        )
    if any(frame is None for frame in source.header.frames):
        raise UsageError(
            f"--format dicom-seg needs every slice, some of {source.path} were interpolated; "
            "use --format seg.nrrd or nifti"
        )
    return source.header


def write_dicom_seg(path: Path, prediction: Prediction, results: Sequence[PromptResult]) -> None:
    """Write one BINARY segmentation with a segment per result, overlaps kept.

    Args:
        path: of the file, in a folder that nobody reads yet.
        prediction: what the results belong to.
        results: with masks that are not empty, at least one.

    Raises:
        UsageError: if the scan is no DICOM series.
        MissingDependencyError: without highdicom.
        MemoryBudgetError: if the masks together are larger than 4 GiB unpacked.
    """
    hd = highdicom("--format dicom-seg")
    volume = prediction.volume
    source = source_of(volume)
    frames, first = _masks(results, volume)
    affine = _slice_first(volume.source.affine_lps)
    affine[:3, 3] += affine[:3, 0] * first
    images = series_images(source)
    content = hd.Volume(
        frames,
        affine,
        coordinate_system="PATIENT",
        frame_of_reference_uid=images[0].FrameOfReferenceUID,
        channels={"SegmentNumber": list(range(1, len(results) + 1))},
    )
    descriptions = [
        _description(hd, number, result, prediction) for number, result in enumerate(results, 1)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about values of the source that are copied as they are
        segmentation = hd.seg.Segmentation(
            source_images=images,
            pixel_array=content,
            segmentation_type="BINARY",
            segment_descriptions=descriptions,
            series_instance_uid=hd.UID(),
            series_number=SERIES_NUMBER,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="textseg3d",
            manufacturer_model_name=prediction.model[:MAX_TEXT],
            software_versions=textseg3d.__version__,
            device_serial_number=prediction.model_sha256[:16],
            content_label="TEXTSEG3D",
            content_description="Automatic segmentation, research use only",
            series_description="textseg3d segmentation (research use only)",
            omit_empty_frames=True,
            specific_character_set="ISO_IR 192",
        )
        segmentation.save_as(path)


def highdicom(option: str) -> Any:
    """The package that writes DICOM objects.

    Raises:
        MissingDependencyError: naming the option that needs it.
    """
    try:
        import highdicom as package
    except ImportError:
        raise MissingDependencyError(
            f"{option} needs highdicom; install textseg3d[dicom]"
        ) from None
    return package


def _masks(results: Sequence[PromptResult], volume: Volume) -> tuple[NDArray[np.uint8], int]:
    """uint8 [k, row, column, segment] of the slices that any mask reaches, and the first k."""
    reached = np.zeros(volume.source.shape[2], dtype=bool)
    for result in results:
        reached |= source_view(result.array, volume).any(axis=(1, 2))
    first, last = int(reached.argmax()), len(reached) - int(reached[::-1].argmax())
    columns, rows, _ = volume.source.shape
    shape = (last - first, rows, columns, len(results))
    size = int(np.prod(shape, dtype=np.int64))
    if size > MAX_BYTES:
        raise MemoryBudgetError(
            f"{len(results)} masks take {size / 2**30:.1f} GiB as one DICOM segmentation, at "
            f"most {MAX_BYTES >> 30} are allowed; ask for fewer prompts at once"
        )
    frames = np.zeros(shape, dtype=np.uint8)
    for number, result in enumerate(results):
        frames[..., number] = source_view(result.array, volume)[first:last]
    return frames, first


def _slice_first(affine_lps: NDArray[np.float64]) -> NDArray[np.float64]:
    """An affine of (column, row, slice) as one of (slice, row, column)."""
    return np.ascontiguousarray(affine_lps[:, [2, 1, 0, 3]])


def series_images(source: DicomSource) -> list[Any]:
    """The data sets of the series without pixels, in slice order, each once."""
    import pydicom

    paths = dict.fromkeys(frame[0] for frame in source.frames if frame is not None)
    images = []
    for path in paths:
        image = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        for keyword in ("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "PatientID"):
            if keyword not in image:  # empty is allowed there, absent is not
                setattr(image, keyword, "")
        images.append(image)
    return images


def _description(hd: Any, number: int, result: PromptResult, prediction: Prediction) -> Any:
    from pydicom.sr.codedict import codes

    coding = segment_coding(result.text)
    label = " ".join(result.text.split())
    algorithm = hd.AlgorithmIdentificationSequence(
        name=f"textseg3d {prediction.model}"[:MAX_TEXT],
        family=codes.cid7162.ArtificialIntelligence,
        version=f"{textseg3d.__version__} {prediction.model_sha256[:12]}",
        source="textseg3d",
    )
    red, green, blue = rgb(number - 1)
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label[:MAX_TEXT],
        segmented_property_category=coded(hd, coding.category),
        segmented_property_type=coded(hd, coding.type),
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        tracking_uid=hd.UID(),
        tracking_id=f"textseg3d {number} {label}"[:MAX_TEXT],
        anatomic_regions=[coded(hd, coding.region)] if coding.region else None,
        display_color=hd.color.CIELabColor.from_rgb(red, green, blue),
    )
    description.SegmentDescription = describe(result, coding)
    if coding.side is not None:
        kind = description.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [coded(hd, coding.side)]
    return description


def describe(result: PromptResult, coding: SegmentCoding) -> str:
    """What SegmentDescription says: the prompt as typed, and whether its code is published."""
    note = "" if coding.coded else "; no published code, the meaning is in words"
    return f"prompt: {result.text[:900]}{note}"


def coded(hd: Any, code: Code) -> Any:
    """A code as highdicom takes it."""
    return hd.sr.CodedConcept(code.value, code.scheme, code.meaning)
