"""`<case>.json`: what was asked of which scan by which model, and what came out.

It is written after all other files of a case, so its presence says that the case is complete.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import textseg3d
from textseg3d.inference.result import Prediction, PromptResult
from textseg3d.io import Volume

_BLOCK = 2**20


def build_record(
    prediction: Prediction,
    masks: Mapping[str, str],
    image_sha256: str,
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """The record as an object of plain JSON types.

    Args:
        masks: prompt text → file name of its mask, for prompts that have one.
        image_sha256: see :func:`scan_sha256`.
        seconds: per stage.
    """
    volume = prediction.volume
    path = volume.source.path
    return {
        "textseg3d": textseg3d.__version__,
        "status": "ok",
        "model": {"name": prediction.model, "sha256": prediction.model_sha256},
        "image": {
            "path": None if path is None else path.name or path.resolve().name,
            "sha256": image_sha256,
            "shape": list(volume.shape),
            "spacing_mm": [round(s, 6) for s in volume.spacing_mm],
        },
        "prompts": [prompt_record(r, masks.get(r.text)) for r in prediction.values()],
        "windows": {
            "run": prediction.windows_run,
            "total": prediction.windows_total,
            **({"list": list(prediction.windows)} if prediction.windows else {}),
        },
        **({"stages": [s.to_json() for s in prediction.stages]} if prediction.stages else {}),
        **({"memory": dict(prediction.memory)} if prediction.memory else {}),
        "exact": prediction.exact,
        **({"computed": dict(prediction.computed)} if prediction.computed else {}),
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
        "peak_rss_mb": peak_rss_mb(),
        "warnings": list(prediction.warnings),
    }


def prompt_record(result: PromptResult, mask: str | None) -> dict[str, Any]:
    """The record's entry of one prompt."""
    return {
        "text": result.text,
        "status": result.status,
        "mask": mask,
        "presence": None if result.presence is None else round(result.presence, 4),
        "volume_ml": round(result.volume_ml, 4),
        "voxels": result.voxels,
        "codes": [dict(code) for code in result.codes],
        "instances": [instance.to_json() for instance in result.instances],
        "composed": [dict(step) for step in result.composed],
        **({"findings": [dict(f) for f in result.findings]} if result.findings else {}),
        "warnings": list(result.remarks),
    }


def write_json(path: Path, data: Any) -> None:
    """Write JSON to a path that nobody reads yet (a staging folder)."""
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_record(path: Path) -> dict[str, Any] | None:
    """The record at ``path``, or None if there is none that can be read."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) and "textseg3d" in data else None


def scan_sha256(volume: Volume) -> str:
    """sha256 of the scan's file; of a folder, over names and hashes of its files; of an array."""
    path = volume.source.path
    if path is None or not path.exists():
        digest = hashlib.sha256(str((volume.array.dtype.str, volume.array.shape)).encode())
        digest.update(np.ascontiguousarray(volume.array).data)
        return digest.hexdigest()
    return path_sha256(path)


def path_sha256(path: Path) -> str:
    """See :func:`scan_sha256`."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(f"{file.relative_to(path).as_posix()}\0{path_sha256(file)}\n".encode())
        return digest.hexdigest()
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def peak_rss_mb() -> float | None:
    """Largest resident memory of this process so far in MiB; None where the system is silent."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
