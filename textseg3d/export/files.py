"""Writes all files of one case: into a hidden folder first, then each by a rename, record last."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from textseg3d.errors import STORAGE_ERRORS, TextSegError, UsageError
from textseg3d.export.naming import OutputNames, output_names
from textseg3d.export.record import build_record, scan_sha256, write_json
from textseg3d.export.tables import combine, statistics_rows, to_csv
from textseg3d.inference.parallel import in_order, workers
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
        thumbnail: a small PNG, for a page about many scans.
        sr: a DICOM structured report with the measurements, beside "dicom-seg" only.
    """

    format: str | None = None
    combine: bool = False
    probabilities: bool = False
    preview: bool = False
    statistics: Literal["csv", "json"] | None = None
    leave_out_absent: bool = False
    thumbnail: bool = False
    sr: bool = False

    def file_names(self, names: OutputNames, prompts: list[str]) -> list[str]:
        """Every file that may be written for these prompts, the record last.

        Raises:
            UsageError: if a report was asked for without a DICOM segmentation to refer to.
        """
        if self.sr and not (names.joint or "").lower().endswith(".dcm"):
            raise UsageError("--sr refers to a DICOM segmentation; add --format dicom-seg")
        files = list(dict.fromkeys(names.mask(text) for text in prompts))
        files += [names.probability(text) for text in prompts] if self.probabilities else []
        files += [names.labels, names.legend] if self.combine else []
        files += [names.preview] if self.preview else []
        files += [names.thumbnail] if self.thumbnail else []
        files += [names.statistics(self.statistics)] if self.statistics else []
        files += [names.report] if self.sr else []
        return [*files, names.record]


def save_prediction(
    prediction: Prediction,
    output: str | Path | None,
    *,
    names: OutputNames | None = None,
    staging_prefix: str = STAGING_PREFIX,
    commit: Mapping[str, Any] | None = None,
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
        staging_prefix: of the hidden folder where files wait until all are complete.
        commit: more keys for the record; ``image`` is merged into the record's own.
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
    with staging_folder(names.folder, staging_prefix) as staging:
        written = _write_all(staging, prediction, names, chosen, commit or {})
        (names.folder / names.record).unlink(missing_ok=True)  # no record while files change
        for name in written:
            os.replace(staging / name, names.folder / name)
    return [names.folder / name for name in written]


@contextmanager
def staging_folder(folder: Path, prefix: str = STAGING_PREFIX) -> Iterator[Path]:
    """A hidden folder inside ``folder`` (made if needed), gone when the block ends.

    Raises:
        UsageError: if nothing can be written there.
        TextSegError: if the disk is full or fails in the block.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
    except OSError as error:
        if error.errno in STORAGE_ERRORS:
            raise TextSegError(f"writing into {folder} failed: {error.strerror}") from error
        raise UsageError(f"cannot write into {folder}: {error.strerror}") from None
    try:
        yield staging
    except OSError as error:
        raise TextSegError(f"writing into {folder} failed: {error.strerror}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


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
    staging: Path,
    prediction: Prediction,
    names: OutputNames,
    options: ExportOptions,
    commit: Mapping[str, Any],
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
    if names.joint is None:

        def write(result: PromptResult) -> None:
            write_volume_like(staging / masks[result.text], result.array, volume, dtype=np.uint8)
            len(result.instances)  # measured here, on all cores

        list(in_order(write, shown, workers()))
    for result in shown:
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
    if options.thumbnail:
        from textseg3d.export.thumbnail import write_thumbnail

        write_thumbnail(staging / names.thumbnail, prediction)
        others.append(names.thumbnail)
    if options.statistics:
        rows = statistics_rows(names.case, prediction)
        others.append(names.statistics(options.statistics))
        if options.statistics == "json":
            write_json(staging / others[-1], rows)
        else:
            (staging / others[-1]).write_text(to_csv(rows), encoding="utf-8", newline="")
    if options.sr and names.joint is not None:
        from textseg3d.export.dicom_sr import write_dicom_sr

        write_dicom_sr(staging / names.report, prediction, shown, staging / names.joint)
        others.append(names.report)
    digest = commit.get("image", {}).get("sha256") or scan_sha256(volume)
    seconds = {**prediction.seconds, "write": time.perf_counter() - start}
    record = build_record(prediction, masks, digest, seconds)
    if names.joint is not None:
        segments = {text: number for number, text in enumerate(masks, 1)}
        for entry in record["prompts"]:
            entry["segment"] = segments.get(entry["text"])
    written = [*dict.fromkeys(masks.values()), *others]
    image = {**record["image"], **commit.get("image", {})}
    record |= {"files": written, **commit, "image": image}
    write_json(staging / names.record, record)
    return [*written, names.record]


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
