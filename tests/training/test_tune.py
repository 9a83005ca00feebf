"""Fine-tuning: what is frozen, and that a merged low-rank change is the change itself."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from tests.training.toy import EMBED, configuration
from textseg3d.errors import ModelError
from textseg3d.networks import build_network
from textseg3d.training.tune import Start, add_low_rank, merge_low_rank


@pytest.fixture
def base(tmp_path):
    torch.manual_seed(0)
    network = build_network(configuration())
    path = tmp_path / "model.safetensors"
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, path)
    return path, network


def answer(network):
    rng = torch.Generator().manual_seed(1)
    x = torch.randn((1, 1, 32, 32, 32), generator=rng)
    tokens = torch.randn((2, 4, EMBED), generator=rng)
    with torch.no_grad():
        features = network.encode_image(x, torch.tensor([[-1.0, 1.0]] * 3))
        return network.answer(features, tokens, torch.ones((2, 4), dtype=torch.bool), tokens[:, 0])


def test_a_low_rank_change_starts_at_nothing_and_merges_to_itself(base):
    path, plain = base
    tuned = build_network(configuration())
    Start(path, "lora").apply(tuned)
    torch.testing.assert_close(answer(tuned).coarse, answer(plain).coarse)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if name.endswith(".up"):
                parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(2))
    changed = answer(tuned)
    assert not torch.allclose(changed.coarse, answer(plain).coarse, atol=1e-3)
    merged = build_network(configuration())
    merged.load_state_dict(merge_low_rank(tuned.state_dict()))
    torch.testing.assert_close(answer(merged).coarse, changed.coarse, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(answer(merged).presence, changed.presence, atol=1e-4, rtol=1e-4)


def trained(network):
    return {name for name, p in network.named_parameters() if p.requires_grad}


def test_what_each_way_trains(base):
    path, plain = base
    everything = trained(plain)
    networks = {}
    for tune in ("all", "decoder", "lora"):
        networks[tune] = build_network(configuration())
        Start(path, tune).apply(networks[tune])
    assert trained(networks["all"]) == everything
    decoder = trained(networks["decoder"])
    assert decoder < everything
    assert not any(name.startswith(("stem.", "encoder.")) for name in decoder)
    assert any(name.startswith("prompt.") for name in decoder)
    lora = trained(networks["lora"])
    assert lora
    assert all(name.endswith((".up", ".down")) for name in lora)


def test_low_rank_touches_the_fusion_only():
    network = build_network(configuration())
    add_low_rank(network)
    names = {n for n in network.state_dict() if n.endswith(".up")}
    assert names
    assert all(n.startswith("prompt.") for n in names)


def test_weights_of_another_network_are_refused(base, tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"stem.weight": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match="does not fit the plans' network"):
        Start(path).apply(build_network(configuration()))
