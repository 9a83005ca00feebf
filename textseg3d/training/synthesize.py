"""Labelled volumes on disk, made from a prepared training set as its samples are."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import textseg3d
from textseg3d.errors import Cancelled, TextSegError, UsageError
from textseg3d.io import volume_from_array, write_volume_like
from textseg3d.plans.schema import Configuration
from textseg3d.synthesis.findings import FINDINGS
from textseg3d.synthesis.lesions import Lesion, Place, find_places, measure_lesions
from textseg3d.synthesis.sentences import make_sentences
from textseg3d.text.knowledge import load_tree
from textseg3d.training.cases import INDEX, Modality, TrainingSet
from textseg3d.training.sampling import ScanLike, WindowDataset

FINDING_PROBABILITY = 0.75  # of each kind that a case may show; training draws fewer
RECORD = "info.json"
OnProgress = Callable[[str, int, int], "bool | None"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What to make.

    Attributes:
        training: folder with ``training.json``.
        out: folder of the cases.
        cases: how many.
        seed: of everything random; case ``i`` depends on (seed, i) alone.
        findings: whether nodules, lesions and cysts are drawn; never in MR.
        overwrite: replace cases that were made otherwise.
        modality: "CT", "MR" (atlases alone), or None for the training set's own.
    """

    training: Path
    out: Path
    cases: int = 10
    seed: int = 0
    findings: bool = True
    overwrite: bool = False
    modality: Modality | None = None


def synthesize(request: Request, on_progress: OnProgress | None = None) -> list[Path]:
    """Make the cases that are not there yet; each appears whole or not at all.

    Args:
        request: what to make.
        on_progress: called with (stage, done, total) before and after each case; returning
            False cancels.

    Returns:
        The folders that were written.

    Raises:
        InputError: if the training set is missing or damaged.
        UsageError: if a case is there that was made otherwise, or the folder cannot be made.
        Cancelled: by ``on_progress``.
        TextSegError: if the disk is full or fails.
    """
    training_set = _training_set(request)
    source = WindowDataset(
        request.training,
        training_set,
        Configuration(spacing=training_set.spacing_mm, patch_size=(32, 32, 32)),  # no window is cut
        request.seed,
    )
    digest = hashlib.sha256((request.training / INDEX).read_bytes()).hexdigest()
    folders = [request.out / f"case_{i:04d}" for i in range(request.cases)]
    made = [_made(request, i, digest, training_set.modality) for i in range(request.cases)]
    missing = [i for i in range(request.cases) if _is_missing(folders[i], made[i], request)]
    if len(missing) < request.cases:
        logger.info("%d of %d cases are there already", request.cases - len(missing), request.cases)
    written = []
    _step(on_progress, 0, len(missing))
    for done, i in enumerate(missing, 1):
        rng = source.generator(i)
        case = source.choose_case(rng)
        scan = source.scan(rng, case, FINDING_PROBABILITY if request.findings else 0.0)
        _write_case(folders[i], scan, training_set, case.name, made[i])
        written.append(folders[i])
        _step(on_progress, done, len(missing))
    return written


def _training_set(request: Request) -> TrainingSet:
    """The set, in the modality that is wanted.

    Raises:
        UsageError: for CT of a set that is prepared for MR.
    """
    training_set = TrainingSet.load(request.training)
    if request.modality == "MR":
        return training_set.as_mr()
    if request.modality not in (None, training_set.modality):
        raise UsageError(
            f"{request.training} is prepared for MR, got --modality {request.modality}; leave it "
            "out, or prepare a set of CT"
        )
    return training_set


def _step(on_progress: OnProgress | None, done: int, total: int) -> None:
    if on_progress is not None and on_progress("synthesize", done, total) is False:
        raise Cancelled(f"cancelled at synthesize {done}/{total}")


def _made(request: Request, index: int, digest: str, modality: Modality) -> dict[str, Any]:
    """What a case depends on."""
    return {
        "index": index,
        "seed": request.seed,
        "findings": request.findings,
        "training_set": digest,
        "modality": modality,
    }


def _is_missing(folder: Path, made: Mapping[str, Any], request: Request) -> bool:
    """Whether a case must be made.

    Raises:
        UsageError: if another one is in its place and must not be replaced.
    """
    if not folder.exists() or request.overwrite:
        return True
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8")).get("made")
    except (OSError, ValueError, AttributeError):
        found = None
    before = {"modality": "CT", **(found if isinstance(found, dict) else {})}
    if before == made:
        return False
    key = next(key for key in made if before.get(key) != made[key])
    raise UsageError(
        f"{folder} is there and was made with another {key.replace('_', ' ')} "
        f"({before.get(key)!r} instead of {made[key]!r}); use --overwrite or another -o"
    )


def _write_case(
    folder: Path,
    scan: ScanLike,
    training_set: TrainingSet,
    source: str,
    made: dict[str, Any],
) -> None:
    """Fill a folder beside the final one, then rename it."""
    staging = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        _fill(staging, folder.name, scan, training_set, source, made)
        if folder.exists():  # with --overwrite
            shutil.rmtree(folder)
        staging.rename(folder)
    except PermissionError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror}") from error
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"cannot write {folder}: {folder.parent} is no folder") from error
    except OSError as error:
        raise TextSegError(f"writing {folder} failed: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _fill(
    folder: Path,
    name: str,
    scan: ScanLike,
    training_set: TrainingSet,
    source: str,
    made: dict[str, Any],
) -> None:
    spacing_mm, modality = training_set.spacing_mm, training_set.modality
    values = scan.image.round().clamp(-32768, 32767).numpy().astype(np.int16)
    targets = {target: sorted(set(ids)) for target, ids in scan.targets.items()}
    used = sorted({i for ids in targets.values() for i in ids})
    labels = scan.labels.numpy()
    labels = np.where(np.isin(labels, used), labels, 0).astype(np.uint8)
    counts = np.bincount(labels.ravel(), minlength=256)
    there = [target for target, ids in targets.items() if counts[ids].any()]
    info = {
        "case": name,
        "modality": modality,
        "labels": {str(i): n for i, n in _label_names(targets, counts).items()},
        "targets": {target: [i for i in targets[target] if counts[i]] for target in there},
        "absent": [target for target in targets if target not in there],
        "labels_by": f"made by textseg3d synthesize {textseg3d.__version__} from {source}",
        "split": "synthetic",
        "licence": f"that of {source} in the training set",
        "source": source,
        "made": made,
    }
    affine = np.diag([*spacing_mm[::-1], 1.0])
    volume = volume_from_array(values.transpose(2, 1, 0), affine)
    write_volume_like(folder / f"{modality.lower()}.nii.gz", values, volume)
    write_volume_like(folder / "seg.nii.gz", labels, volume)
    if modality == "CT":
        known = [finding for finding in FINDINGS if finding in targets]
        tree = load_tree()
        places = {finding: find_places(finding, targets, labels, tree) for finding in known}
        lesions, numbers = measure_lesions(labels, targets, places, scan.findings, spacing_mm)
        about = {
            "case": name,
            "findings": [lesion.to_json() for lesion in lesions],
            "counts": _counts(known, lesions, places),
            **make_sentences(lesions, places, known).to_json(),
        }
        write_volume_like(folder / "lesions.nii.gz", numbers, volume)
        _write_json(folder / "sentences.json", about)
    _write_json(folder / RECORD, info)


def _label_names(targets: Mapping[str, Sequence[int]], counts: NDArray[np.int64]) -> dict[int, str]:
    """Each label id of the volume and the smallest target that it belongs to; findings first."""
    voxels = {target: int(counts[list(ids)].sum()) for target, ids in targets.items()}
    names: dict[int, str] = {}
    for target in sorted(targets, key=lambda t: (t not in FINDINGS, voxels[t], len(targets[t]), t)):
        for i in targets[target]:
            if counts[i]:
                names.setdefault(i, target)
    return dict(sorted(names.items()))


def _counts(
    known: Sequence[str], lesions: Sequence[Lesion], places: Mapping[str, Sequence[Place]]
) -> list[dict[str, Any]]:
    """How many lesions there are, in all (place null) and per place."""
    found = []
    for finding in known:
        own = [lesion for lesion in lesions if lesion.finding == finding]
        found.append({"type": finding, "place": None, "count": len(own)})
        for place in places[finding]:
            inside = sum(place.name in lesion.places for lesion in own)
            found.append({"type": finding, "place": place.name, "count": inside})
    return found


def _write_json(path: Path, data: Any) -> None:
    text = json.dumps(data, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
