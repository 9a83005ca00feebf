"""ReXGroundingCT's format: an entry of its list, and a mask (F, H, W, D), finding first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.reports.grounding import GroundedFinding, Grounding
from textseg3d.text.knowledge import normalise


def rex_entry(grounding: Grounding, name: str) -> tuple[dict[str, Any], NDArray[np.uint16]]:
    """The entry and the mask of one report.

    Every positive finding that the model was asked for is one finding of the entry, with its
    sentence as text; repeated ones (in the impression) are left out. Instances are numbered
    from 1, the largest first.

    Args:
        grounding: with a prediction.
        name: of the case's files, ending in .nii.gz.

    Returns:
        ``{"name", "findings", "entity_counts", "shape", "pixels", "categories"}``, and uint16
        [F, i, j, k] on the axes of the scan's file.
    """
    prediction = grounding.prediction
    listed: dict[str, GroundedFinding] = {}
    for found in grounding.findings:
        if found.prompt is not None:
            listed.setdefault(normalise(found.prompt), found)
    shape = prediction.volume.source.shape if prediction is not None else (0, 0, 0)
    mask = np.zeros((len(listed), *shape), dtype=np.uint16)
    text = grounding.report.text
    entry: dict[str, Any] = {
        "name": name,
        "findings": {},
        "entity_counts": {},
        "shape": [int(n) for n in shape],
        "pixels": {},
        "categories": {},
    }
    for number, found in enumerate(listed.values()):
        key, finding = str(number), found.finding
        if prediction is not None and found.outcome == "grounded":
            mask[number] = _instances(prediction[str(found.prompt)].source_array)
        entry["findings"][key] = " ".join(text[finding.start : finding.end].split())
        entry["entity_counts"][key] = int(mask[number].max(initial=0))
        entry["pixels"][key] = int(np.count_nonzero(mask[number]))
        entry["categories"][key] = finding.category
    return entry, mask


def _instances(mask: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """26-connected components, numbered from the largest."""
    import cc3d

    labels, count = cc3d.connected_components(mask, connectivity=26, return_N=True)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    order = np.zeros(count + 1, dtype=np.uint16)
    order[np.argsort(-sizes, kind="stable") + 1] = np.arange(1, count + 1, dtype=np.uint16)
    return order[labels]
