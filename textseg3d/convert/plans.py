"""Reads nnU-Net's `plans.json` and `dataset.json` into the spec that runs the network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from textseg3d.errors import ModelError, PromptError
from textseg3d.inference.closed.spec import Architecture, Channel, ClosedClass, Resampling
from textseg3d.suggest import did_you_mean

MAX_JSON_BYTES = 64 * 2**20
DEFAULT_RESAMPLING = "resample_data_or_seg_to_shape"
_KINDS = ("PlainConvUNet", "ResidualEncoderUNet")


def read_json(path: Path) -> dict[str, Any]:
    """An object from a JSON file.

    Raises:
        ModelError: if it is missing, too long or not an object.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ModelError(f"{path} is larger than {MAX_JSON_BYTES} bytes")
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{path.parent} has no {path.name}; give nnU-Net's folder "
            "Trainer__Plans__Configuration with plans.json, dataset.json and fold_0, fold_1, …"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as JSON: {error!s:.120}") from None
    if not isinstance(data, dict):
        raise ModelError(f"{path} holds no JSON object")
    return data


def resolve_configuration(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A configuration with what it inherits.

    Raises:
        ModelError: if it is missing, inherits from itself, is two-dimensional or a cascade's
            second stage.
    """
    known = plans.get("configurations")
    if not isinstance(known, dict) or name not in known:
        names = list(known) if isinstance(known, dict) else []
        raise ModelError(
            f"plans.json has no configuration {name!r}{did_you_mean(name, names)}; it has "
            f"{', '.join(names) or 'none'}"
        )
    merged: dict[str, Any] = {}
    visited: list[str] = []
    current: Any = name
    while current is not None:
        if current in visited or current not in known:
            raise ModelError(
                f"configuration {name!r} inherits from {current!r}, which is not sound"
            )
        visited.append(current)
        merged = {**known[current], **merged}
        current = known[current].get("inherits_from")
    if len(merged.get("patch_size", ())) != 3:
        raise ModelError(f"configuration {name!r} is not 3-D; 3d_fullres and 3d_lowres can be run")
    if merged.get("previous_stage") is not None:
        raise ModelError(
            f"configuration {name!r} is the second stage of a cascade, which is not supported; "
            "convert 3d_fullres or 3d_lowres"
        )
    return merged


def read_architecture(configuration: Mapping[str, Any]) -> Architecture:
    """The network, from current plans or those before nnU-Net 2.4.

    Raises:
        ModelError: if it is another network than the two that can be built.
    """
    if "architecture" not in configuration:
        return _old_architecture(configuration)
    entry = configuration["architecture"]
    kind = str(entry.get("network_class_name", "")).rpartition(".")[2]
    if kind not in _KINDS:
        raise ModelError(
            f"the network is {kind or 'not named'!r}; {' and '.join(_KINDS)} can be run"
        )
    arguments = dict(entry.get("arch_kwargs", {}))
    stages = int(arguments.pop("n_stages"))
    blocks = "n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage"
    norm = dict(arguments.pop("norm_op_kwargs", None) or {})
    activation = str(arguments.pop("nonlin", "")).rpartition(".")[2]
    slope = dict(arguments.pop("nonlin_kwargs", None) or {})
    _expect(arguments.pop("conv_op", None), "Conv3d")
    _expect(arguments.pop("norm_op", None), "InstanceNorm3d")
    if activation not in ("LeakyReLU", "ReLU"):
        raise ModelError(f"the activation is {activation!r}; LeakyReLU and ReLU can be run")
    result = Architecture(
        kind=kind,  # type: ignore[arg-type]
        features=_per_stage(arguments.pop("features_per_stage"), stages),
        kernels=_triples(arguments.pop("kernel_sizes"), stages),
        strides=_triples(arguments.pop("strides"), stages),
        encoder=_per_stage(arguments.pop(blocks), stages),
        decoder=_per_stage(arguments.pop("n_conv_per_stage_decoder"), stages - 1),
        bias=bool(arguments.pop("conv_bias", False)),
        norm_eps=float(norm.pop("eps", 1e-5)),
        norm_affine=bool(norm.pop("affine", False)),
        activation=activation,  # type: ignore[arg-type]
        slope=float(slope.pop("negative_slope", 0.01)),
    )
    slope.pop("inplace", None)
    for name in ("dropout_op", "dropout_op_kwargs", "deep_supervision"):
        arguments.pop(name, None)  # without effect on predictions
    left = [
        k for part in (arguments, norm, slope) for k, v in part.items() if v not in (None, False)
    ]
    if left:
        raise ModelError(f"the architecture has the option {left[0]!r}, which cannot be run")
    return result


def _old_architecture(configuration: Mapping[str, Any]) -> Architecture:
    kind = configuration.get("UNet_class_name")
    if kind not in _KINDS:
        raise ModelError(f"the network is {kind!r}; {' and '.join(_KINDS)} can be run")
    encoder = configuration["n_conv_per_stage_encoder"]
    base, most = configuration["UNet_base_num_features"], configuration["unet_max_num_features"]
    stages = len(encoder)
    return Architecture(
        kind=kind,
        features=tuple(min(int(base) * 2**i, int(most)) for i in range(stages)),
        kernels=_triples(configuration["conv_kernel_sizes"], stages),
        strides=_triples(configuration["pool_op_kernel_sizes"], stages),
        encoder=_per_stage(encoder, stages),
        decoder=_per_stage(configuration["n_conv_per_stage_decoder"], stages - 1),
    )


def _expect(value: Any, name: str) -> None:
    if str(value).rpartition(".")[2] != name:
        raise ModelError(f"the architecture uses {value!r}; only {name} can be run")


def _per_stage(value: Any, stages: int) -> tuple[int, ...]:
    return (int(value),) * stages if isinstance(value, int) else tuple(int(v) for v in value)


def _triples(value: Any, stages: int) -> tuple[tuple[int, int, int], ...]:
    rows = [value] * stages if isinstance(value, int) else value
    result = []
    for row in rows:
        a, b, c = (row,) * 3 if isinstance(row, int) else row
        result.append((int(a), int(b), int(c)))
    return tuple(result)


def read_resampling(configuration: Mapping[str, Any], what: str, order: int) -> Resampling:
    """Rule of ``resampling_fn_data`` or ``resampling_fn_probabilities``.

    Raises:
        ModelError: if it is another function than nnU-Net's default.
    """
    name = configuration.get(f"resampling_fn_{what}", DEFAULT_RESAMPLING)
    if name != DEFAULT_RESAMPLING:
        raise ModelError(f"{what} is resampled by {name!r}; only {DEFAULT_RESAMPLING!r} is known")
    options = dict(configuration.get(f"resampling_fn_{what}_kwargs") or {})
    options.pop("is_seg", None)
    result = Resampling(
        int(options.pop("order", order)),
        int(options.pop("order_z", 0)),
        options.pop("force_separate_z", None),
        float(options.pop("separate_z_anisotropy_threshold", 3.0)),
    )
    if options:
        raise ModelError(f"resampling of {what} has the unknown option {min(options)!r}")
    return result


def read_channels(
    plans: Mapping[str, Any], configuration: Mapping[str, Any], dataset: Mapping[str, Any]
) -> tuple[Channel, ...]:
    """The input channels with their normalisation.

    Raises:
        ModelError: if plans and dataset do not name the same number.
    """
    names = dataset.get("channel_names") or dataset.get("modality") or {}
    schemes = configuration["normalization_schemes"]
    masks = configuration.get("use_mask_for_norm") or [False] * len(schemes)
    if not len(names) == len(schemes) == len(masks):
        raise ModelError(
            f"dataset.json names {len(names)} channels, plans.json normalises {len(schemes)}"
        )
    key = "foreground_intensity_properties_per_channel"
    statistics = plans.get(key) or plans.get(key.replace("per_channel", "by_modality")) or {}
    channels = []
    for number, (scheme, mask) in enumerate(zip(schemes, masks)):
        found = statistics.get(str(number), {}) if scheme == "CTNormalization" else {}
        values = [
            float(found.get(k, default))
            for k, default in (
                ("mean", 0), ("std", 1), ("percentile_00_5", 0), ("percentile_99_5", 0)
            )
        ]  # fmt: skip
        if scheme == "CTNormalization" and not {"mean", "std"} <= set(found):
            raise ModelError(f"plans.json has no intensity statistics of channel {number}")
        name = str(names.get(str(number), names.get(number, number)))
        channels.append(Channel(name, str(scheme), bool(mask), *values))
    return tuple(channels)


def read_labels(
    dataset: Mapping[str, Any],
) -> tuple[tuple[int, ...], tuple[ClosedClass, ...], bool]:
    """Values by output channel, classes by name, and whether the heads are regions.

    Raises:
        ModelError: if `labels` or `regions_class_order` are not as nnU-Net needs them.
    """
    labels = dataset.get("labels")
    if not isinstance(labels, dict) or labels.get("background") != 0:
        raise ModelError("dataset.json needs 'labels' with 'background' 0 (nnU-Net version 2)")
    wanted = {
        str(name): tuple(int(v) for v in value) if isinstance(value, list) else (int(value),)
        for name, value in labels.items()
        if name not in ("background", "ignore")
    }
    synonyms = dataset.get("prompts")
    synonyms = synonyms if isinstance(synonyms, dict) else {}
    regions = any(len(values) > 1 for values in wanted.values())
    if regions:
        order = tuple(int(v) for v in dataset.get("regions_class_order") or ())
        wanted = {n: values for n, values in wanted.items() if set(values) != {0}}
        if len(order) != len(wanted):
            raise ModelError(
                f"dataset.json has {len(wanted)} regions, but {len(order)} 'regions_class_order'"
            )
        heads = dict(zip(wanted, range(len(order))))
    else:
        order = tuple(sorted({0, *(v for values in wanted.values() for v in values)}))
        if order != tuple(range(len(order))):
            raise ModelError("the labels of dataset.json are not 0, 1, 2, … without gaps")
        heads = {name: order.index(values[0]) for name, values in wanted.items()}
    classes: list[ClosedClass] = []
    for label, values in wanted.items():
        name = class_name(label, synonyms.get(label, ()), {c.name for c in classes})
        classes.append(ClosedClass(name, label, values, heads[label]))
    return order, tuple(classes), regions


def class_name(label: str, synonyms: Any, taken: set[str]) -> str:
    """Canonical name of a label, or the label in plain words where the tree does not know it.

    Args:
        label: as a data set spells it.
        synonyms: further wordings, tried first.
        taken: names that are used already.
    """
    from textseg3d.text.knowledge import load_tree

    tree = load_tree()
    others: Sequence[Any] = [synonyms] if isinstance(synonyms, str) else list(synonyms)
    for text in (*others, label):
        try:
            name = tree.canonical_name(tree.resolve_label(str(text)))
        except PromptError:
            continue
        if name not in taken:
            return name
    plain = " ".join(label.replace("_", " ").split())
    return plain if plain and plain not in taken else label
