"""From nnU-Net's plans to the configuration of a prompted network on the same data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from textseg3d.errors import PlansError
from textseg3d.plans.schema import Architecture, Configuration, Intensity, Plans
from textseg3d.suggest import did_you_mean

OWN_NETWORK = "PromptUNet"
# Widths at strides 2, 4, 8 …; a patch too small for the last ones does without them.
NETWORKS: dict[str, dict[str, Any]] = {
    "nano": {
        "widths": (24, 48, 96, 128, 128), "blocks": (1, 1, 1, 1, 1),
        "feature_channels": 16, "attention_width": 96, "attention_layers": 1,
    },
    "small": {
        "widths": (32, 64, 128, 192, 192), "blocks": (1, 1, 2, 2, 1),
        "feature_channels": 24, "attention_width": 128, "attention_layers": 2,
    },
    "base": {
        "widths": (48, 96, 192, 320, 320, 320), "blocks": (1, 2, 3, 3, 3, 2),
        "feature_channels": 32, "attention_width": 192, "attention_layers": 3,
    },
}  # fmt: skip
MIN_STAGES = 4
# nnU-Net's schemes that are, per scan, a scale and a shift: z-score inside the body undoes them.
AFFINE_SCHEMES = ("ZScoreNormalization", "RescaleTo01Normalization", "RGBTo01Normalization")


def prompted_configuration(
    plans: Plans,
    name: str,
    *,
    network: str = "small",
    embed_dim: int = 192,
    modality_token: bool = False,
) -> Configuration:
    """The prompted configuration that trains on a configuration's preprocessed cases.

    Spacing and patch are nnU-Net's, brought to (z, y, x) order; the patch becomes a multiple of
    what the network's strides need. Plans whose network already is a PromptUNet are kept.

    Args:
        plans: of the dataset.
        name: of the configuration.
        network: "nano", "small" or "base"; only for plans of another network.
        embed_dim: width of the text encoder.
        modality_token: give prompts one, also where the plans do not.

    Raises:
        PlansError: for an unknown configuration or network, a cascade, or intensities that
            cannot be had from the preprocessed cases.
    """
    found = plans.configuration(name)
    if found.previous_stage is not None:
        raise PlansError(
            f"{name!r} is the second stage of a cascade, which prompted training lacks; train "
            "3d_fullres or 3d_lowres"
        )
    if found.cascade is not None:
        raise PlansError(
            f"{name!r} is a stage that looks into what {found.cascade!r} finds; it is trained on a "
            "prepared set (training.json), with --model-folder, not on a dataset"
        )
    order = plans.transpose_backward
    z, y, x = (found.spacing[axis] for axis in order)
    architecture = found.architecture
    if architecture.network_class_name == OWN_NETWORK:
        if architecture.arch_kwargs.get("embed_dim", 192) != embed_dim:
            raise PlansError(
                f"the plans' network takes texts of width "
                f"{architecture.arch_kwargs.get('embed_dim', 192)}, the encoder gives {embed_dim}"
            )
        patch = tuple(found.patch_size[axis] for axis in order)
    else:
        if network not in NETWORKS:
            known = ", ".join(NETWORKS)
            raise PlansError(
                f"unknown network {network!r}{did_you_mean(network, NETWORKS)} (known: {known})"
            )
        wanted = [found.patch_size[axis] for axis in order]
        stages = _stages(wanted, len(NETWORKS[network]["widths"]))
        median = found.median_image_size_in_voxels
        scan = None if median is None else [median[axis] for axis in order]
        patch = tuple(_rounded(wanted, scan, 2**stages))
        arguments = dict(NETWORKS[network], embed_dim=embed_dim)
        for key in ("widths", "blocks"):
            arguments[key] = list(arguments[key][:stages])
        architecture = Architecture(OWN_NETWORK, arguments)
    return dataclasses.replace(
        found,
        spacing=(z, y, x),
        patch_size=(patch[0], patch[1], patch[2]),
        architecture=architecture,
        intensity=_intensities(plans, found, name),
        median_image_size_in_voxels=None,
        text=dataclasses.replace(
            found.text, modality_token=found.text.modality_token or modality_token
        ),
    )


def _stages(patch: Sequence[int], most: int) -> int:
    """As many stages as leave at least two voxels of the shortest side, four at the least."""
    stages = most
    while stages > MIN_STAGES and min(patch) < 2 ** (stages + 1):
        stages -= 1
    return stages


def _rounded(patch: Sequence[int], scan: Sequence[float] | None, divisor: int) -> list[int]:
    """Multiples of ``divisor``: up where the patch holds the whole scan, else the nearest."""
    sides = []
    for axis, n in enumerate(patch):
        whole = scan is None or scan[axis] <= n
        steps = -(-n // divisor) if whole else round(n / divisor)
        sides.append(max(1, steps) * divisor)
    return sides


def _intensities(plans: Plans, found: Configuration, name: str) -> tuple[Intensity, ...]:
    """Schemes for the scan's own values that fit what preprocessing left of them.

    CTNormalization clips, and is a known scale and shift otherwise; the others are undone by
    z-score inside the body, or change nothing.
    """
    schemes = found.normalization_schemes
    if schemes is None:
        raise PlansError(f"configuration {name!r} has no normalization_schemes; plan again")
    statistics = plans.foreground_intensity_properties_per_channel or {}
    own = found.intensity if found.intensity != (Intensity(),) else None
    if own is not None and len(own) != len(schemes):
        raise PlansError(
            f"configuration {name!r} has {len(own)} intensities for {len(schemes)} channels"
        )
    result = []
    for channel, scheme in enumerate(schemes):
        wanted = None if own is None else own[channel]
        if scheme == "CTNormalization":
            values = statistics.get(str(channel), {})
            low = float(values["percentile_00_5"])
            high = max(float(values["percentile_99_5"]), low + 1)
            wanted = wanted or Intensity("windows", ((low, high),))
            kept = wanted.scheme == "windows" and all(
                low - 1 <= a and b <= high + 1 for a, b in wanted.windows
            )
        elif scheme in AFFINE_SCHEMES:
            wanted = wanted or Intensity("zscore", outside=0.0)
            kept = wanted.scheme == "zscore"
        else:
            wanted = wanted or (
                found.intensity[channel] if channel < len(found.intensity) else None
            )
            kept = wanted is not None
        if not kept or wanted is None:
            raise PlansError(
                f"configuration {name!r}: channel {channel} was preprocessed with {scheme}, which "
                "does not keep what its intensity scheme needs; use NoNormalization and preprocess"
            )
        result.append(wanted)
    return tuple(result)


def scan_units(schemes: Sequence[str], statistics: dict[str, Any]) -> list[tuple[float, float]]:
    """Per channel (scale, shift) from stored values to the scan's own, where they matter."""
    result = []
    for channel, scheme in enumerate(schemes):
        values = statistics.get(str(channel), {})
        if scheme == "CTNormalization":
            result.append((max(float(values["std"]), 1e-8), float(values["mean"])))
        else:
            result.append((1.0, 0.0))
    return result
