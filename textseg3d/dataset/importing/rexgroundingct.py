"""ReXGroundingCT: findings of reports, each with a mask, on the scans of CT-RATE.

Masks are NIfTI files (F, X, Y, Z), finding first. The categories become the labels of the label
map; the texts go into cases.json, with a mask of their own. Training cases carry at most three
drawn instances per finding (Baharoon et al. 2025), so their findings are not exhaustive.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from textseg3d.dataset.case_notes import CaseNotes, Finding
from textseg3d.dataset.importing.files import (
    load_nifti,
    same_grid,
    save_like,
    take_image,
    voxels,
    whole_numbers,
)
from textseg3d.dataset.importing.session import Progress, Source, SourceCase, Target, import_source
from textseg3d.errors import GeometryError, InputError

CATEGORIES = {
    "1a": "bronchial wall thickening",
    "1b": "bronchiectasis",
    "1c": "emphysema",
    "1d": "septal thickening",
    "1e": "micronodules",
    "1f": "other non-focal finding",
    "2a": "linear opacity",
    "2b": "atelectasis or consolidation",
    "2c": "ground-glass opacity",
    "2d": "pulmonary nodule or mass",
    "2e": "pleural effusion or thickening",
    "2f": "honeycombing",
    "2g": "pneumothorax",
    "2h": "other focal finding",
}
_VAGUE = ("1f", "2h")  # names that say nothing as a prompt
_LIMITED = "train"  # the split whose findings are not drawn completely


def import_rexgroundingct(
    listing: Path,
    images: Path,
    masks: Path,
    folder: Path,
    *,
    link: bool = False,
    on_progress: Progress | None = None,
) -> Path:
    """Import the benchmark; cases without a mask go to imagesTs.

    Args:
        listing: dataset.json of the benchmark, an object of splits or one list.
        images: folder with the scans, named as in the list, at any depth.
        masks: folder with the masks of the same names, at any depth.
        folder, link, on_progress: see :func:`import_source`.

    Raises:
        InputError: for a foreign list or missing scans.
        UsageError: as :func:`import_source`.
    """
    scans, truths = _by_name(Path(images)), _by_name(Path(masks))
    cases = []
    for split, entry in _entries(Path(listing)):
        name = str(entry["name"])
        if name not in scans:
            raise InputError(f"{images} has no scan {name}, which {listing} lists")
        test = name not in truths
        if test and split in ("train", "val"):
            raise InputError(f"{masks} has no mask {name}, which {listing} lists under {split}")
        write = partial(
            _write,
            image=scans[name],
            mask=truths.get(name),
            entry=entry,
            exhaustive=split != _LIMITED,
        )
        files = (scans[name],) if test else (scans[name], truths[name])
        stem = name.removesuffix(".gz").removesuffix(".nii")
        cases.append(SourceCase(stem, files, write, test, None if test else split))
    source = Source(
        kind="rexgroundingct",
        labels=tuple(CATEGORIES.values()),
        channel_names=("CT",),
        prompts={name: [name] for key, name in CATEGORIES.items() if key not in _VAGUE},
        cases=tuple(cases),
        about={"name": "ReXGroundingCT", "reference": "arXiv:2507.22030"},
    )
    return import_source(source, folder, link=link, on_progress=on_progress)


def _write(
    target: Target, *, image: Path, mask: Path | None, entry: dict[str, Any], exhaustive: bool
) -> CaseNotes | None:
    if mask is None:
        take_image(image, target.image(0), link=target.link)
        return None
    scan, truth = load_nifti(image), load_nifti(mask)
    texts, categories = entry["findings"], entry.get("categories", {})
    if len(truth.shape) != 4 or truth.shape[0] != len(texts):
        raise GeometryError(
            f"{mask} has shape {truth.shape}, expected (F, X, Y, Z) with {len(texts)} findings"
        )
    same_grid(truth, scan, tuple(truth.shape[1:]))
    values = whole_numbers(voxels(truth), str(mask))
    findings, layers = [], []
    for number in range(len(texts)):
        key = str(number)
        category = categories.get(key)
        if key not in texts or (category is not None and category not in CATEGORIES):
            raise InputError(
                f"{mask}: finding {key} has the category {category!r} and the text "
                f"{texts.get(key)!r}; expected a text, and one of {', '.join(CATEGORIES)}"
            )
        label = None if category is None else CATEGORIES[category]
        layer = values[number]
        instances = int(np.count_nonzero(np.unique(layer)))
        path = target.finding(number)
        save_like(path, layer.astype(np.uint8 if layer.max() < 256 else np.int16), scan)
        name = path.relative_to(target.folder).as_posix()
        findings.append(Finding(texts[key], name, label, instances, exhaustive))
        if label is not None:
            layers.append((label, layer != 0))
    save_like(target.label(), target.coder.encode(values.shape[1:], layers), scan)
    take_image(image, target.image(0), link=target.link)
    # Findings are what the report names: a category without one was not looked for by itself.
    annotated = dict.fromkeys(f.label for f in findings if f.label is not None)
    return CaseNotes(tuple(annotated), tuple(findings))


def _entries(path: Path) -> list[tuple[str | None, dict[str, Any]]]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from None
    splits = data if isinstance(data, dict) else {None: data}
    entries = []
    for split, items in splits.items():
        for item in items if isinstance(items, list) else [items]:
            if not isinstance(item, dict) or not isinstance(item.get("findings"), dict):
                raise InputError(f"{path} holds {item!r:.60}, expected `name` and `findings`")
            if "name" not in item:
                raise InputError(f"{path} has an entry without `name`; expected the file's name")
            entries.append((split, item))
    return entries


def _by_name(folder: Path) -> dict[str, Path]:
    """Files by name; CT-RATE keeps each in a folder of its own."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    return {path.name: path for path in sorted(folder.rglob("*.nii*"))}
