"""`nnunet.json`: everything that running a converted nnU-Net needs, resolved and checked.

The folder's `plans.json` and `dataset.json` are the source's own, kept for the record; nothing
is looked up in them again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from textseg3d.errors import PlansError
from textseg3d.plans.jsonio import load_spec, save_spec

SPEC_FILE = "nnunet.json"
SCHEMES = (
    "CTNormalization",
    "ZScoreNormalization",
    "NoNormalization",
    "RescaleTo01Normalization",
    "RGBTo01Normalization",
)


@dataclass(frozen=True)
class Channel:
    """How one input channel is normalised.

    Attributes:
        name: as dataset.json has it ("CT", "T1").
        scheme: one of :data:`SCHEMES`, with nnU-Net's formula of that name.
        use_mask: z-score inside the non-zero region only.
        mean, std, low, high: foreground statistics and percentiles 0.5 and 99.5 for CT.
    """

    name: str
    scheme: str
    use_mask: bool = False
    mean: float = 0.0
    std: float = 1.0
    low: float = 0.0
    high: float = 0.0

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise PlansError(
                f"normalisation {self.scheme!r} of channel {self.name!r} is not one of "
                f"{', '.join(SCHEMES)}"
            )


@dataclass(frozen=True)
class Resampling:
    """Spline orders, and when the axis of thick slices is treated apart.

    Attributes:
        order: in plane (or everywhere).
        order_z: along the thick axis where it is treated apart; only 0 exists here.
        separate: force it on or off; None decides by ``threshold``.
        threshold: largest over smallest spacing above which it is on.
    """

    order: int
    order_z: int = 0
    separate: bool | None = None
    threshold: float = 3.0

    def __post_init__(self) -> None:
        if self.order not in (0, 1, 3) or self.order_z != 0:
            raise PlansError(
                f"resampling of order {self.order} and, along z, {self.order_z}; orders 0, 1 and "
                "3, and 0 along z, can be reproduced"
            )


@dataclass(frozen=True)
class ClosedClass:
    """One class that a prompt can ask for.

    Attributes:
        name: canonical name, as the card lists it.
        label: as dataset.json has it.
        values: values in the label map that belong to it (several for a region).
        head: output channel whose logit stands for it.
    """

    name: str
    label: str
    values: tuple[int, ...]
    head: int


@dataclass(frozen=True)
class Architecture:
    """A U-Net of dynamic_network_architectures.

    Attributes:
        kind: class name.
        features, kernels, strides: per stage.
        encoder: convolutions (plain) or blocks (residual) per stage.
        decoder: convolutions per stage of the decoder.
        bias: of the convolutions.
        norm_eps: of the instance norm; it is affine if ``norm_affine``.
        activation: "LeakyReLU" or "ReLU".
        slope: of the LeakyReLU.
    """

    kind: Literal["PlainConvUNet", "ResidualEncoderUNet"]
    features: tuple[int, ...]
    kernels: tuple[tuple[int, int, int], ...]
    strides: tuple[tuple[int, int, int], ...]
    encoder: tuple[int, ...]
    decoder: tuple[int, ...]
    bias: bool = True
    norm_eps: float = 1e-5
    norm_affine: bool = True
    activation: Literal["LeakyReLU", "ReLU"] = "LeakyReLU"
    slope: float = 0.01

    def __post_init__(self) -> None:
        stages = len(self.features)
        lengths = {len(self.kernels), len(self.strides), len(self.encoder), len(self.decoder) + 1}
        if stages < 2 or lengths != {stages}:
            raise PlansError(
                f"the architecture has {stages} stages of features, but kernels, strides, encoder "
                f"and decoder for {sorted(lengths)}"
            )
        if stages > 12 or max(self.features) > 4096 or max(*self.encoder, *self.decoder) > 64:
            raise PlansError("the architecture is larger than any U-Net known; check plans.json")


@dataclass(frozen=True)
class ClosedSpec:
    """A closed-vocabulary model.

    Attributes:
        source: dataset, trainer and configuration that it comes from, for people.
        spacing: (a, b, c) mm of the network's grid, axes after ``transpose``.
        patch_size: of a window, axes after ``transpose``.
        transpose: axes of the network's grid out of the reader's (z, y, x).
        orientation: "file" (the axes as the file stores them, as nnU-Net's usual readers give
            them) or "RAS" (the file turned to the nearest RAS orientation first).
        channels: inputs.
        classes: what can be asked for.
        labels: values of the label map: by output channel, or, with ``regions``, written by the
            channels in this order.
        regions: sigmoid heads of overlapping regions, not one softmax.
        architecture: of the network.
        data_resampling, logits_resampling: of scans and of logits.
        mirror_axes: axes along which windows are also predicted mirrored and averaged.
        folds: names of the ensemble's members, prefixes in the weights file.
        source_sha256: checkpoint → sha256 of the file that was converted.
        step: largest distance of neighbouring windows of an exact run, as a share of a window.
        pipeline: what happens around the network in an exact run: nnU-Net's steps, or
            TotalSegmentator's (see :mod:`textseg3d.inference.closed.coarse_grid`).
    """

    source: str
    spacing: tuple[float, float, float]
    patch_size: tuple[int, int, int]
    transpose: tuple[int, int, int]
    channels: tuple[Channel, ...]
    classes: tuple[ClosedClass, ...]
    labels: tuple[int, ...]
    architecture: Architecture
    folds: tuple[str, ...]
    regions: bool = False
    orientation: Literal["file", "RAS"] = "file"
    data_resampling: Resampling = field(default_factory=lambda: Resampling(3))
    logits_resampling: Resampling = field(default_factory=lambda: Resampling(1))
    mirror_axes: tuple[int, ...] = ()
    source_sha256: dict[str, str] = field(default_factory=dict)
    step: float = 0.5
    pipeline: Literal["nnunet", "totalsegmentator"] = "nnunet"

    def __post_init__(self) -> None:
        if sorted(self.transpose) != [0, 1, 2]:
            raise PlansError(f"transpose is {list(self.transpose)}; expected an order of 0, 1, 2")
        if min(self.spacing) <= 0 or min(self.patch_size) < 1 or max(self.patch_size) > 4096:
            raise PlansError(f"spacing {self.spacing} or patch {self.patch_size} is not usable")
        if not self.channels or not self.folds or not self.labels or not self.classes:
            raise PlansError("a model needs channels, folds, labels and classes")
        if self.logits_resampling.order > 1:
            raise PlansError("logits can be resampled with order 0 or 1, not 3")
        if not 0 < self.step <= 1:
            raise PlansError(f"the step is {self.step}; expected more than 0 and at most 1")
        if set(self.mirror_axes) - {0, 1, 2}:
            raise PlansError(f"mirror axes {self.mirror_axes} are not among 0, 1, 2")
        known = set(self.labels) | {0}
        for item in self.classes:
            if set(item.values) - known or not 0 <= item.head < len(self.labels):
                raise PlansError(f"class {item.label!r} is not an output of this network")

    def save(self, folder: Path) -> None:
        """Write `nnunet.json` into a folder that nobody reads yet."""
        save_spec(self, folder / SPEC_FILE)

    @classmethod
    def load(cls, folder: Path) -> ClosedSpec:
        """Read `nnunet.json` of a model folder.

        Raises:
            ModelError: if it cannot be read or does not fit.
        """
        return load_spec(cls, folder / SPEC_FILE, "convert the model again")
