"""Writes all files of one case: into a hidden folder first, then each by a rename, record last."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from textseg3d.errors import TextSegError, UsageError
from textseg3d.export.naming import OutputNames, output_names
from textseg3d.export.record import build_record, scan_sha256, write_json
from textseg3d.export.tables import combine, statistics_rows, to_csv
from textseg3d.inference.result import Prediction, PromptResult
from textseg3d.io import write_volume_like

STAGING_PREFIX = ".textseg3d-"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportOptions:
    """What to write besides one mask per prompt and the record.

    Attributes:
        format: of masks, "nifti", "nrrd", "seg.nrrd" or "dicom-seg" (the last two hold all masks
            in one file, the last for DICOM series); None follows the output's name, else NIfTI.
        combine: one label map of all masks, with a legend.
        probabilities: one float32 volume per prompt (needs ``keep_logits``).
        preview: a PNG.
        statistics: a table, "csv" or "json".
        leave_out_absent: write no mask of prompts whose mask is empty.
    """

    format: str | None = None
    combine: bool = False
    probabilities: bool = False
    preview: bool = False
    statistics: Literal["csv", "json"] | None = None
    leave_out_absent: bool = False

    def file_names(self, names: OutputNames, prompts: list[str]) -> list[str]:
        """Every file that may be written for these prompts, the record last."""
        files = list(dict.fromkeys(names.mask(text) for text in prompts))
        files += [names.probability(text) for text in prompts] if self.probabilities else []
        files += [names.labels, names.legend] if self.combine else []
        files += [names.preview] if self.preview else []
        files += [names.statistics(self.statistics)] if self.statistics else []
        return [*files, names.record]


def save_prediction(
    prediction: Prediction,
    output: str | Path | None,
    *,
    names: OutputNames | None = None,
    **options: object,
) -> list[Path]:
    """Write the files of a prediction.

    Files of the same name are replaced, the scan itself never. Nothing appears before all of
    them are complete; the record comes last.

    Args:
        prediction: what to write.
        output: a folder; a file ending in .nii.gz, .nii or .nrrd (one prompt); a file ending in
            .seg.nrrd or .dcm; or None for the scan's own folder.
        names: used instead of those that ``output`` gives.
        options: fields of :class:`ExportOptions`.

    Returns:
        The paths, the record last.

    Raises:
        UsageError: if the output cannot be written there, or would replace the scan.
        TextSegError: if the disk is full or fails.
    """
    chosen = ExportOptions(**options)  # type: ignore[arg-type]
    source = prediction.volume.source.path
    if names is None:
        names = output_names(output, source, len(prediction), chosen.format)
    refuse_scan(names, chosen.file_names(names, list(prediction)), source)
    try:
        names.folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=names.folder))
    except OSError as error:
        raise UsageError(f"cannot write into {names.folder}: {error.strerror}") from None
    try:
        written = _write_all(staging, prediction, names, chosen)
        (names.folder / names.record).unlink(missing_ok=True)  # no record while files change
        for name in written:
            os.replace(staging / name, names.folder / name)
    except OSError as error:
        raise TextSegError(f"writing into {names.folder} failed: {error.strerror}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return [names.folder / name for name in written]


def refuse_scan(names: OutputNames, files: list[str], source: Path | None) -> None:
    """Raise if one of the files is the scan itself.

    Raises:
        UsageError: naming the file.
    """
    if source is None or not source.exists():
        return
    for name in files:
        target = names.folder / name
        if target.exists() and os.path.samefile(target, source):
            raise UsageError(f"the output {target} is the scan itself; name another output")


def _write_all(
    staging: Path, prediction: Prediction, names: OutputNames, options: ExportOptions
) -> list[str]:
    """Write everything into the staging folder; return the names, the record last."""
    start = time.perf_counter()
    volume = prediction.volume
    shown = [r for r in prediction.values() if r.packed is not None]
    if options.leave_out_absent or (names.joint or "").lower().endswith(".dcm"):
        shown = [r for r in shown if r.voxels]  # a DICOM segment without a frame helps nobody
    masks = {result.text: names.mask(result.text) for result in shown}
    others: list[str] = []
    if names.joint is not None:
        _write_joint(staging / names.joint, prediction, shown)
    for result in shown:
        if names.joint is None:
            write_volume_like(staging / masks[result.text], result.array, volume, dtype=np.uint8)
        if options.probabilities:
            others.append(names.probability(result.text))
            write_volume_like(staging / others[-1], result.probability(), volume)
    if options.combine:
        labels, legend = combine(prediction)
        dtype = np.uint8 if len(legend["labels"]) < 256 else np.uint16
        write_volume_like(staging / names.labels, labels, volume, dtype=dtype)
        write_json(staging / names.legend, {"file": names.labels, **legend})
        others += [names.labels, names.legend]
    if options.preview:
        from textseg3d.export.preview import write_preview

        write_preview(staging / names.preview, prediction)
        others.append(names.preview)
    if options.statistics:
        rows = statistics_rows(names.case, prediction)
        others.append(names.statistics(options.statistics))
        if options.statistics == "json":
            write_json(staging / others[-1], rows)
        else:
            (staging / others[-1]).write_text(to_csv(rows), encoding="utf-8", newline="")
    digest = scan_sha256(volume)
    seconds = {**prediction.seconds, "write": time.perf_counter() - start}
    record = build_record(prediction, masks, digest, seconds)
    if names.joint is not None:
        segments = {text: number for number, text in enumerate(masks, 1)}
        for entry in record["prompts"]:
            entry["segment"] = segments.get(entry["text"])
    write_json(staging / names.record, record)
    return [*dict.fromkeys(masks.values()), *others, names.record]


def _write_joint(path: Path, prediction: Prediction, results: list[PromptResult]) -> None:
    """Write the one file of all masks; none if there is no mask."""
    if path.name.lower().endswith(".dcm"):
        from textseg3d.export.dicom_seg import source_of, write_dicom_seg

        source_of(prediction.volume)
        if results:
            write_dicom_seg(path, prediction, results)
        else:
            log.warning("no prompt was found in the scan, so there is no DICOM segmentation")
    elif results:
        from textseg3d.export.seg_nrrd import write_seg_nrrd

        write_seg_nrrd(path, prediction.volume, results)
