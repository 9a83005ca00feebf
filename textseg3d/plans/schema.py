"""The content of `plans.json`: nnU-Net's fields, and what a prompted model needs on top.

Field names of the first group are nnU-Net v2's (Isensee et al., Nature Methods 2021; package
nnunetv2), so that its files are read unchanged. All triples are (z, y, x).
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from textseg3d.errors import PlansError
from textseg3d.plans.jsonio import from_json, to_json
from textseg3d.suggest import did_you_mean

Triple = tuple[float, float, float]
_TAKEN = ("model", "bank")  # names of files in every model folder
_STAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Intensity:
    """How one channel's values become network input.

    Attributes:
        scheme: "windows": each [low, high] window of HU is clipped and scaled to [-1, 1] and
            becomes a channel of its own (CT). "zscore": clip to the lower percentile of all
            values and the upper one inside the body, then subtract mean and divide by standard
            deviation of the body (MR, PET).
        windows: HU windows of scheme "windows".
        percentiles: clip of scheme "zscore".
        outside: value (in scan units) that stands for "no scan here" when padding.
    """

    scheme: Literal["windows", "zscore"] = "windows"
    windows: tuple[tuple[float, float], ...] = ((-1000.0, 1000.0), (-160.0, 240.0))
    percentiles: tuple[float, float] = (0.5, 99.5)
    outside: float = -1024.0

    @property
    def channels(self) -> int:
        """Network channels that one scan channel becomes."""
        return len(self.windows) if self.scheme == "windows" else 1


@dataclass(frozen=True)
class Architecture:
    """nnU-Net's ``architecture`` block; the class name is looked up in a registry."""

    network_class_name: str = "PromptUNet"
    arch_kwargs: dict[str, Any] = field(default_factory=dict)
    _kw_requires_import: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextSettings:
    """Which text encoder the model was trained with (a folder beside the plans, or a name).

    ``modality_token``: prompts carry a token for the modality, see `textseg3d.text.modality`.
    """

    encoder: str = "text"
    template: str = "{}"
    modality_token: bool = False


@dataclass(frozen=True)
class Cost:
    """What one window costs, as `textseg3d.plans.cost` estimates it.

    Attributes:
        parameters: trained numbers of the network.
        gflops_per_window: of the image side, 10⁹.
        gflops_per_prompt: of one more prompt on a window, 10⁹.
        training_gb: memory of a training step in bfloat16 with float32 weights, 10⁹ bytes.
        inference_gb: memory of one window, 10⁹ bytes.
        kept_mb_per_window: features that a session keeps for more prompts, 10⁶ bytes.
    """

    parameters: int
    gflops_per_window: float
    gflops_per_prompt: float
    training_gb: float
    inference_gb: float
    kept_mb_per_window: float


@dataclass(frozen=True)
class Configuration:
    """One resolution of a model. Fields up to ``next_stage`` are nnU-Net's.

    A configuration with a ``cascade`` is a stage of a model: it runs only where the coarse
    configuration of that name finds the targets ``within`` (canonical names, their union), and
    answers the targets ``answers`` instead of it. Its windows are placed in the box of that union,
    as those of the coarse one are in the body's. (nnU-Net's ``previous_stage`` is something else:
    its maps are the next one's input.)
    """

    spacing: Triple
    patch_size: tuple[int, int, int]
    batch_size: int = 1
    architecture: Architecture = Architecture()
    data_identifier: str | None = None
    preprocessor_name: str | None = None
    median_image_size_in_voxels: Triple | None = None
    normalization_schemes: tuple[str, ...] | None = None
    use_mask_for_norm: tuple[bool, ...] | None = None
    resampling_fn_data: str | None = None
    resampling_fn_data_kwargs: dict[str, Any] | None = None
    resampling_fn_seg: str | None = None
    resampling_fn_seg_kwargs: dict[str, Any] | None = None
    resampling_fn_probabilities: str | None = None
    resampling_fn_probabilities_kwargs: dict[str, Any] | None = None
    batch_dice: bool | None = None
    previous_stage: str | None = None
    next_stage: str | None = None
    intensity: tuple[Intensity, ...] = (Intensity(),)
    window_step: float = 0.75
    text: TextSettings = TextSettings()
    cascade: str | None = None
    within: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    cost: Cost | None = None

    def __post_init__(self) -> None:
        """Check what a wrong hand-edit would break silently."""
        if not 0 < self.window_step <= 1:
            raise PlansError(f"window_step is {self.window_step}, expected 0 < step <= 1")
        if min(self.spacing) <= 0 or min(self.patch_size) <= 0:
            raise PlansError(
                f"spacing {self.spacing} and patch_size {self.patch_size} must be positive"
            )
        for name in ("within", "answers"):
            if bool(getattr(self, name)) != (self.cascade is not None):
                raise PlansError(
                    f"{name} is {list(getattr(self, name))} and cascade {self.cascade!r}; a stage "
                    "has a cascade, and names in within and answers, other configurations none"
                )

    @property
    def network_channels(self) -> int:
        """Input channels of the network, after the intensity schemes."""
        return sum(intensity.channels for intensity in self.intensity)


@dataclass(frozen=True)
class Plans:
    """`plans.json`. ``configurations`` may inherit from each other in the file; not here.

    nnU-Net's plans also hold configurations for slices (``2d``). They are kept as they are in
    ``flat_configurations``, so that a file survives reading and writing, but not run.
    """

    dataset_name: str
    plans_name: str
    configurations: dict[str, Configuration]
    original_median_spacing_after_transp: Triple | None = None
    original_median_shape_after_transp: Triple | None = None
    image_reader_writer: str | None = None
    transpose_forward: tuple[int, int, int] = (0, 1, 2)
    transpose_backward: tuple[int, int, int] = (0, 1, 2)
    experiment_planner_used: str | None = None
    label_manager: str | None = None
    foreground_intensity_properties_per_channel: dict[str, Any] | None = None
    flat_configurations: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that every stage has its coarse configuration, and no answer two stages."""
        answered: dict[str, str] = {}
        for name, one in self.configurations.items():
            if one.cascade is None:
                continue
            if name in _TAKEN or not _STAGE_NAME.fullmatch(name):
                raise PlansError(
                    f"a stage cannot be called {name!r}, as its weights file is; use letters and "
                    f"digits, and not {' or '.join(_TAKEN)}"
                )
            coarse = self.configurations.get(one.cascade)
            if coarse is None or coarse.cascade is not None:
                usable = [n for n, c in self.configurations.items() if c.cascade is None]
                raise PlansError(
                    f"configuration {name!r} has cascade {one.cascade!r}, expected one without a "
                    f"cascade{did_you_mean(one.cascade, usable)} (known: "
                    f"{', '.join(usable) or 'none'})"
                )
            for target in one.answers:
                first = answered.setdefault(target, name)
                if first != name and self.configurations[first].cascade == one.cascade:
                    raise PlansError(f"{target!r} is answered by both {first!r} and {name!r}")
        for name, one in self.configurations.items():
            for target in one.within:
                if target in answered:
                    raise PlansError(
                        f"{name!r} looks into {target!r}, which the stage {answered[target]!r} "
                        "answers; a stage looks into what the coarse configuration answers"
                    )

    @property
    def main(self) -> str:
        """Name of the configuration that predicts where none is chosen: the first that is no stage.

        Raises:
            PlansError: if there is none.
        """
        for name, one in self.configurations.items():
            if one.cascade is None:
                return name
        raise PlansError(f"the plans {self.plans_name!r} have no configuration to predict with")

    def stages(self, name: str) -> dict[str, Configuration]:
        """The stages of configuration ``name``, by their names."""
        return {n: c for n, c in self.configurations.items() if c.cascade == name}

    def configuration(self, name: str) -> Configuration:
        """Configuration ``name``; PlansError with a suggestion if there is none."""
        if name in self.flat_configurations:
            known = ", ".join(self.configurations) or "none"
            raise PlansError(
                f"configuration {name!r} segments slices, textseg3d volumes; use one of: {known}"
            )
        if name not in self.configurations:
            hint = did_you_mean(name, self.configurations)
            known = ", ".join(self.configurations)
            raise PlansError(f"plans have no configuration {name!r}{hint} (known: {known})")
        return self.configurations[name]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Plans:
        """Plans from parsed JSON, with ``inherits_from`` resolved.

        Raises:
            PlansError: for unknown keys, wrong types or a cycle of inheritance.
        """
        configurations = data.get("configurations") if isinstance(data, dict) else None
        if not isinstance(configurations, dict):
            raise PlansError("plans need an object 'configurations'")
        resolved = {name: _inherit(name, configurations, ()) for name in configurations}
        flat = {n: c for n, c in resolved.items() if _is_flat(c)}
        deep = {n: c for n, c in resolved.items() if n not in flat}
        return from_json(cls, {**data, "configurations": deep, "flat_configurations": flat})

    @classmethod
    def load(cls, path: Path) -> Plans:
        """Read a plans file."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise PlansError(f"{path}: cannot be read as JSON ({error})") from None
        return cls.from_dict(data)

    def save(self, path: Path) -> None:
        """Write the file, with every default spelled out."""
        data = to_json(self)
        data["configurations"] = {**data.pop("flat_configurations"), **data["configurations"]}
        Path(path).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")

    def replace(self, **changes: Any) -> Plans:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


def stage_weights(name: str) -> str:
    """File name of a stage's weights in a model folder."""
    return f"{name}.safetensors"


def _is_flat(configuration: dict[str, Any]) -> bool:
    spacing = configuration.get("spacing")
    return isinstance(spacing, list) and len(spacing) == 2


def _inherit(name: str, configurations: dict[str, Any], seen: tuple[str, ...]) -> dict[str, Any]:
    if name in seen:
        raise PlansError(f"inherits_from goes in a circle: {' → '.join((*seen, name))}")
    if name not in configurations:
        raise PlansError(f"inherits_from names {name!r}{did_you_mean(name, configurations)}")
    own = dict(configurations[name])
    parent = own.pop("inherits_from", None)
    return own if parent is None else {**_inherit(parent, configurations, (*seen, name)), **own}
