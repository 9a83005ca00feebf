"""Builds the U-Net of a spec and fills it with the weights of its folds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from textseg3d.errors import MissingDependencyError, ModelError
from textseg3d.inference.closed.spec import Architecture, ClosedSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_STEM_CHANNELS = 8  # torch takes a naive kernel for a few input channels in float32
_FEW_CHANNELS = 4


@dataclass(frozen=True, eq=False)
class LinearHead:
    """The last 1×1×1 convolution of an ensemble, apart from its networks.

    A weighted mean over windows and folds can be taken before or after a linear layer; before
    it, there are as many channels as features, however many classes there are.

    Attributes:
        weight: [heads, channels], channels of all folds one after the other.
        bias: [heads].
    """

    weight: Tensor
    bias: Tensor

    def to(self, device: torch.device) -> LinearHead:
        """The same on a device."""
        return LinearHead(self.weight.to(device), self.bias.to(device))

    def __call__(self, features: Tensor) -> Tensor:
        """Features [channels, …] → logits [heads, …]."""
        import torch

        flat = torch.addmm(self.bias[:, None], self.weight, features.flatten(1))
        return flat.view(len(self.bias), *features.shape[1:])


def split_head(networks: Sequence[torch.nn.Module]) -> LinearHead | None:
    """Take the last layer off every network if that leaves fewer channels than classes.

    Returns:
        The layer; the networks then give features. None where nothing was changed.
    """
    import torch

    lasts = []
    for network in networks:
        layers = getattr(getattr(network, "decoder", None), "seg_layers", None)
        last = layers[-1] if layers is not None and len(layers) else None
        if not isinstance(last, torch.nn.Conv3d) or set(last.kernel_size) != {1}:
            return None
        lasts.append(last)
    if sum(last.in_channels for last in lasts) >= lasts[0].out_channels:
        return None
    count = len(lasts)
    if len({last.out_channels for last in lasts}) > 1:
        return None
    weight = torch.cat([last.weight.flatten(1).float() for last in lasts], dim=1) / count
    biases = [
        torch.zeros_like(last.weight[:, 0, 0, 0, 0]) if last.bias is None else last.bias
        for last in lasts
    ]
    for network in networks:
        decoder: Any = network.decoder
        decoder.seg_layers[-1] = torch.nn.Identity()
    return LinearHead(weight, torch.stack(biases).float().mean(dim=0))


def speed_up(network: torch.nn.Module) -> None:
    """Exchange layers for others of the same mathematics that run faster, in place.

    Instance norm becomes group norm with one channel per group, which keeps the channels-last
    layout (see :mod:`textseg3d.inference.closed.norm`); the first convolution's input is padded
    to eight channels of zeros; the decoder lets go of what it has used.
    """
    from torch import nn

    made: dict[int, nn.Module] = {}
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if id(child) not in made and isinstance(child, nn.InstanceNorm3d):
                made[id(child)] = _group_norm(child)
            if id(child) not in made and isinstance(child, nn.Conv3d) and _is_stem(child):
                made[id(child)] = _padded(child)
            if id(child) in made:
                setattr(parent, name, made[id(child)])
    decoder: Any = getattr(network, "decoder", None)
    blocks = [b for s in getattr(decoder, "stages", ()) for b in getattr(s, "convs", [None])]
    plain = type(decoder).__name__ == "UNetDecoder" and not decoder.deep_supervision
    if plain and all(type(block).__name__ == "ConvDropoutNormReLU" for block in blocks):
        network.decoder = _lean(decoder)


def _lean(decoder: Any) -> torch.nn.Module:
    """The same layers; a tensor is let go as soon as no layer needs it.

    The decoder of dynamic_network_architectures holds all skips, and the input of a stage until
    its end: at the finest stage twice the memory of what is needed.
    """
    import torch
    from torch import nn

    class LeanDecoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stages, self.transpconvs = decoder.stages, decoder.transpconvs
            self.seg_layers = decoder.seg_layers

        def forward(self, skips: list[Tensor]) -> Tensor:
            x = skips.pop()
            for up, stage in zip(self.transpconvs, self.stages):
                x = torch.cat((up(x), skips.pop()), 1)
                for block in stage.convs:
                    for layer in block.all_modules:
                        x = layer(x)
            return self.seg_layers[-1](x)  # type: ignore[no-any-return]

    return LeanDecoder()


def _is_stem(convolution: torch.nn.Conv3d) -> bool:
    few = convolution.in_channels <= _FEW_CHANNELS
    return few and convolution.groups == 1 and max(convolution.kernel_size) > 1


def _group_norm(norm: torch.nn.InstanceNorm3d) -> torch.nn.Module:
    from textseg3d.inference.closed.norm import ChannelNorm

    if norm.track_running_stats:
        return norm
    group = ChannelNorm(norm.num_features, norm.num_features, norm.eps, norm.affine)
    if norm.affine:
        group.weight, group.bias = norm.weight, norm.bias
    return group


def _padded(convolution: torch.nn.Conv3d) -> torch.nn.Module:
    import torch
    from torch import nn

    missing = _STEM_CHANNELS - convolution.in_channels
    wide = nn.Conv3d(
        _STEM_CHANNELS,
        convolution.out_channels,
        convolution.kernel_size,  # type: ignore[arg-type]
        convolution.stride,  # type: ignore[arg-type]
        convolution.padding,  # type: ignore[arg-type]
        bias=convolution.bias is not None,
    )
    zeros = torch.zeros_like(convolution.weight[:, :1]).expand(-1, missing, -1, -1, -1)
    wide.weight = nn.Parameter(torch.cat([convolution.weight, zeros], dim=1))
    wide.bias = convolution.bias

    class Stem(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide = wide

        def forward(self, x: Tensor) -> Tensor:
            kind = x.device.type
            if torch.is_autocast_enabled(kind):  # before there are eight channels of it
                x = x.to(torch.get_autocast_dtype(kind))
            found: Tensor = self.wide(nn.functional.pad(x, (0,) * 6 + (0, missing)))
            return found

    return Stem()


def import_architectures() -> SimpleNamespace:
    """Classes of dynamic_network_architectures.

    Raises:
        MissingDependencyError: without that package.
    """
    try:
        from dynamic_network_architectures.architectures import unet
        from dynamic_network_architectures.building_blocks.plain_conv_encoder import (
            PlainConvEncoder,
        )
        from dynamic_network_architectures.building_blocks.residual_encoders import (
            ResidualEncoder,
        )
        from dynamic_network_architectures.building_blocks.simple_conv_blocks import (
            StackedConvBlocks,
        )
    except ImportError as error:
        raise MissingDependencyError(
            "the network needs dynamic_network_architectures "
            f"({error}); pip install 'textseg3d[nnunet]'"
        ) from None
    return SimpleNamespace(
        PlainConvUNet=unet.PlainConvUNet,
        ResidualEncoderUNet=unet.ResidualEncoderUNet,
        PlainConvEncoder=PlainConvEncoder,
        ResidualEncoder=ResidualEncoder,
        StackedConvBlocks=StackedConvBlocks,
    )


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

    unet = import_architectures()
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
        arguments["n_conv_per_stage"] = list(architecture.encoder)
    else:
        arguments["n_blocks_per_stage"] = list(architecture.encoder)
    made: torch.nn.Module = getattr(unet, architecture.kind)(**arguments)
    return made


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
                _fill(network, {a: file.get_tensor(f"{fold}/{b}") for a, b in chosen.items()})
                networks.append(network.eval().requires_grad_(False))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read ({error}); convert the model again") from None
    return networks


def _fill(network: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Put each weight in, float32, wherever the network of the meta device has it.

    The tensors themselves become the weights. ``to_empty`` would need as much memory again, and
    imports sympy, which takes half a second.
    """
    from torch import nn

    own = network.state_dict(keep_vars=True)
    made = {
        id(own[name]): nn.Parameter(tensor.float(), requires_grad=False)
        for name, tensor in weights.items()
    }
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, made[id(parameter)])


def outputs_of(
    networks: Iterable[torch.nn.Module], x: torch.Tensor, *, features: bool = False
) -> torch.Tensor:
    """Mean logits [B, heads, …] of an ensemble, or its features, one fold after the other."""
    total: torch.Tensor | None = None
    if features:
        import torch

        parts = [network(x) for network in networks]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    count = 0
    for network in networks:
        logits = network(x).float()
        total = logits if total is None else total.add_(logits)
        count += 1
    if total is None:
        raise ModelError("the ensemble is empty; convert the model again")
    return total if count == 1 else total.div_(count)
