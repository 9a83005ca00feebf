"""Folders of other programs as models: converted on first use, kept under a hash of their files."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from textseg3d.convert.nnunet import CHECKPOINT, convert_nnunet, fold_checkpoints
from textseg3d.convert.plans import read_json
from textseg3d.errors import ModelError, UsageError
from textseg3d.zoo.card import CARD_NAME, file_sha256

log = logging.getLogger(__name__)
CACHE_VERSION = 1  # changes when a conversion would give other files than before


def resolve(text: str, **options: Any) -> Path | None:
    """The model folder of what ``text`` names, or None if it names nothing of another program.

    Args:
        text: "totalsegmentator", "totalsegmentator:TASK", or a folder of nnU-Net or VoxTell.
        options: of :func:`textseg3d.convert.convert_nnunet`.

    Raises:
        ModelError: if the weights are missing, damaged, unsafe or not supported.
    """
    from textseg3d.convert.totalsegmentator import PREFIX, task_folder

    name, _, task = text.partition(":")
    if name.lower() == PREFIX and not Path(text).exists():
        return task_folder(task or "total")
    folder = Path(text).expanduser()
    if not folder.is_dir() or (folder / CARD_NAME).is_file():
        return None
    if is_voxtell(folder):
        return cached_voxtell(folder)
    source = results_folder(folder)
    if source is None:
        return None
    return cached_nnunet(source, **options)


def cached_nnunet(source: Path, **options: Any) -> Path:
    """The model folder of an nnU-Net results folder, converted if it has not been yet.

    Args:
        source: `Trainer__Plans__Configuration`.
        options: of :func:`textseg3d.convert.convert_nnunet`, except the output.

    Raises:
        ModelError: as :func:`textseg3d.convert.convert_nnunet`.
    """
    files = [source / "plans.json", source / "dataset.json"]
    for path in files:
        read_json(path)  # says what is missing
    chosen = {k: options[k] for k in ("folds", "checkpoint") if k in options}
    files += fold_checkpoints(source, **chosen).values()
    key = {"options": options, **{str(p.relative_to(source)): file_sha256(p) for p in files}}
    return cached(source.parent.name, key, lambda target: convert_nnunet(source, target, **options))


def is_voxtell(folder: Path) -> bool:
    """Whether a folder is laid out as VoxTell's: plans and one fold, but no labels."""
    needed = (folder / "plans.json", folder / "fold_0" / CHECKPOINT)
    return all(path.is_file() for path in needed) and not (folder / "dataset.json").exists()


def cached_voxtell(source: Path) -> Path:
    """The model folder of a VoxTell folder, with the bank beside or inside it if there is one.

    Raises:
        ModelError: as :func:`textseg3d.convert.convert_voxtell`.
    """
    from textseg3d.convert.open_models import convert_voxtell

    name = "text_embeddings.npz"
    places = (source / name, source.parent / "embeddings" / source.name / name)
    bank = next((path for path in places if path.is_file()), None)
    files = [source / "plans.json", source / "fold_0" / CHECKPOINT, *([bank] if bank else [])]
    key = {"voxtell": [file_sha256(path) for path in files]}
    return cached(source.name, key, lambda target: convert_voxtell(source, target, bank=bank))


def cached(name: str, key: Mapping[str, Any], make: Callable[[Path], Any]) -> Path:
    """The folder that ``make`` wrote for this key, now or earlier.

    Two processes at once make it once. The folder's name tells the source and the key's hash.

    Args:
        name: of the source, for people.
        key: everything that the result depends on, as JSON.
        make: writes the model folder that it is given, complete or not at all.
    """
    from filelock import FileLock

    from textseg3d.zoo.find import home_folder

    text = json.dumps([CACHE_VERSION, key], sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()
    slug = re.sub(r"[^\w.-]+", "-", name)[:60].strip("-.") or "model"
    root = home_folder() / "converted"
    target = root / f"{slug}-{digest[:16]}"
    if (target / CARD_NAME).is_file():
        return target
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f".{target.name}.lock"):
        if not (target / CARD_NAME).is_file():
            log.info("converting %s once, into %s", name, target)
            shutil.rmtree(target, ignore_errors=True)
            make(target)
    return target


def results_folder(folder: Path) -> Path | None:
    """The `Trainer__Plans__Configuration` that a folder is, or that it alone contains.

    Raises:
        ModelError: if it looks like one and lacks a file.
        UsageError: if it contains several.
    """
    inside = sorted(p for p in folder.glob("*__*__*") if p.is_dir())
    if not inside:
        named = len(folder.name.split("__")) == 3 or any(folder.glob("fold_*"))
        files = [(folder / name).is_file() for name in ("plans.json", "dataset.json")]
        return folder if named or all(files) else None
    runnable = [p for p in inside if not p.name.endswith("__2d")]
    if not runnable:
        raise ModelError(f"{folder} has only 2-D configurations; 3d_fullres and 3d_lowres can run")
    if len(runnable) > 1:
        names = ", ".join(p.name for p in runnable)
        raise UsageError(f"{folder} has several models; give one of them as --model: {names}")
    return runnable[0]
