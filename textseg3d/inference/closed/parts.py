"""`parts.json`: a model that is made of several networks, each with classes of its own.

Only the parts that a prompt needs are read, and, if there is a coarse network that knows the same
classes, only where it sees them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from textseg3d.errors import PlansError
from textseg3d.plans.jsonio import load_spec, save_spec
from textseg3d.zoo.verify import PARTS_FILE


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
        save_spec(self, folder / PARTS_FILE)

    @classmethod
    def load(cls, folder: Path) -> PartsSpec:
        """Read `parts.json` of a model folder.

        Raises:
            ModelError: if it cannot be read or does not fit.
        """
        return load_spec(cls, folder / PARTS_FILE, "delete its folder, it is a cache")
