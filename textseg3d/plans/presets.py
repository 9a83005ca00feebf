"""Presets: prompted networks for a machine, and how one is fitted to a dataset.

``plans/*.json`` with a configuration of architecture PromptUNet are presets. Fitting keeps the
network and the spacing; windows shrink to what the scans and the memory allow.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from textseg3d.errors import PlansError
from textseg3d.plans.cost import DEFAULTS, cost
from textseg3d.plans.fingerprint import Fingerprint
from textseg3d.plans.jsonio import from_json, to_json
from textseg3d.plans.schema import Configuration, Intensity, Plans
from textseg3d.resources import data_folder
from textseg3d.suggest import did_you_mean

RESERVE = 0.8  # share of the memory to plan with; the rest is the framework's
_FROM_FULLRES = (
    "preprocessor_name", "resampling_fn_data", "resampling_fn_data_kwargs", "resampling_fn_seg",
    "resampling_fn_seg_kwargs", "resampling_fn_probabilities", "resampling_fn_probabilities_kwargs",
)  # fmt: skip


def preset_names() -> list[str]:
    """Presets that are installed."""
    return sorted(path.stem for path in data_folder("plans").glob("*.json"))


def load_preset(name: str) -> Configuration:
    """The configuration of a preset, by name or as a plans file with a single configuration.

    Stages of a cascade are left aside.

    Raises:
        PlansError: if there is none of that name, or the file has several configurations.
    """
    path = Path(name)
    if path.suffix != ".json":
        known = preset_names()
        if name not in known:
            hint = did_you_mean(name, known)
            raise PlansError(f"there is no preset {name!r}{hint} (known: {', '.join(known)})")
        path = data_folder("plans") / f"{name}.json"
    plans = Plans.load(path)
    whole = [one for one in plans.configurations.values() if one.cascade is None]
    if len(whole) != 1:
        raise PlansError(f"{path} has {len(whole)} configurations, expected one")
    return whole[0]


def fit_preset(
    name: str,
    plans: dict[str, Any],
    fingerprint: Fingerprint,
    channel_names: Sequence[str],
    *,
    memory_gb: float | None = None,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A preset's configuration for a dataset, and why it looks as it does.

    Args:
        name: of the preset, or a plans file; its stem names the configuration.
        plans: of the dataset, with 3d_fullres, whose normalisation and resampling are taken.
        fingerprint: of the dataset.
        channel_names: of the dataset.
        memory_gb: of the machine; training may use four fifths of it. None sets no limit.

    Returns:
        the configuration as JSON values, and one line per decision.

    Raises:
        PlansError: if the dataset has no 3d_fullres, or no window fits into the memory.
    """
    preset = load_preset(name)
    label = Path(name).stem
    fullres = plans["configurations"].get("3d_fullres")
    if fullres is None:
        raise PlansError(f"the dataset is one slice thick; the preset {label} is for volumes")
    spacing = np.array(preset.spacing)
    forward = plans["transpose_forward"]
    shapes = [
        np.array(shape)[forward] * np.array(old)[forward] / spacing
        for shape, old in zip(fingerprint.shapes_after_crop, fingerprint.spacings, strict=True)
    ]
    median = [max(1, round(float(n))) for n in np.median(shapes, axis=0)]
    reasons = [
        f"{label}: spacing {_text(preset.spacing)} mm and network of the preset; the median scan "
        f"has {_text(median)} voxels there"
    ]
    step = 2 ** len({**DEFAULTS, **preset.architecture.arch_kwargs}["widths"])
    patch = [
        min(n, max(step, math.ceil(m / step) * step))
        for n, m in zip(preset.patch_size, median, strict=True)
    ]
    if tuple(patch) != preset.patch_size:
        reasons.append(
            f"{label}: window {_text(patch)} instead of {_text(preset.patch_size)}: no larger than "
            f"the median scan, in steps of {step}"
        )
    fitted = dataclasses.replace(
        preset, patch_size=_triple(patch), intensity=_intensities(preset, fullres, channel_names)
    )
    budget = None if memory_gb is None else RESERVE * memory_gb
    while budget is not None and cost(fitted).training_gb > budget:
        axis = int(np.argmax(fitted.patch_size))
        smaller = [n - step if a == axis else n for a, n in enumerate(fitted.patch_size)]
        if min(smaller) < step:
            raise PlansError(
                f"the preset {label} needs {cost(fitted).training_gb} GB for its smallest window; "
                f"{memory_gb:g} GB allow {budget:.2f}; choose a smaller preset"
            )
        fitted = dataclasses.replace(fitted, patch_size=_triple(smaller))
    if fitted.patch_size != tuple(patch):
        reasons.append(
            f"{label}: window {_text(fitted.patch_size)}: training may use {budget:.1f} of "
            f"{memory_gb:g} GB"
        )
    spent = cost(fitted)
    reasons.append(
        f"{label}: {spent.parameters / 1e6:.1f} M parameters; a window costs "
        f"{spent.gflops_per_window:g} GFLOP and {spent.gflops_per_prompt:g} more per prompt; "
        f"estimated memory {spent.training_gb:g} GB to train, {spent.inference_gb:g} GB to predict"
    )
    # HU windows are cut from HU: the dataset's clipping to its own foreground would be in the way.
    windows = [i.scheme == "windows" and i in preset.intensity for i in fitted.intensity]
    own = zip(windows, fullres["normalization_schemes"], strict=True)
    masks = zip(windows, fullres["use_mask_for_norm"], strict=True)
    kept = {
        **{key: fullres[key] for key in _FROM_FULLRES},
        "normalization_schemes": ["NoNormalization" if hu else name for hu, name in own],
        "use_mask_for_norm": [masked and not hu for hu, masked in masks],
    }
    final = dataclasses.replace(
        fitted,
        data_identifier=f"{plans['plans_name']}_{label}",
        median_image_size_in_voxels=_triple(float(n) for n in median),
        cost=spent,
    )
    return {**to_json(final), **kept}, tuple(reasons)


def _intensities(
    preset: Configuration, fullres: dict[str, Any], channel_names: Sequence[str]
) -> tuple[Intensity, ...]:
    """The preset's HU windows for CT, the dataset's own scheme for any other channel."""
    planned = [from_json(Intensity, value) for value in fullres["intensity"]]
    windows = next((i for i in preset.intensity if i.scheme == "windows"), None)
    return tuple(
        windows if windows is not None and name.casefold() == "ct" else own
        for name, own in zip(channel_names, planned, strict=True)
    )


def _triple(values: Any) -> Any:
    return tuple(values)


def _text(values: Sequence[float]) -> str:
    return " × ".join(f"{float(v):.4g}" for v in values)
