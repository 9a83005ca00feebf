"""Medical Segmentation Decathlon tasks: ``TaskXX_Name`` with several channels in one 4-D file."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from textseg3d.dataset.case_notes import CaseNotes
from textseg3d.dataset.importing.files import (
    load_nifti,
    same_grid,
    save_like,
    take_file,
    take_image,
    voxels,
    whole_numbers,
)
from textseg3d.dataset.importing.session import (
    ENDING,
    Progress,
    Source,
    SourceCase,
    Target,
    import_source,
)
from textseg3d.errors import InputError

_ABOUT = ("name", "description", "reference", "licence", "license", "release")


def import_decathlon(
    task: Path, folder: Path, *, link: bool = False, on_progress: Progress | None = None
) -> Path:
    """Import a task: each channel becomes a file, label files stay as they are.

    Args:
        task: ``TaskXX_Name`` with dataset.json, imagesTr, labelsTr and perhaps imagesTs.
        folder, link, on_progress: see :func:`import_source`.

    Raises:
        InputError: for a source that is not in the Decathlon's layout.
        UsageError: as :func:`import_source`.
    """
    task = Path(task)
    path = task / "dataset.json"
    data = _read(path)
    names = _numbered(data.get("labels"), path, "labels")
    channels = _numbered(data.get("modality"), path, "modality")
    if names[0] != "background":
        raise InputError(f"{path}: label 0 is {names[0]!r}, expected 'background'")
    cases = []
    for entry in data.get("training", ()):
        if not isinstance(entry, dict) or "image" not in entry or "label" not in entry:
            raise InputError(f'{path}: training holds {entry!r:.60}, expected "image" and "label"')
        image, label = task / entry["image"], task / entry["label"]
        write = partial(_write, image=image, label=label, channels=len(channels), values=len(names))
        cases.append(SourceCase(_stem(image), (image, label), write))
    for text in data.get("test", ()):
        image = task / text
        write = partial(_write, image=image, label=None, channels=len(channels), values=0)
        cases.append(SourceCase(_stem(image), (image,), write, test=True))
    source = Source(
        kind="decathlon",
        labels=tuple(names[1:]),
        channel_names=tuple(channels),
        prompts={name: [name.replace("_", " ")] for name in names[1:]},
        cases=tuple(cases),
        about={key: data[key] for key in _ABOUT if isinstance(data.get(key), str)},
    )
    return import_source(source, folder, link=link, on_progress=on_progress)


def _write(
    target: Target, *, image: Path, label: Path | None, channels: int, values: int
) -> CaseNotes | None:
    found = load_nifti(image)
    count = found.shape[3] if len(found.shape) == 4 else 1
    if len(found.shape) not in (3, 4) or count != channels:
        raise InputError(
            f"{image} has shape {found.shape}, expected {channels} channel(s) of three axes"
        )
    if label is not None:
        truth = load_nifti(label)
        same_grid(truth, found)
        numbers = whole_numbers(voxels(truth), str(label))
        if numbers.max() >= values:
            raise InputError(
                f"{label} holds the value {numbers.max()}, dataset.json names {values}"
            )
        if label.name.endswith(ENDING) and truth.header.get_data_dtype().kind in "ui":
            take_file(label, target.label(), link=target.link)
        else:
            save_like(target.label(), numbers.astype("uint8" if values < 256 else "int16"), truth)
    if len(found.shape) == 3:
        take_image(image, target.image(0), link=target.link)
    else:
        for channel in range(channels):
            save_like(target.image(channel), voxels(found, (..., channel)), found)
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(data, dict) or not isinstance(data.get("training"), list):
        raise InputError(f"{path} has no list `training`; expected a Decathlon task")
    return data


def _numbered(value: Any, path: Path, key: str) -> list[str]:
    """{"0": "a", "1": "b"} as a list."""
    numbers = [str(n) for n in range(len(value))] if isinstance(value, dict) else []
    if not numbers or sorted(value, key=lambda k: (len(k), k)) != numbers:
        raise InputError(f'{path}: {key} is {value!r:.60}, expected such as {{"0": "…", "1": "…"}}')
    return [str(value[number]) for number in numbers]


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")
