"""Builds the U-Net of a spec and fills it with the weights of its folds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textseg3d.errors import MissingDependencyError, ModelError
from textseg3d.inference.closed.spec import Architecture, ClosedSpec

if TYPE_CHECKING:
    import torch


def build_unet(architecture: Architecture, channels: int, heads: int) -> torch.nn.Module:
    """The network, on torch's current default device.

    Args:
        architecture: plain or residual-encoder U-Net.
        channels: of the input.
        heads: of the output.

    Raises:
        MissingDependencyError: without dynamic_network_architectures.
    """
    from torch import nn

    try:
        from dynamic_network_architectures.architectures import unet
    except ImportError as error:
        raise MissingDependencyError(
            "an nnU-Net needs dynamic_network_architectures "
            f"({error}); pip install 'textseg3d[nnunet]'"
        ) from None
    leaky = architecture.activation == "LeakyReLU"
    arguments: dict[str, Any] = {
        "input_channels": channels,
        "n_stages": len(architecture.features),
        "features_per_stage": list(architecture.features),
        "conv_op": nn.Conv3d,
        "kernel_sizes": [list(k) for k in architecture.kernels],
        "strides": [list(s) for s in architecture.strides],
        "num_classes": heads,
        "n_conv_per_stage_decoder": list(architecture.decoder),
        "conv_bias": architecture.bias,
        "norm_op": nn.InstanceNorm3d,
        "norm_op_kwargs": {"eps": architecture.norm_eps, "affine": architecture.norm_affine},
        "nonlin": nn.LeakyReLU if leaky else nn.ReLU,
        "nonlin_kwargs": {"inplace": True}
        | ({"negative_slope": architecture.slope} if leaky else {}),
        "deep_supervision": False,
    }
    if architecture.kind == "PlainConvUNet":
        return unet.PlainConvUNet(n_conv_per_stage=list(architecture.encoder), **arguments)
    return unet.ResidualEncoderUNet(n_blocks_per_stage=list(architecture.encoder), **arguments)


def match_names(
    network: torch.nn.Module, shapes: Mapping[str, tuple[int, ...]], where: str
) -> dict[str, str]:
    """Which of several names of a shared weight a file uses, for every weight of the network.

    nnU-Net's networks reach the same convolution by several paths, and a state dict lists all
    of them.

    Args:
        network: its own weights may be on the meta device.
        shapes: name → shape in the file.
        where: for messages.

    Returns:
        First name of each weight in the network → name in the file.

    Raises:
        ModelError: if a weight is missing, unknown or of another shape.
    """
    groups: dict[int, list[str]] = {}
    tensors = network.state_dict(keep_vars=True)
    for name, tensor in tensors.items():
        groups.setdefault(id(tensor), []).append(name)
    unknown = sorted(set(shapes) - set(tensors))
    if unknown:
        raise ModelError(
            f"{where} does not fit its plans: the network has no weight {unknown[0]!r} "
            f"(and {len(unknown) - 1} more); it comes from another architecture"
        )
    chosen = {}
    for names in groups.values():
        found = [name for name in names if name in shapes]
        expected = tuple(tensors[names[0]].shape)
        wrong = [name for name in found if tuple(shapes[name]) != expected]
        if wrong or not found:
            got = tuple(shapes[wrong[0]]) if wrong else "missing"
            raise ModelError(
                f"{where} does not fit its plans: {(wrong or names)[0]!r} is {got}, expected "
                f"{expected}; it comes from another architecture, or the plans do"
            )
        chosen[names[0]] = found[0]
    return chosen


def load_networks(path: Path, spec: ClosedSpec) -> list[torch.nn.Module]:
    """One network per fold, float32, on the CPU.

    Raises:
        ModelError: if weights and spec do not fit together.
        MissingDependencyError: without dynamic_network_architectures.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    networks = []
    try:
        with safe_open(str(path), framework="pt") as file:
            stored = set(file.keys())
            for fold in spec.folds:
                with torch.device("meta"):
                    network = build_unet(spec.architecture, len(spec.channels), len(spec.labels))
                names = [n for n in stored if n.startswith(f"{fold}/")]
                shapes = {
                    n.removeprefix(f"{fold}/"): tuple(file.get_slice(n).get_shape()) for n in names
                }
                chosen = match_names(network, shapes, f"{path.name} ({fold})")
                network.to_empty(device="cpu")
                _fill(network, {a: file.get_tensor(f"{fold}/{b}") for a, b in chosen.items()})
                networks.append(network.eval().requires_grad_(False))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read ({error}); convert the model again") from None
    return networks


def _fill(network: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Copy each weight in under its first name; the other names are the same tensor."""
    import torch

    own = network.state_dict(keep_vars=True)
    with torch.no_grad():
        for name, tensor in weights.items():
            own[name].copy_(tensor)


def outputs_of(networks: Iterable[torch.nn.Module], x: torch.Tensor) -> torch.Tensor:
    """Mean logits [B, heads, …] of an ensemble."""
    total: torch.Tensor | None = None
    count = 0
    for network in networks:
        logits = network(x).float()
        total = logits if total is None else total.add_(logits)
        count += 1
    if total is None:
        raise ModelError("the ensemble is empty; convert the model again")
    return total if count == 1 else total.div_(count)
