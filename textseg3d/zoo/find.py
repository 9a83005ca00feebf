"""Finds a model folder: by name, by path, or in a hub repository."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from textseg3d.errors import ModelError, PlansError
from textseg3d.plans.jsonio import from_json
from textseg3d.resources import data_folder
from textseg3d.suggest import did_you_mean
from textseg3d.zoo.card import CARD_NAME

HUB_PREFIX = "hf-hub:"
_FOREIGN = "textseg3d.convert.in_place"
BUNDLED = "bundled"


@dataclass(frozen=True)
class IndexEntry:
    """One model that can be asked for by name.

    Attributes:
        name: what `--model` takes.
        summary: one sentence.
        source: "bundled" (a folder of the same name beside `index.json`), "user" (a folder under
            `$TEXTSEG3D_HOME/models`) or "hf-hub:owner/repo@revision".
    """

    name: str
    summary: str
    source: str = BUNDLED


@dataclass(frozen=True)
class Index:
    """`model_zoo/index.json`: the named models, and the one that is used when none is named."""

    default: str
    models: tuple[IndexEntry, ...]


def read_index() -> Index:
    """The index of this installation.

    Raises:
        ModelError: if it is missing or damaged.
    """
    path = data_folder("model_zoo") / "index.json"
    try:
        return from_json(Index, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, PlansError) as error:
        raise ModelError(f"{path}: {error}; reinstall textseg3d") from None


def default_model() -> str:
    """Name of the model that is used when the user names none."""
    return read_index().default


def home_folder() -> Path:
    """Where this user's own and downloaded models lie: `$TEXTSEG3D_HOME`, or a cache folder."""
    chosen = os.environ.get("TEXTSEG3D_HOME")
    if chosen:
        return Path(chosen).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache).expanduser() / "textseg3d"


def known_models() -> list[IndexEntry]:
    """Every model that has a name: those of the index, then the user's own folders."""
    entries = list(read_index().models)
    named = {entry.name for entry in entries}
    folder = home_folder() / "models"
    if folder.is_dir():
        for path in sorted(p for p in folder.iterdir() if (p / CARD_NAME).is_file()):
            if path.name not in named:
                entries.append(IndexEntry(path.name, f"your own model in {path}", "user"))
    return entries


def local_folder(entry: IndexEntry) -> Path | None:
    """Folder of a named model if it is on this machine, else None. Never uses the network."""
    if entry.source.startswith(HUB_PREFIX):
        from textseg3d.zoo.hub import cached_folder

        return cached_folder(entry.source)
    root = home_folder() / "models" if entry.source == "user" else data_folder("model_zoo")
    folder = root / entry.name
    return folder if (folder / CARD_NAME).is_file() else None


def find_model(model: str | Path) -> Path:
    """The folder of a model.

    Args:
        model: a name (see :func:`known_models`), a folder (also one of another program, see
            :func:`find_foreign`), or "hf-hub:owner/repo@revision". Only the last, or a name that
            stands for such a repository, may use the network, and only while the files are not
            on this machine and `TEXTSEG3D_OFFLINE` is not set.

    Raises:
        ModelError: if there is no such model, or it could not be had.
    """
    text = str(model)
    if text.startswith(HUB_PREFIX):
        from textseg3d.zoo.hub import fetch_model

        return fetch_model(text)
    entries = {entry.name: entry for entry in known_models()}
    entry = entries.get(text)
    if entry is not None and isinstance(model, str):
        if entry.source.startswith(HUB_PREFIX):
            return find_model(entry.source)
        folder = local_folder(entry)
        if folder is None:
            raise ModelError(
                f"model {text!r} is listed but its files are not in this installation; "
                "reinstall textseg3d, or give a model folder"
            )
        return folder
    folder = Path(text).expanduser()
    foreign = None if (folder / CARD_NAME).is_file() else find_foreign(text)
    if foreign is not None:
        return foreign
    if folder.is_dir():
        if not (folder / CARD_NAME).is_file():
            raise ModelError(f"{folder} has no {CARD_NAME}; it is not a model folder")
        return folder
    if folder.is_file():
        raise ModelError(f"{folder} is a file; a model is a folder with {CARD_NAME} in it")
    known = ", ".join(entries)
    raise ModelError(
        f"unknown model {text!r}{did_you_mean(text, entries)} "
        f"(known: {known}; a folder, totalsegmentator or hf-hub:owner/repo@revision also works)"
    )


def find_foreign(text: str, **options: Any) -> Path | None:
    """A model folder made of another program's weights, where ``text`` stands for some.

    What knows those programs is imported when it is asked for, so that this part stays free of
    them.

    Args:
        text: a folder, or a name such as "totalsegmentator".
        options: of :func:`textseg3d.convert.in_place.resolve`.

    Returns:
        None if ``text`` stands for no such thing.

    Raises:
        ModelError: if the weights are missing, damaged, unsafe or not supported.
    """
    found: Path | None = import_module(_FOREIGN).resolve(text, **options)
    return found
