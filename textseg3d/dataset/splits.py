"""Cross-validation folds, the same as nnU-Net's for the same cases."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np

from textseg3d.errors import InputError
from textseg3d.io import atomic_path

FILE_NAME = "splits_final.json"
SEED = 12345  # nnU-Net's
FOLDS = 5

logger = logging.getLogger(__name__)


class Fold(TypedDict):
    """Names of cases to train with, and of those held aside."""

    train: list[str]
    val: list[str]


def five_folds(names: Sequence[str], *, seed: int = SEED, folds: int = FOLDS) -> list[Fold]:
    """Split cases as scikit-learn's shuffled ``KFold`` does, which nnU-Net uses.

    The shuffled cases are cut into ``folds`` runs, of which the first take one more where the
    number does not divide; inside a fold the order is that of the sorted names.

    Raises:
        InputError: for fewer cases than folds.
    """
    ordered = sorted(names)
    if len(ordered) < folds:
        raise InputError(f"{len(ordered)} cases cannot be split into {folds} folds")
    shuffled = np.arange(len(ordered))
    np.random.RandomState(seed).shuffle(shuffled)
    result: list[Fold] = []
    for part in np.array_split(shuffled, folds):
        held = set(part.tolist())
        result.append(
            {
                "train": [name for i, name in enumerate(ordered) if i not in held],
                "val": [name for i, name in enumerate(ordered) if i in held],
            }
        )
    return result


def load_splits(folders: Sequence[Path], names: Sequence[str]) -> list[Fold]:
    """The first ``splits_final.json`` of some folders, or nnU-Net's folds; nothing is written.

    Raises:
        InputError: as :func:`load_or_make_splits`.
    """
    paths = [Path(folder) / FILE_NAME for folder in folders]
    existing = next((path for path in paths if path.is_file()), None)
    return five_folds(names) if existing is None else _read(existing, set(names))


def load_or_make_splits(
    preprocessed: Path, names: Sequence[str], raw: Path | None = None
) -> list[Fold]:
    """The splits of a preprocessed folder; where it has none, those of ``raw``, or new ones.

    Raises:
        InputError: if a file is damaged, names a case that is not there, or there are fewer
            than five cases.
    """
    path = Path(preprocessed) / FILE_NAME
    candidates = [path] if raw is None else [path, Path(raw) / FILE_NAME]
    existing = next((p for p in candidates if p.is_file()), None)
    splits = _read(existing, set(names)) if existing is not None else five_folds(names)
    if existing != path:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(splits, indent=4) + "\n", encoding="utf-8")
        logger.info("written: %s", path)
    return splits


def _read(path: Path, known: set[str]) -> list[Fold]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        splits: list[Fold] = [{"train": list(f["train"]), "val": list(f["val"])} for f in data]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: cannot be read as a list of folds ({error})") from None
    for number, fold in enumerate(splits):
        for name in (*fold["train"], *fold["val"]):
            if name not in known:
                raise InputError(f"{path}: fold {number} names {name!r}, no case of the dataset")
        both = sorted(set(fold["train"]) & set(fold["val"]))
        if both:
            raise InputError(f"{path}: fold {number} trains and validates on {both[0]!r}")
    return splits
