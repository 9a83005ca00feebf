"""The rules of named benchmarks: one module each, one function on folders each.

A protocol takes a :class:`FolderRequest` and returns a JSON object. :func:`protocol` finds it
by name; the modules are imported only then.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from textseg3d.errors import UsageError
from textseg3d.evaluation.protocols.folders import FolderRequest
from textseg3d.suggest import did_you_mean

PROTOCOLS = {
    "nnunet": "Dice and IoU per label, summary.json with nnU-Net's keys",
    "rexgroundingct": "Dice per finding, hits at 0.1, instances at Dice 0.2",
    "cvpr2025": "Dice and NSD at 2 mm over classes present, instances at IoU 0.5 (npz)",
    "sat": "Dice and NSD at 1 mm per label",
}
"""Name → what it scores."""


def protocol(name: str) -> Callable[[FolderRequest], dict[str, Any]]:
    """The scorer of that name.

    Raises:
        UsageError: if there is none.
    """
    if name not in PROTOCOLS:
        known = ", ".join(PROTOCOLS)
        raise UsageError(f"unknown protocol {name!r}{did_you_mean(name, PROTOCOLS)} ({known})")
    module = importlib.import_module(f"textseg3d.evaluation.protocols.{name}")
    score: Callable[[FolderRequest], dict[str, Any]] = module.score_folder
    return score


__all__ = ["PROTOCOLS", "FolderRequest", "protocol"]
