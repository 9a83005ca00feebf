"""An ensemble's answers are the means of its members', computed one by one."""

from __future__ import annotations

import pytest
import torch

from textseg3d.networks import build_network
from textseg3d.networks.ensemble import FoldEnsemble, member_count, member_weights
from textseg3d.networks.prompt_unet import coarse_to_fine
from textseg3d.plans import Architecture, Configuration

ARGUMENTS = {
    "widths": [8, 12, 16, 16], "blocks": [1, 1, 1, 1], "feature_channels": 6, "embed_dim": 8,
    "attention_width": 16, "attention_heads": 2, "attention_layers": 1,
}  # fmt: skip


@pytest.fixture
def members():
    configuration = Configuration(
        (3, 3, 3), (32, 32, 48), architecture=Architecture(arch_kwargs=ARGUMENTS)
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return [build_network(configuration).eval() for _ in range(3)]


def run(network, x, text):
    with torch.no_grad():
        features = network.encode_image(x, torch.tensor([[-1.0, 1.0]] * 3))
        fine = network.fine_features(features.half, x)
        answer = network.answer(features, *text, network.project(features))
        again = network.answer(features, *text)
        torch.testing.assert_close(again.coarse, answer.coarse)
        return [*coarse_to_fine(features, answer, fine), answer.presence]


def test_logits_are_the_mean(members):
    x = torch.randn(1, 2, 32, 32, 48, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    text = (
        torch.randn(4, 24, 8, generator=generator),
        torch.rand(4, 24, generator=generator) < 0.5,
        torch.randn(4, 8, generator=generator),
    )
    each = [run(member, x, text) for member in members]
    together = run(FoldEnsemble(members), x, text)
    for found, *parts in zip(together, *each, strict=True):
        torch.testing.assert_close(found, torch.stack(parts).mean(0), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together[-2], each[0][-2], atol=1e-3)


def test_weights_of_members(members):
    weights = member_weights([member.state_dict() for member in members])
    assert member_count(weights) == 3
    assert member_count(members[0].state_dict()) == 0
    assert set(weights) == set(FoldEnsemble(members).state_dict())
