"""The label map of `--combine`, and the table of `--statistics`."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.inference.measure import voxel_ml
from textseg3d.inference.result import Prediction, PromptResult


def combine(prediction: Prediction) -> tuple[NDArray[np.uint16], dict[str, Any]]:
    """All masks in one label map, a later prompt over an earlier one, and its legend.

    Returns:
        uint16 [D, H, W] in canonical order; and {"labels": {value: prompt}, "overlaps": [{"prompt",
        "covers", "voxels", "volume_ml"}]}, where "covers" is the prompt that lay there before.
    """
    volume = prediction.volume
    labels = np.zeros(volume.shape, dtype=np.uint16)
    results = [r for r in prediction.values() if r.packed is not None]
    overlaps = []
    for value, result in enumerate(results, start=1):
        if result.packed is None or not result.voxels:
            continue
        crop = labels[result.packed.box]
        mask = result.packed.crop()
        before = np.bincount(crop[mask], minlength=len(results) + 1)
        for other in np.flatnonzero(before[1:]) + 1:
            overlaps.append(
                {
                    "prompt": result.text,
                    "covers": results[other - 1].text,
                    "voxels": int(before[other]),
                    "volume_ml": round(int(before[other]) * voxel_ml(volume), 4),
                }
            )
        crop[mask] = value
    legend = {str(value): result.text for value, result in enumerate(results, start=1)}
    return labels, {"labels": legend, "overlaps": overlaps}


def statistics_rows(case: str, prediction: Prediction) -> list[dict[str, Any]]:
    """One row per prompt; numbers that do not apply are None."""
    return [_row(case, result) for result in prediction.values()]


def _row(case: str, result: PromptResult) -> dict[str, Any]:
    largest = result.instances[0] if result.instances else None
    listed = sum(i.volume_ml for i in result.instances)
    mean = sum(i.mean_hu * i.volume_ml for i in result.instances) / listed if listed else None
    centre = largest.centroid_mm_lps if largest else (None, None, None)
    return {
        "case": case,
        "prompt": result.text,
        "status": result.status,
        "presence": None if result.presence is None else round(result.presence, 4),
        "voxels": result.voxels if result.packed is not None else None,
        "volume_ml": round(result.volume_ml, 4) if result.packed is not None else None,
        "mean_hu": None if mean is None else round(mean, 2),
        "instances": len(result.instances),
        "largest_volume_ml": round(largest.volume_ml, 4) if largest else None,
        "largest_axial_diameter_mm": (
            round(largest.longest_axial_diameter_mm, 2) if largest else None
        ),
        **{
            f"largest_centroid_{axis}_mm_lps": None if c is None else round(c, 2)
            for axis, c in zip("xyz", centre)
        },
        "warnings": "; ".join(result.remarks),
    }


def to_csv(rows: list[dict[str, Any]]) -> str:
    """RFC 4180 text with a header line; None is an empty field.

    A text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\r\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _no_formula(value) for key, value in row.items()})
    return stream.getvalue()


def _no_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value
