"""`open.json`: everything that running a converted VoxTell or SAT needs, checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from textseg3d.errors import PlansError
from textseg3d.inference.closed.spec import Architecture
from textseg3d.plans.jsonio import load_spec, save_spec

SPEC_FILE = "open.json"
BANK_FILE = "bank.safetensors"


@dataclass(frozen=True)
class TextModel:
    """The encoder behind a network's text vectors.

    Attributes:
        width: numbers per text.
        name: of the encoder that makes them ("Qwen/Qwen3-Embedding-4B"); "" if there is none here.
        instruction: put before each text.
        modalities: names that a text vector also depends on ("ct"); empty for none.
    """

    width: int
    name: str = ""
    instruction: str = ""
    modalities: tuple[str, ...] = ()


@dataclass(frozen=True)
class OpenSpec:
    """A network that takes any text.

    Attributes:
        kind: whose network it is.
        source: where it comes from, for people.
        architecture: encoder, and the decoder's convolutions.
        patch_size: of a window, axes as the network has them: (z, y, x) of the scan turned to
            RAS for VoxTell, (x, y, z) for SAT.
        text: the encoder of texts.
        query_width: of texts in the decoder.
        hidden: of the text layers' linear part.
        layers: of the text decoder.
        fused: VoxTell: decoder stages that meet the text, counted from the finest.
        heads: VoxTell: maps that each of these stages gets.
        memory_stage: VoxTell: encoder stage that the text looks at.
        channels: inputs; SAT's networks take the same scan three times.
        spacing: mm that scans are brought to; axes as ``patch_size``; None leaves
            them as they are.
        modality: SAT: of scans, "ct", "mri" or "pet".
        source_sha256: file → sha256 of what was converted.
    """

    kind: Literal["voxtell", "sat"]
    source: str
    architecture: Architecture
    patch_size: tuple[int, int, int]
    text: TextModel
    query_width: int
    hidden: int = 2048
    layers: int = 6
    fused: int = 5
    heads: int = 1
    memory_stage: int = 4
    channels: int = 1
    spacing: tuple[float, float, float] | None = None
    modality: str = ""
    source_sha256: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        stages = len(self.architecture.features)
        if not 0 <= self.memory_stage < stages or not 1 <= self.fused < stages:
            raise PlansError(f"memory_stage or fused does not fit {stages} stages")
        sizes = (self.text.width, self.query_width, self.hidden, self.layers, self.heads)
        if min(*sizes, self.channels, *self.patch_size) < 1 or max(self.patch_size) > 4096:
            raise PlansError("a size of the network is not usable")

    def save(self, folder: Path) -> None:
        """Write `open.json` into a folder that nobody reads yet."""
        save_spec(self, folder / SPEC_FILE)

    @classmethod
    def load(cls, folder: Path) -> OpenSpec:
        """Read `open.json` of a model folder.

        Raises:
            ModelError: if it cannot be read or does not fit.
        """
        return load_spec(cls, folder / SPEC_FILE, "convert the model again")
