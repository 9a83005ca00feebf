"""Writes what `textseg3d ground` gives: masks, record, the report as JSON, HTML and ReX files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import textseg3d
from textseg3d.export import OutputNames, save_prediction
from textseg3d.io.atomic import atomic_path
from textseg3d.reports.grounding import Grounding
from textseg3d.reports.page import report_page
from textseg3d.reports.rexgroundingct import rex_entry

if TYPE_CHECKING:
    from numpy.typing import NDArray


def report_files(names: OutputNames, *, html: bool, rexgroundingct: bool) -> list[Path]:
    """The files of a report besides the masks and the record, the JSON last."""
    suffixes = [".report.html"] * html + [".rex.json", ".rex.nii.gz"] * rexgroundingct
    return [names.folder / f"{names.case}{suffix}" for suffix in (*suffixes, ".report.json")]


def write_grounding(
    grounding: Grounding, names: OutputNames, *, html: bool = False, rexgroundingct: bool = False
) -> list[Path]:
    """Write everything; the last path is `<case>.report.json`.

    Raises:
        UsageError: if the folder cannot be written to.
        TextSegError: if the disk is full or fails.
    """
    names.folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    masks: dict[str, str] = {}
    if grounding.prediction is not None:
        paths += save_prediction(grounding.prediction, None, names=names, leave_out_absent=True)
        masks = {r.text: names.mask(r.text) for r in grounding.prediction.values() if r.voxels}
    if html:
        _write(names, ".report.html", report_page(grounding, masks, names.case), paths)
    if rexgroundingct:
        entry, mask = rex_entry(grounding, f"{names.case}.nii.gz")
        _write(names, ".rex.json", _json([entry]), paths)
        path = names.folder / f"{names.case}.rex.nii.gz"
        with atomic_path(path) as temporary:
            _write_nifti(temporary, mask)
        paths.append(path)
    _write(names, ".report.json", _json(grounding_record(grounding, masks)), paths)
    return paths


def grounding_record(grounding: Grounding, masks: dict[str, str]) -> dict[str, Any]:
    """`<case>.report.json` as an object; spans count characters of the report from 0."""
    report = grounding.report
    return {
        "textseg3d": textseg3d.__version__,
        "model": grounding.prediction.model if grounding.prediction is not None else None,
        "report": {
            "sha256": hashlib.sha256(report.text.encode("utf-8")).hexdigest(),
            "characters": len(report.text),
        },
        "sections": [
            {"kind": s.kind, "title": s.title, "span": [s.start, s.end]} for s in report.sections
        ],
        "sentences": [[s.start, s.end] for s in report.sentences],
        "findings": [
            {**found.to_json(), "mask": masks.get(found.prompt or "")}
            for found in grounding.findings
        ],
    }


def _json(data: Any) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def _write(names: OutputNames, suffix: str, text: str, paths: list[Path]) -> None:
    path = names.folder / f"{names.case}{suffix}"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    paths.append(path)


def _write_nifti(path: Path, mask: NDArray[np.uint16]) -> None:
    """A gzipped NIfTI (F, H, W, D); its axes are those of the benchmark, so it has no affine."""
    import gzip

    import nibabel as nib

    image = nib.Nifti1Image(mask, np.eye(4))
    path.write_bytes(gzip.compress(image.to_bytes(), 6, mtime=0))
