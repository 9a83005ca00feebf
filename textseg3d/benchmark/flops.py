"""Floating-point operations of a network, counted on tensors without data."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def flops(request: dict[str, Any]) -> dict[str, int]:
    """Task: ``model`` is a name or a folder; see :func:`flops_per_window`."""
    from textseg3d.zoo import find_model

    return flops_per_window(find_model(request["model"]))


def flops_per_window(folder: Path) -> dict[str, int]:
    """FLOPs of one window: "image" (once) and "prompt" (for each prompt; 0 for an nnU-Net).

    Convolutions and matrix products, a multiply-add counted as two.

    Args:
        folder: a model folder of either kind.
    """
    from textseg3d.inference.closed.engine import is_closed

    return _closed(folder) if is_closed(folder) else _prompted(folder)


def _count(function: Any) -> int:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        function()
    return int(counter.get_total_flops())


def _closed(folder: Path) -> dict[str, int]:
    import torch

    from textseg3d.inference.closed.network import build_unet
    from textseg3d.inference.closed.spec import ClosedSpec

    spec = ClosedSpec.load(folder)
    with torch.device("meta"):
        network = build_unet(spec.architecture, len(spec.channels), len(spec.labels)).eval()
        x = torch.empty((1, len(spec.channels), *spec.patch_size))
    runs = len(spec.folds) * 2 ** len(spec.mirror_axes)
    return {"image": runs * _count(lambda: network(x)), "prompt": 0}


def _prompted(folder: Path) -> dict[str, int]:
    import torch

    from textseg3d.inference.model import load_model
    from textseg3d.networks import build_network
    from textseg3d.networks.prompt_unet import coarse_to_fine

    loaded = load_model(folder)
    text = loaded.texts(loaded.card.concepts[0])
    with torch.device("meta"):
        network: Any = build_network(loaded.configuration).eval()
        x = torch.empty(
            (1, loaded.configuration.network_channels, *loaded.configuration.patch_size)
        )
        position = torch.empty((3, 2))
        tokens, pooled = torch.empty(text.tokens.shape), torch.empty(text.pooled.shape)
        mask = torch.ones(text.mask.shape, dtype=torch.bool)
    kept: list[Any] = []

    def image() -> None:
        features = network.encode_image(x, position)
        kept.extend((features, network.fine_features(features.half, x)))

    def prompt() -> None:
        features, fine = kept
        coarse_to_fine(features, network.answer(features, tokens, mask, pooled), fine)

    return {"image": _count(image), "prompt": _count(prompt)}
