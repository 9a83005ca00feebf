"""`parts.json`: a model that is made of several networks, each with classes of its own.

Only the parts that a prompt needs are read, and, if there is a coarse network that knows the same
classes, only where it sees them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from textseg3d.errors import ModelError, PlansError
from textseg3d.plans.jsonio import from_json, to_json
from textseg3d.zoo.verify import PARTS_FILE

MAX_BYTES = 4 * 2**20


@dataclass(frozen=True)
class PartClass:
    """One class of one part.

    Attributes:
        name: canonical name, as the card lists it.
        label: as the source calls it.
        part: which part, from 0.
    """

    name: str
    label: str
    part: int


@dataclass(frozen=True)
class PartSource:
    """Where a part's weights lie, and how they are read.

    Attributes:
        folder: an nnU-Net results folder.
        options: of the conversion, see :func:`textseg3d.zoo.find.find_foreign`.
        labels: value (from 1) → label, in order; empty takes the folder's own.
    """

    folder: str
    options: dict[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class PartsSpec:
    """See the module.

    Attributes:
        source: for people.
        parts: the networks.
        classes: of all parts.
        coarse: a network that finds roughly where classes are.
        crop_to: labels of the coarse network that every part's work is confined to; empty
            confines it to the classes asked for, and in an exact run not at all.
        margin_mm: around what the coarse network finds.
        ct: whether scans hold HU.
    """

    source: str
    parts: tuple[PartSource, ...]
    classes: tuple[PartClass, ...]
    coarse: PartSource | None = None
    crop_to: tuple[str, ...] = ()
    margin_mm: float = 20.0
    ct: bool = True

    def __post_init__(self) -> None:
        if not self.parts or not self.classes:
            raise PlansError("a model of parts needs parts and classes")
        for item in self.classes:
            if not 0 <= item.part < len(self.parts):
                raise PlansError(f"class {item.label!r} belongs to part {item.part}, which is none")
        if self.crop_to and self.coarse is None:
            raise PlansError("crop_to needs a coarse network")

    def save(self, folder: Path) -> None:
        """Write `parts.json` into a folder that nobody reads yet."""
        text = json.dumps(to_json(self), indent=1, ensure_ascii=False, allow_nan=False)
        (folder / PARTS_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> PartsSpec:
        """Read `parts.json` of a model folder.

        Raises:
            ModelError: if it cannot be read or does not fit.
        """
        path = folder / PARTS_FILE
        try:
            if path.stat().st_size > MAX_BYTES:
                raise ModelError(f"{path} is larger than {MAX_BYTES} bytes")
            return from_json(cls, json.loads(path.read_text(encoding="utf-8")))
        except PlansError as error:
            raise ModelError(f"{path}: {error}; delete its folder, it is a cache") from None
        except (OSError, ValueError, RecursionError) as error:
            raise ModelError(f"{path} cannot be read as JSON: {error}") from None
