"""The estimator against built networks: parameters, torch's FLOP counter, what autograd saves."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from textseg3d.errors import PlansError
from textseg3d.networks import build_network
from textseg3d.networks.prompt_unet import coarse_to_fine, dot, upsample
from textseg3d.plans import Architecture, Configuration, Intensity
from textseg3d.plans import cost as module
from textseg3d.plans.cost import cost
from textseg3d.training.losses import total_loss

CASES = {
    "default": {},
    "small": {"widths": [8, 16, 24, 24], "blocks": [1, 2, 1, 1], "feature_channels": 8},
    "wide": {
        "widths": [16, 24, 40, 48, 48, 48], "blocks": [2, 1, 1, 1, 1, 1], "embed_dim": 64,
        "attention_width": 96, "attention_heads": 3, "attention_layers": 3,
    },
}  # fmt: skip


def configuration(arguments, patch=(64, 64, 128), channels=1):
    return Configuration(
        spacing=(3.0, 3.0, 3.0),
        patch_size=patch,
        architecture=Architecture(arch_kwargs=arguments),
        intensity=(Intensity(),) * channels,
    )


def texts(arguments, prompts):
    length, width = module.TEXT_TOKENS, arguments.get("embed_dim", 192)
    return (
        torch.zeros(prompts, length, width),
        torch.ones(prompts, length, dtype=torch.bool),
        torch.zeros(prompts, width),
    )


@pytest.mark.parametrize("name", CASES)
def test_parameters_and_flops_equal_a_built_network(name):
    """Every operation is counted by torch as it is dispatched; nothing is computed."""
    wanted = configuration(CASES[name], channels=2 if name == "wide" else 1)
    with torch.device("meta"):
        network = build_network(wanted)
        x = torch.zeros(1, wanted.network_channels, *wanted.patch_size)
        position = torch.zeros(3, 2)
        text = texts(CASES[name], 1)
        with FlopCounterMode(display=False) as image:
            features = network.encode_image(x, position)
            fine = network.fine_features(features.half, x)
            projected = network.project(features)
        with FlopCounterMode(display=False) as prompt:
            answer = network.answer(features, *text, projected)
            coarse_to_fine(features, answer, fine)
    found = cost(wanted)
    assert found.parameters == sum(p.numel() for p in network.parameters())
    net = module._net(wanted)
    assert module.image_flops(net) == image.get_total_flops()
    assert module.prompt_flops(net) == prompt.get_total_flops()
    assert found.gflops_per_window == pytest.approx(image.get_total_flops() / 1e9, abs=0.01)


@pytest.mark.parametrize("prompts", [2, 6])
def test_saved_activations_are_near_what_autograd_keeps(prompts):
    wanted = configuration({"widths": [8, 16, 32, 32, 32], "feature_channels": 8}, (64, 64, 64))
    network = build_network(wanted)
    x, position = torch.randn(1, 2, 64, 64, 64), torch.zeros(3, 2)
    tensors = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        tensors[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        with torch.autocast("cpu", torch.bfloat16):
            features = network.encode_image(x, position)
            answer = network.answer(features, *texts({}, prompts))
            eighth, quarter, half = coarse_to_fine(features, answer)
            fine = network.fine_features(features.half, x)
            full = dot(fine, answer.queries[0]) + upsample(half[:, None], 2)[:, 0]
        levels = {1: full, 2: half, 4: quarter, 8: eighth}
        targets = {k: torch.rand(v.shape) for k, v in levels.items()}
        total_loss(levels, targets, answer.presence, torch.ones(prompts))
    kept = sum(n for pointer, (n, _) in tensors.items() if pointer not in weights)
    assert module.saved_bytes(module._net(wanted), wanted.patch_size, prompts) == pytest.approx(
        kept, rel=0.06
    )


def test_more_of_anything_costs_more():
    base = cost(configuration({}))
    assert cost(configuration({}), prompts=20).training_gb > base.training_gb
    twice = cost(configuration({}, (128, 64, 128)))
    assert twice.gflops_per_window == pytest.approx(2 * base.gflops_per_window, rel=1e-3)
    assert twice.parameters == base.parameters


def test_what_cannot_be_estimated():
    with pytest.raises(PlansError, match="multiples of 32"):
        cost(configuration({}, (64, 64, 100)))
    with pytest.raises(PlansError, match="one length"):
        cost(configuration({"widths": [8, 8, 8]}))
    plain = Configuration(
        (3, 3, 3), (32, 32, 32), architecture=Architecture(network_class_name="PlainConvUNet")
    )
    with pytest.raises(PlansError, match="not for 'PlainConvUNet'"):
        cost(plain)
