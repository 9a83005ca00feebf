"""Where datasets, preprocessed data and results are: nnU-Net's three variables, or our own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from textseg3d.errors import InputError, UsageError
from textseg3d.suggest import did_you_mean

Kind = Literal["raw", "preprocessed", "results"]


def base_folder(kind: Kind) -> Path:
    """The folder that ``TEXTSEG3D_<kind>`` names, or else ``nnUNet_<kind>``.

    Raises:
        UsageError: if neither is set.
    """
    own, theirs = f"TEXTSEG3D_{kind}", f"nnUNet_{kind}"
    value = os.environ.get(own) or os.environ.get(theirs)
    if not value:
        raise UsageError(
            f"neither {own} nor {theirs} is set, so the {kind} folder is unknown; set one, for "
            f"example: export {theirs}=$HOME/nnunet/{kind}"
        )
    return Path(value)


def dataset_folder(dataset: str, kind: Kind = "raw") -> Path:
    """The folder of a dataset.

    Args:
        dataset: its number ("4"), its name ("Dataset004_Hippocampus"), or a path to its raw folder.
        kind: which of the three; the folder itself need not exist for the last two.

    Raises:
        InputError: if no raw dataset is meant by that, or several are.
        UsageError: if the variable is not set.
    """
    given = Path(dataset)
    if os.sep in dataset or given.is_dir():
        if not given.is_dir():
            raise InputError(f"there is no folder {given}")
        given = given.resolve()
        return given if kind == "raw" else base_folder(kind) / given.name
    raw = base_folder("raw")
    known = sorted(p.name for p in raw.glob("Dataset*") if p.is_dir())
    if dataset.isdigit():
        found = [name for name in known if name.startswith(f"Dataset{int(dataset):03d}_")]
        if len(found) > 1:
            raise InputError(f"dataset {dataset} is ambiguous: {', '.join(found)}; give the name")
    else:
        found = [name for name in known if name == dataset]
    if not found:
        some = ", ".join(known[:5]) or "none"
        raise InputError(
            f"{raw} has no dataset {dataset!r}{did_you_mean(dataset, known)} (there: {some})"
        )
    return raw / found[0] if kind == "raw" else base_folder(kind) / found[0]
