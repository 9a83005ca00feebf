"""Finds the data folders `plans/` and `model_zoo/` in an installed wheel or in the checkout."""

from __future__ import annotations

from pathlib import Path

from textseg3d.errors import ModelError

_PACKAGE = Path(__file__).resolve().parent


def data_folder(name: str) -> Path:
    """Folder ``name`` ("plans" or "model_zoo").

    The wheel carries them as ``textseg3d_plans`` and ``textseg3d_model_zoo`` beside the
    package (setup.py maps the names); a checkout has them at its top.

    Raises:
        ModelError: if neither place has the folder.
    """
    for folder in (_PACKAGE.parent / f"textseg3d_{name}", _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise ModelError(f"the data folder {name!r} is missing from this installation; reinstall it")
