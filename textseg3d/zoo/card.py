"""`card.json`: what a model is, what it learned from, how well it was measured to do, its files."""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from textseg3d.errors import ModelError, PlansError
from textseg3d.plans.jsonio import from_json, to_json

CARD_NAME = "card.json"
MAX_CARD_BYTES = 4 * 2**20
# What a model folder may hold. Anything that could run code when loaded is refused by name.
MODEL_SUFFIXES = (".json", ".safetensors", ".gz", ".md", ".txt")
REFUSED_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz")
CODE_SUFFIXES = (".py", ".pyc", ".so", ".dll", ".dylib", ".sh", ".exe")


@dataclass(frozen=True)
class FileEntry:
    """One file of the model folder.

    Attributes:
        sha256: 64 lower-case hexadecimal digits.
        size_bytes: its length.
    """

    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        if len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef"):
            raise ModelError(
                f"{self.sha256!r} is not a sha256 (64 lower-case hexadecimal digits expected)"
            )
        if self.size_bytes < 0:
            raise ModelError(f"a file cannot have {self.size_bytes} bytes")


@dataclass(frozen=True)
class TrainingSource:
    """Data that the weights learned from.

    Attributes:
        name: the data set or atlas.
        licence: the licence under which it was used.
        used_for: "images and labels", "images", "synthesis", "text".
        cases: how many, if they can be counted.
    """

    name: str
    licence: str
    used_for: str
    cases: int | None = None


@dataclass(frozen=True)
class Evaluation:
    """One table of measured scores.

    Attributes:
        metric: for example "dice".
        data: scans and whose truth ("four CTs from other hospitals, drawn by people").
        how: the command and settings that reproduce the table.
        mean: concept → mean over the cases that have truth for it.
        cases: case → concept → score.
    """

    metric: str
    data: str
    how: str
    mean: dict[str, float] = field(default_factory=dict)
    cases: dict[str, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for where, table in (("mean", self.mean), *self.cases.items()):
            for concept, score in table.items():
                if not math.isfinite(score):
                    raise ModelError(f"score of {concept!r} in {where!r} is {score}; leave it out")


@dataclass(frozen=True)
class ModelCard:
    """The description that travels with the weights; `card.json` is its JSON.

    Attributes:
        name: the name of the model, as `--model` takes it.
        version: of the weights.
        summary: one sentence.
        modalities: "CT", "MR", "PET".
        concepts: canonical names that it was trained on.
        weights_licence: the licence of the weights (SPDX name).
        training_sources: the data behind the weights, with licences.
        evaluations: measured scores, with how they were measured.
        limits: where it is known to fail, one sentence each.
        intended_use: what it is for.
        wordings: concept → further texts that mean it, where the knowledge tree has not got them.
        files: path inside the folder (with "/") → hash and size; `card.json` itself is not there.
    """

    name: str
    version: str
    summary: str
    modalities: tuple[str, ...]
    concepts: tuple[str, ...]
    weights_licence: str
    training_sources: tuple[TrainingSource, ...]
    evaluations: tuple[Evaluation, ...] = ()
    limits: tuple[str, ...] = ()
    intended_use: str = "Research use only; not a medical device."
    wordings: dict[str, tuple[str, ...]] = field(default_factory=dict)
    files: dict[str, FileEntry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for attribute in ("name", "version", "weights_licence"):
            if not getattr(self, attribute):
                raise ModelError(f"the model card has an empty {attribute!r}")
        unknown = sorted(set(self.wordings) - set(self.concepts))
        if unknown:
            raise ModelError(f"the model card has wordings of {unknown[0]!r}, which is no concept")
        for path in self.files:
            check_relative_path(path)

    def to_json(self) -> dict[str, Any]:
        """The card as an object of plain JSON types."""
        return dict(to_json(self))

    @classmethod
    def from_json(cls, data: Any) -> ModelCard:
        """The card from :meth:`to_json`'s object.

        Raises:
            ModelError: for unknown or missing keys and values of another kind.
        """
        try:
            return from_json(cls, data)
        except PlansError as error:
            raise ModelError(str(error)) from None

    @classmethod
    def read(cls, folder: str | Path) -> ModelCard:
        """Read `card.json` of a model folder.

        Raises:
            ModelError: if it is missing, too long, not JSON, or not a card.
        """
        path = Path(folder) / CARD_NAME
        try:
            if path.stat().st_size > MAX_CARD_BYTES:
                raise ModelError(f"{path} is larger than {MAX_CARD_BYTES} bytes, not a model card")
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ModelError(f"{folder} has no {CARD_NAME}; it is not a model folder") from None
        except (OSError, ValueError, RecursionError) as error:
            raise ModelError(f"{path} cannot be read as JSON: {error}") from None
        try:
            return cls.from_json(data)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from None


def write_card(folder: str | Path, card: ModelCard) -> ModelCard:
    """Write ``card`` as `card.json` of ``folder`` with hash and size of each file that is there.

    The file appears by a rename, so a reader never sees half of it.

    Returns:
        The card as written.

    Raises:
        ModelError: if the folder holds a file that a model folder must not hold.
    """
    root = Path(folder)
    files = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name = path.relative_to(root).as_posix()
        if name == CARD_NAME:
            continue
        refusal = refused_file(name)
        if refusal:
            raise ModelError(f"{path}: {refusal}")
        if not name.endswith(MODEL_SUFFIXES):
            raise ModelError(
                f"{path}: a model folder holds {', '.join(MODEL_SUFFIXES)} files; move it away"
            )
        files[name] = FileEntry(sha256=file_sha256(path), size_bytes=path.stat().st_size)
    written = replace(card, files=files)
    text = json.dumps(written.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
    temporary = root / f".{CARD_NAME}.{os.getpid()}"
    try:
        temporary.write_text(text + "\n", encoding="utf-8")
        os.replace(temporary, root / CARD_NAME)
    finally:
        temporary.unlink(missing_ok=True)
    return written


def file_sha256(path: str | Path) -> str:
    """sha256 of a file's bytes, as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def refused_file(name: str) -> str | None:
    """Why a file of this name must not be in a model folder, or None."""
    suffix = PurePosixPath(name.lower()).suffix
    if suffix in REFUSED_SUFFIXES:
        return (
            f"{suffix} files can run code when they are read; weights are safetensors "
            "(a checkpoint of another program has to be converted first)"
        )
    if suffix in CODE_SUFFIXES:
        return "a model folder carries no code, and none would be run; remove the file"
    return None


def check_relative_path(name: str) -> PurePosixPath:
    """``name`` as a path that stays inside the model folder.

    Raises:
        ModelError: if it is absolute, has "..", a backslash, a drive or a NUL.
    """
    path = PurePosixPath(name)
    unsafe = not name or path.is_absolute() or ".." in path.parts or set(name) & set("\\:\0")
    if unsafe or path.as_posix() != name:
        raise ModelError(f"file name {name!r} in the model card does not stay inside the folder")
    return path
