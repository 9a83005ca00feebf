"""SAT's jsonl lists: one scan a line, with the names of its labels and their masks.

``mask`` is a NIfTI file (N, X, Y, Z) with one mask per label, a label map whose value i is the
i-th label, or a folder with one file ``<label>.nii.gz`` each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.dataset.case_notes import CaseNotes
from textseg3d.dataset.importing.files import (
    load_nifti,
    same_grid,
    save_like,
    take_image,
    voxels,
    whole_numbers,
)
from textseg3d.dataset.importing.session import Progress, Source, SourceCase, Target, import_source
from textseg3d.errors import GeometryError, InputError, UsageError
from textseg3d.suggest import did_you_mean

CHANNELS = {"ct": "CT", "mri": "MRI", "pet": "PET"}


def import_sat(
    listing: Path,
    folder: Path,
    *,
    dataset: str | None = None,
    root: Path | None = None,
    link: bool = False,
    on_progress: Progress | None = None,
) -> Path:
    """Import the lines of one dataset; those without ``mask`` go to imagesTs.

    Labels of one dataset are annotated together, those of another are not: unknown is not
    absent. Therefore one import takes one dataset.

    Args:
        listing: jsonl file.
        folder, link, on_progress: see :func:`import_source`.
        dataset: value of ``dataset``; needed if the list has several.
        root: folder of relative paths (default: the list's).

    Raises:
        InputError: for a foreign list.
        UsageError: if the dataset is not named, or not there.
    """
    listing = Path(listing)
    base = Path(root) if root is not None else listing.parent
    lines = list(_lines(listing))
    known = sorted({line["dataset"] for line in lines})
    if dataset is None and len(known) > 1:
        raise UsageError(
            f"{listing} lists {len(known)} datasets, name one with --dataset: {', '.join(known)}"
        )
    chosen = [line for line in lines if dataset in (None, line["dataset"])]
    if not chosen:
        raise UsageError(
            f"{listing} has no dataset {dataset!r}{did_you_mean(dataset or '', known)}"
        )
    modalities = sorted({line["modality"].lower() for line in chosen})
    if len(modalities) > 1:
        raise InputError(f"{listing}: {chosen[0]['dataset']} mixes {', '.join(modalities)}")
    if modalities[0] not in CHANNELS:
        raise InputError(f"{listing}: modality {modalities[0]!r}, expected ct, mri or pet")
    names = tuple(sorted({name for line in chosen for name in line["label"]}))
    cases = []
    for line in chosen:
        image, mask = base / line["image"], line.get("mask")
        write = partial(
            _write, image=image, mask=base / mask if mask else None, labels=line["label"]
        )
        files = (image, *([base / mask] if mask else []))
        cases.append(SourceCase(_case(line["image"]), files, write, test=not mask))
    source = Source(
        kind="sat",
        labels=names,
        channel_names=(CHANNELS[modalities[0]],),
        prompts={name: [name.replace("_", " ")] for name in names},
        cases=tuple(cases),
        settings={"dataset": chosen[0]["dataset"]},
        about={"name": chosen[0]["dataset"]},
    )
    return import_source(source, folder, link=link, on_progress=on_progress)


def _write(
    target: Target, *, image: Path, mask: Path | None, labels: list[str]
) -> CaseNotes | None:
    if mask is not None:
        scan = load_nifti(image)
        shape = tuple(scan.shape[:3])
        encoded = target.coder.encode(shape, _masks(mask, scan, labels))
        save_like(target.label(), encoded, scan)
    take_image(image, target.image(0), link=target.link)
    return None if mask is None else CaseNotes(tuple(labels))


def _masks(path: Path, scan: Any, labels: list[str]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    if path.is_dir():
        for label in labels:
            one = load_nifti(path / f"{label}.nii.gz")
            same_grid(one, scan)
            yield label, voxels(one) != 0
        return
    found = load_nifti(path)
    if len(found.shape) == 4:
        if found.shape[0] != len(labels):
            raise GeometryError(
                f"{path} has shape {found.shape}, expected (N, X, Y, Z) with {len(labels)} labels"
            )
        same_grid(found, scan, tuple(found.shape[1:]))
        layers = voxels(found)
        for number, label in enumerate(labels):
            yield label, layers[number] != 0
        return
    same_grid(found, scan)
    values = whole_numbers(voxels(found), str(path))
    if values.max() > len(labels):
        raise InputError(
            f"{path} holds the value {values.max()}, its line has {len(labels)} labels"
        )
    for number, label in enumerate(labels, start=1):
        yield label, values == number


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from None
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}, line {number}: no JSON ({error})") from None
        texts = ("image", "modality", "dataset")
        good = isinstance(data, dict) and all(isinstance(data.get(key), str) for key in texts)
        labels = data.get("label") if good else None
        if not isinstance(labels, list) or not all(isinstance(n, str) and n for n in labels):
            raise InputError(
                f"{path}, line {number}: expected image, label (a list), modality and dataset"
            )
        yield data


def _case(image: str) -> str:
    return Path(image).name.removesuffix(".gz").removesuffix(".nii")
