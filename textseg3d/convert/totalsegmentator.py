"""TotalSegmentator's installed weights as one model per task.

The task table (which networks a task has, their spacing and classes) is data,
`totalsegmentator.json`. Nothing is converted until a prompt needs a part.
"""

from __future__ import annotations

import json
import logging
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from textseg3d.convert.in_place import cached
from textseg3d.convert.plans import class_name, read_json, resolve_configuration
from textseg3d.errors import ModelError
from textseg3d.inference.closed.parts import PartClass, PartSource, PartsSpec
from textseg3d.suggest import did_you_mean
from textseg3d.zoo import ModelCard, TrainingSource, write_card
from textseg3d.zoo.card import file_sha256

log = logging.getLogger(__name__)
PREFIX = "totalsegmentator"
TABLE = "totalsegmentator.json"
LICENCE = (
    "Apache-2.0, as TotalSegmentator states for its open tasks; check the licence of the weights "
    "that you installed"
)
_STEP = 0.8  # of windows in the "total" tasks; 0.5 in all others
_SAME = 1e-3


def weights_folder() -> Path:
    """Where TotalSegmentator keeps its networks: by its own environment variables and default."""
    chosen = os.environ.get("TOTALSEG_WEIGHTS_PATH")
    if chosen:
        return Path(chosen).expanduser()
    home = os.environ.get("TOTALSEG_HOME_DIR")
    root = Path(home).expanduser() if home else Path.home() / ".totalsegmentator"
    return root / "nnunet" / "results"


@lru_cache(maxsize=1)
def table() -> dict[str, Any]:
    """Tasks by name, and labels by number of the data set."""
    path = Path(__file__).with_name(TABLE)
    return dict(json.loads(path.read_text(encoding="utf-8")))


def task_folder(task: str) -> Path:
    """The model folder (of parts) for a task whose weights are installed.

    Raises:
        ModelError: for an unknown task, or if none of its weights are there.
    """
    tasks = table()["tasks"]
    if task not in tasks:
        raise ModelError(
            f"unknown task {task!r} of TotalSegmentator{did_you_mean(task, tasks)} (known: "
            f"{', '.join(tasks)})"
        )
    entry = tasks[task]
    root = weights_folder()
    found = {number: _installed(root, number) for number in entry["parts"]}
    missing = [str(number) for number, folder in found.items() if folder is None]
    command = f"`totalseg_download_weights -t {task.removesuffix('est').removesuffix('_fast')}`"
    if len(missing) == len(found):
        raise ModelError(
            f"no weights of TotalSegmentator's task {task!r} in {root} (Dataset "
            f"{', '.join(missing)}); install them with {command}, or set TOTALSEG_WEIGHTS_PATH"
        )
    if missing:
        log.warning(
            "TotalSegmentator's parts %s of %r are not in %s; their classes are missing (%s)",
            ", ".join(missing), task, root, command,
        )  # fmt: skip
    coarse = entry.get("coarse")
    rough = _installed(root, coarse) if coarse else None
    if entry.get("crop_to") and rough is None:
        raise ModelError(
            f"task {task!r} needs the coarse network Dataset{coarse} in {root}; install it with "
            "`totalseg_download_weights -t total_fastest`"
        )
    parts = {number: folder for number, folder in found.items() if folder is not None}
    if rough is None and coarse:
        log.warning("Dataset%s is not in %s; parts run over the whole scan", coarse, root)
    sources = {**parts, **({coarse: rough} if rough is not None else {})}
    key = {
        "task": task,
        "table": file_sha256(Path(__file__).with_name(TABLE)),
        **{str(f): [file_sha256(f / n) for n in _JSONS] for f in sources.values()},
    }
    return cached(f"{PREFIX}-{task}", key, lambda target: _make(target, task, parts, rough))


_JSONS = ("plans.json", "dataset.json")


def _installed(root: Path, number: int) -> Path | None:
    """The results folder of a data set's network, or None.

    Raises:
        ModelError: if its files are not all there.
    """
    from textseg3d.convert.in_place import results_folder

    if not root.is_dir():
        return None
    folders = sorted(p for p in root.glob(f"Dataset{number:03d}_*") if p.is_dir())
    if not folders:
        return None
    folder = results_folder(folders[-1])
    if folder is None:
        raise ModelError(f"{folders[-1]} has no network; install it again")
    for name in _JSONS:
        read_json(folder / name)
    return folder


def _make(target: Path, task: str, parts: dict[int, Path], coarse: Path | None) -> None:
    entry = table()["tasks"][task]
    sources = [_source(number, folder, task) for number, folder in parts.items()]
    rough = None if coarse is None else _source(entry["coarse"], coarse, "total")
    classes: list[PartClass] = []
    for index, source in enumerate(sources):
        for label in source.labels:
            taken = {item.name for item in classes}
            classes.append(PartClass(class_name(label, (), taken), label, index))
    spec = PartsSpec(
        source=f"TotalSegmentator, task {task}",
        parts=tuple(sources),
        classes=tuple(classes),
        coarse=rough,
        crop_to=tuple(entry.get("crop_to", ())),
        ct=entry.get("ct", True),
    )
    target.mkdir(parents=True)
    spec.save(target)
    write_card(target, _card(task, spec))


def _source(number: int, folder: Path, task: str) -> PartSource:
    """A part with the options of its conversion."""
    labels = table()["labels"].get(str(number)) or _own_labels(folder)
    spacing = table()["tasks"].get(task, {}).get("spacing_mm")
    plans = read_json(folder / "plans.json")
    own = resolve_configuration(plans, folder.name.split("__")[-1])["spacing"]
    if number in (297, 298, 852):
        spacing = own  # the coarse networks' spacing is that of their scans
    changes: dict[str, Any] = {"step": _STEP if number in _TOTAL else 0.5}
    same = spacing is not None and all(
        abs(a - b) <= _SAME * b
        for a, b in zip([spacing[i] for i in plans["transpose_forward"]], own)
    )
    if same:
        changes |= {"pipeline": "totalsegmentator", "data_resampling": {"order": 1}}
    elif spacing is not None:
        log.warning("%s works at %s mm, not %s; nnU-Net's own steps are used", folder, own, spacing)
    return PartSource(str(folder), {"orientation": "RAS", "changes": changes}, tuple(labels))


_TOTAL = (291, 292, 293, 294, 295, 297, 298, 850, 851, 852)


def _own_labels(folder: Path) -> list[str]:
    labels = read_json(folder / "dataset.json").get("labels")
    if not isinstance(labels, dict) or any(not isinstance(v, int) for v in labels.values()):
        raise ModelError(f"{folder / 'dataset.json'} has no plain labels; it cannot be a part")
    return [str(name) for name, value in sorted(labels.items(), key=lambda i: i[1]) if value > 0]


def _card(task: str, spec: PartsSpec) -> ModelCard:
    return ModelCard(
        name=f"{PREFIX}:{task}",
        version="installed",
        summary=f"TotalSegmentator's networks of task {task!r}, read where they are installed.",
        modalities=("CT",) if spec.ct else ("MR",),
        concepts=tuple(item.name for item in spec.classes),
        weights_licence=LICENCE,
        training_sources=(
            TrainingSource("see totalsegmentator.com", "see TotalSegmentator", "images and labels"),
        ),
        limits=(
            "Knows its classes only; a prompt is a choice among them.",
            "Scores were not measured here; see TotalSegmentator's publications.",
        ),
    )
