"""Findings of a report to masks in a scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from textseg3d.inference.compose import in_range, tolerance_mm

if TYPE_CHECKING:
    from textseg3d.inference.progress import OnProgress
    from textseg3d.inference.result import Prediction, PromptResult
    from textseg3d.inference.scans import Scan
    from textseg3d.inference.segmenter import Segmenter
    from textseg3d.io import Volume
    from textseg3d.reports.read import Report, ReportFinding

Outcome = Literal["grounded", "empty", "unknown", "negated", "uncertain", "historical"]


@dataclass(frozen=True)
class GroundedFinding:
    """A finding with what the scan says about it.

    Attributes:
        finding: of the report.
        outcome: "grounded" (a mask), "empty" (looked for and not found), "unknown" (to the
            model); or the finding's own status, and nothing was looked for.
        prompt: that was asked, None if none was.
        slice_index: of the mask's largest axial slice, from 0 along the file's own axis.
        slice_axis: that axis of the file, "i", "j" or "k".
        size_agrees: whether an instance has the size that the report gives; None without one.
        warnings: one line each.
    """

    finding: ReportFinding
    outcome: Outcome
    prompt: str | None = None
    slice_index: int | None = None
    slice_axis: str | None = None
    size_agrees: bool | None = None
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The JSON object, without the name of the mask's file."""
        return {
            **self.finding.to_json(),
            "outcome": self.outcome,
            "asked": self.prompt,
            "slice": self.slice_index,
            "slice_axis": self.slice_axis,
            "size_agrees": self.size_agrees,
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class Grounding:
    """A report and what was found of it.

    Attributes:
        report: as read.
        findings: all of them, in the report's order.
        prediction: the masks, by prompt; None if the model knows nothing that was asked.
    """

    report: Report
    findings: tuple[GroundedFinding, ...]
    prediction: Prediction | None

    @property
    def grounded(self) -> tuple[GroundedFinding, ...]:
        """The findings that have a mask."""
        return tuple(found for found in self.findings if found.outcome == "grounded")


def ground_report(
    report: Report,
    segmenter: Segmenter,
    scan: Scan,
    *,
    uncertain: bool = False,
    on_progress: OnProgress | None = None,
    exact: bool = False,
    **read_options: Any,
) -> Grounding:
    """Look up the positive findings of a report in a scan; nothing else is looked for.

    A finding whose size the report gives is asked with it first; where nothing has that size,
    everything of its kind in that place is the answer, with a warning.

    Args:
        report: see :func:`textseg3d.reports.read_report`.
        segmenter: a model.
        scan: as in :meth:`Segmenter.predict`.
        uncertain: look up what the report says with doubt as well.
        on_progress: as in :meth:`Segmenter.predict`.
        exact: as in :meth:`Segmenter.predict`.
        read_options: of :func:`textseg3d.io.read_volume`.

    Raises:
        InputError: if the scan cannot be used.
        Cancelled: if ``on_progress`` returned False.
    """
    from textseg3d.inference.prompts import Vocabulary

    vocabulary = Vocabulary.of(segmenter.card)
    wanted = ("positive", "uncertain") if uncertain else ("positive",)
    asked = [f for f in report.findings if f.status in wanted]
    prompts: dict[str, None] = {}
    for finding in asked:
        for prompt in _prompts(finding):
            if vocabulary.understand(prompt).status == "ok":
                prompts[prompt] = None
    prediction = None
    if prompts:
        prediction = segmenter.predict(
            scan, list(prompts), on_progress=on_progress, exact=exact, **read_options
        )
    found = [
        _look_up(finding, prediction, vocabulary.understand(finding.prompt).warnings)
        if finding in asked
        else GroundedFinding(finding, finding.status)  # type: ignore[arg-type]
        for finding in report.findings
    ]
    if prediction is not None:
        used = dict.fromkeys(f.prompt for f in found if f.prompt is not None)
        prediction = replace(prediction, results={text: prediction[text] for text in used})
    return Grounding(report, tuple(found), prediction)


def _prompts(finding: ReportFinding) -> Sequence[str]:
    sized = finding.sized_prompt
    return (finding.prompt,) if sized is None else (sized, finding.prompt)


def _look_up(
    finding: ReportFinding, prediction: Prediction | None, hints: Sequence[str]
) -> GroundedFinding:
    """The outcome of a finding that was asked."""
    known = [p for p in _prompts(finding) if prediction is not None and p in prediction.results]
    if prediction is None or not known:
        return GroundedFinding(finding, "unknown", warnings=tuple(hints))
    results = [prediction[prompt] for prompt in known]
    result = next((r for r in results if r.voxels), results[-1])
    warnings = list(result.remarks)
    agrees = _size_agrees(finding, result)
    if agrees is False and result.instances:
        measured = result.instances[0].longest_axial_diameter_mm
        warnings.append(
            f"the report gives {_range(finding.size_mm)}; the largest instance found measures "
            f"{measured:.1f} mm"
        )
    if not result.voxels:
        return GroundedFinding(finding, "empty", result.text, warnings=tuple(warnings))
    index, axis = slice_of(result, prediction.volume)
    return GroundedFinding(finding, "grounded", result.text, index, axis, agrees, tuple(warnings))


def _size_agrees(finding: ReportFinding, result: PromptResult) -> bool | None:
    if finding.size_mm is None:
        return None
    slack = tolerance_mm(finding.size_mm)
    sizes = [instance.longest_axial_diameter_mm for instance in result.instances]
    return any(in_range(size, finding.size_mm, slack) for size in sizes)


def _range(size: tuple[float | None, float | None] | None) -> str:
    low, high = size or (None, None)
    if low == high:
        return f"{low:g} mm"
    return f"up to {high:g} mm" if low is None else f"at least {low:g} mm"


def slice_of(result: PromptResult, volume: Volume) -> tuple[int, str]:
    """The file's index, and axis, of the axial slice in which a mask is largest."""
    if result.packed is None or not result.voxels:
        raise ValueError("an empty mask has no slice")
    areas = result.packed.crop().sum(axis=(1, 2))
    z = result.packed.box[0].start + int(np.argmax(areas))
    axis, flipped = volume.source.permutation[2], volume.source.flips[2]
    return (volume.shape[0] - 1 - z if flipped else z), "ijk"[axis]
