"""Measurements as a DICOM structured report (TID 1500) that refers to the segmentation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import textseg3d
from textseg3d.export.coding import MAX_TEXT, segment_coding
from textseg3d.export.dicom_seg import coded, highdicom, series_images, source_of

if TYPE_CHECKING:
    from textseg3d.inference.result import Prediction, PromptResult

SERIES_NUMBER = 7002


def write_dicom_sr(
    path: Path, prediction: Prediction, segments: Sequence[PromptResult], segmentation: Path
) -> None:
    """Write one report: a group per prompt, of its segment where there is one.

    A prompt that was looked for and not found has a group without a segment that says "absent";
    negated prompts and those that the model does not know have none.

    Args:
        path: of the file, in a folder that nobody reads yet.
        prediction: all results.
        segments: those that the segmentation has, in the order of its segments.
        segmentation: file of :func:`textseg3d.export.dicom_seg.write_dicom_seg`; need not exist
            if there are no segments.

    Raises:
        UsageError: if the scan is no DICOM series.
        MissingDependencyError: without highdicom.
    """
    hd = highdicom("--sr")
    from pydicom.sr.codedict import codes

    source = source_of(prediction.volume)
    images = series_images(source)
    found = {result.text: number for number, result in enumerate(segments, 1)}
    written = hd.seg.segread(segmentation) if segments else None
    is_ct = source.modality == "CT"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about values of the source that are copied as they are
        groups = [
            _group(hd, codes, result, prediction, written, found.get(result.text), is_ct)
            for result in prediction.values()
            if result.packed is not None
        ]
        procedure = codes.LN.CTUnspecifiedBodyRegion if is_ct else codes.LN.MRIUnspecifiedBodyRegion
        report = hd.sr.MeasurementReport(
            observation_context=_observer(hd, codes, prediction),
            procedure_reported=procedure,
            imaging_measurements=groups or None,
            title=codes.DCM.ImagingMeasurementReport,
            referenced_images=images,
        )
        dataset = hd.sr.Comprehensive3DSR(
            evidence=[*images, *([written] if written is not None else [])],
            content=report,
            series_instance_uid=hd.UID(),
            series_number=SERIES_NUMBER,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="textseg3d",
            is_complete=True,
            series_description="textseg3d measurements (research use only)",
            specific_character_set="ISO_IR 192",
        )
        dataset.ManufacturerModelName = prediction.model[:MAX_TEXT]
        dataset.SoftwareVersions = textseg3d.__version__
        dataset.DeviceSerialNumber = prediction.model_sha256[:16]
        dataset.save_as(path)


def _observer(hd: Any, codes: Any, prediction: Prediction) -> Any:
    """Nobody but the program has looked."""
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=hd.UID(),
        name="textseg3d",
        manufacturer_name="textseg3d",
        model_name=prediction.model[:MAX_TEXT],
        serial_number=prediction.model_sha256[:16],
    )
    context = hd.sr.ObserverContext(codes.DCM.Device, device)
    return hd.sr.ObservationContext(observer_device_context=context)


def _group(
    hd: Any,
    codes: Any,
    result: PromptResult,
    prediction: Prediction,
    segmentation: Any,
    number: int | None,
    is_ct: bool,
) -> Any:
    """What was measured for one prompt (TID 1411, or 1501 without a segment)."""
    coding = segment_coding(result.text)
    algorithm = hd.sr.AlgorithmIdentification(
        name=f"textseg3d {prediction.model}"[:MAX_TEXT],
        version=f"{textseg3d.__version__} {prediction.model_sha256[:12]}",
        parameters=[f"prompt: {result.text[:900]}"],
        family=codes.cid7162.ArtificialIntelligence,
    )
    sites = None
    if coding.region is not None or coding.side is not None:
        sites = [
            hd.sr.FindingSite(
                coded(hd, coding.region or coding.type),
                laterality=coded(hd, coding.side) if coding.side else None,
            )
        ]
    shared = {
        "finding_type": coded(hd, coding.type),
        "finding_category": coded(hd, coding.category),
        "algorithm_id": algorithm,
        "finding_sites": sites,
    }
    measurements = _measurements(hd, codes, result, is_ct)
    label = " ".join(result.text.split())
    if number is None:
        return hd.sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=hd.sr.TrackingIdentifier(hd.UID(), label[:MAX_TEXT]),
            measurements=measurements,
            qualitative_evaluations=[
                hd.sr.QualitativeEvaluation(codes.DCM.PresenceOfProperty, codes.DCM.Absent)
            ],
            **shared,
        )
    segment = segmentation.SegmentSequence[number - 1]
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(segment.TrackingUID, segment.TrackingID),
        referenced_segment=hd.sr.ReferencedSegment.from_segmentation(segmentation, number),
        measurements=measurements,
        **shared,
    )


def _measurements(hd: Any, codes: Any, result: PromptResult, is_ct: bool) -> list[Any]:
    """Volume, size of the largest instance, mean density, and how sure the model is."""
    from pydicom.sr.coding import Code

    instances = result.instances
    listed = sum(i.volume_ml for i in instances)
    values: list[tuple[Any, float, Any, Any]] = []
    if result.voxels:
        millilitre = Code("mL", "UCUM", "milliliter")
        values.append((codes.SCT.Volume, round(result.volume_ml, 4), millilitre, None))
    if instances:
        diameter = round(instances[0].longest_axial_diameter_mm, 2)
        values.append((codes.SCT.LongAxis, diameter, codes.UCUM.Millimeter, None))
    if listed and is_ct:
        mean = sum(i.mean_hu * i.volume_ml for i in instances) / listed
        name, unit = codes.DCM.AttenuationCoefficient, codes.UCUM.HounsfieldUnit
        values.append((name, round(mean, 2), unit, codes.SCT.Mean))
    if result.presence is not None:
        certainty = round(100 * result.presence, 2)
        values.append((codes.DCM.CertaintyOfFinding, certainty, codes.UCUM.Percent, None))
    return [
        hd.sr.Measurement(name, value, unit, derivation=derivation)
        for name, value, unit, derivation in values
    ]
