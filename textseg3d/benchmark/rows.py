"""What a benchmark gives: rows of figures, and whether they reach what was set out to reach."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Triple = tuple[int, int, int]
Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        part: of the benchmark, a key of :data:`PARTS`.
        case: what was measured.
        measure: which property of it.
        value: the figure; None where it was not measured.
        unit: of the value, "" for plain numbers.
        runs: how many runs the figure is the median of.
        note: what else to know, or why there is no figure.
    """

    part: str
    case: str
    measure: str
    value: float | None
    unit: str = ""
    runs: int = 1
    note: str = ""


@dataclass(frozen=True)
class Target:
    """A figure that was set as a goal.

    Attributes:
        name: of the goal.
        limit: the figure to reach.
        at_least: whether it is a lower limit; else an upper one.
        value: measured.
        unit: of both.
    """

    name: str
    limit: float
    at_least: bool
    value: float
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass
class Results:
    """Everything of one benchmark run; ``failed`` names the parts that could not be measured."""

    rows: list[Row] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def add(
        self,
        part: str,
        case: str,
        figures: Iterable[tuple[str, float | None, str]],
        *,
        runs: int = 1,
        note: str = "",
    ) -> None:
        """Add the figures (measure, value, unit) of one case."""
        for measure, value, unit in figures:
            self.rows.append(Row(part, case, measure, value, unit, runs, note))


def parity_figures(scores: dict[str, Any]) -> list[tuple[str, float | None, str]]:
    """Figures of one candidate of the task "parity"."""
    return [
        ("voxels that differ", scores["differing"], ""),
        ("Dice of all voxels", scores["dice"], ""),
        ("mean Dice", scores["dice_mean"], ""),
        ("lowest Dice", scores["dice_min"], ""),
    ]


@dataclass(frozen=True)
class ClosedCase:
    """A comparison on one nnU-Net: classes, and voxels and spacing of the scan."""

    classes: int
    shape: Triple
    spacing_mm: Spacing
    monai: bool
    faster: float
    leaner: float
    note: str = ""


@dataclass(frozen=True)
class Sizes:
    """How large everything is.

    Attributes:
        torso, torso_mm: scan of the stage table, of parity and of many prompts.
        closed: comparisons on nnU-Nets.
        features, patch: of these.
        learn, phases: voxels of the scan that these are trained on, at their spacing; sides and
            numbers of crops.
        cube, cube_mm: scan of the session.
        cubic_mm: spacing to which input resampling is measured.
        prompts: how many to compare with one.
    """

    torso: Triple
    torso_mm: Spacing
    closed: tuple[ClosedCase, ...]
    features: tuple[int, ...]
    patch: Triple
    learn: Triple
    phases: tuple[tuple[int, int], ...]
    cube: Triple
    cube_mm: Spacing
    cubic_mm: Spacing
    prompts: int


LEARN_MM = (3.0, 3.0, 3.0)
"""Spacing of the nnU-Nets' grid."""
_SCALED = "in plane 352 instead of 512 voxels, since nnunetv2's memory grows with voxels × classes"
FULL = Sizes(
    torso=(300, 512, 512),
    torso_mm=(1.5, 0.8, 0.8),
    closed=(
        ClosedCase(20, (300, 512, 512), (1.5, 0.8, 0.8), True, 5, 4),
        ClosedCase(100, (300, 352, 352), (1.5, 409.6 / 352, 409.6 / 352), False, 10, 8, _SCALED),
    ),
    features=(16, 32, 64, 128, 160),
    patch=(96, 96, 96),
    learn=(150, 137, 137),
    phases=((48, 100), (96, 300)),
    cube=(300, 300, 300),
    cube_mm=(1.4, 1.4, 1.4),
    cubic_mm=(1.5, 1.5, 1.5),
    prompts=100,
)
QUICK = Sizes(
    torso=(48, 64, 64),
    torso_mm=(4.0, 4.0, 4.0),
    closed=(ClosedCase(4, (48, 64, 64), (5.0, 4.0, 4.0), True, 5, 4),),
    features=(4, 8, 8),
    patch=(32, 32, 32),
    learn=(80, 85, 85),
    phases=((32, 150),),
    cube=(48, 48, 48),
    cube_mm=(6.0, 6.0, 6.0),
    cubic_mm=(6.0, 6.0, 6.0),
    prompts=20,
)
PARTS: dict[str, str] = {
    "stages": "Where the time of a prediction goes",
    "parity": "Distance from a slow exact reference",
    "prompts": "One prompt against many",
    "session": "Prompts on an image that was set",
    "peers": "Beside other predictors, same scan and same weights",
    "resampling": "Input resampling against scikit-image, order 3",
    "kernels": "Triton kernels",
}


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        scan: a CT.
        prompts: for stage table, parity and session.
        model: name or folder of a prompt model.
        device: as in `textseg3d predict`.
        repeats: runs of which the median is taken; slow ones have fewer.
        parts: keys of :data:`PARTS`.
        sizes: how large.
        as_it_is: measure stages and parity on the scan itself instead of an enlarged one.
        work: folder for everything in between.
    """

    scan: Path
    prompts: tuple[str, ...]
    model: str
    device: str
    repeats: int
    parts: tuple[str, ...]
    sizes: Sizes
    as_it_is: bool
    work: Path
