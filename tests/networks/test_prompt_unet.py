"""The network: prompts stay apart, a crop equals the whole, layouts and norms hold."""

import pytest
import torch

from textseg3d.errors import PlansError
from textseg3d.networks import build_network
from textseg3d.networks.blocks import InstanceNorm, depth_to_space, space_to_depth
from textseg3d.networks.prompt_unet import coarse_to_fine, dot, position_grid
from textseg3d.plans import Architecture, Configuration

SMALL = {
    "widths": [8, 8, 16, 16, 16],
    "blocks": [1, 1, 1, 1, 1],
    "feature_channels": 8,
    "embed_dim": 12,
    "attention_width": 16,
    "attention_heads": 2,
    "attention_layers": 1,
}


@pytest.fixture
def network():
    torch.manual_seed(0)
    configuration = Configuration(
        spacing=(3.0, 3.0, 3.0),
        patch_size=(64, 32, 32),
        architecture=Architecture(arch_kwargs=SMALL),
    )
    return build_network(configuration).eval()


@pytest.fixture
def window():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn((1, 2, 64, 32, 32), generator=generator)
    return x, torch.tensor([[-1.0, 1.0], [-0.5, 0.5], [-1.2, 0.3]])


def prompts(count, generator_seed=2):
    generator = torch.Generator().manual_seed(generator_seed)
    mask = torch.arange(6) < torch.randint(2, 7, (count, 1), generator=generator)
    return (
        torch.randn((count, 6, 12), generator=generator),
        mask,
        torch.randn((count, 12), generator=generator),
    )


@torch.inference_mode()
def test_shapes_at_every_scale(network, window):
    features = network.encode_image(*window)
    fine = network.fine_features(features.half, window[0])
    answer = network.answer(features, *prompts(3))
    shapes = [tuple(level.shape) for level in coarse_to_fine(features, answer, fine)]
    assert shapes == [(3, 8, 4, 4), (3, 16, 8, 8), (3, 32, 16, 16), (3, 64, 32, 32)]
    assert answer.presence.shape == (3,)


@torch.inference_mode()
def test_a_prompt_does_not_see_the_others(network, window):
    features = network.encode_image(*window)
    tokens, mask, pooled = prompts(4)
    together = coarse_to_fine(features, network.answer(features, tokens, mask, pooled))[-1]
    others = prompts(4, generator_seed=9)
    mixed = [torch.cat([a[:1], b[1:]]) for a, b in zip((tokens, mask, pooled), others)]
    changed = coarse_to_fine(features, network.answer(features, *mixed))[-1]
    assert torch.equal(together[0], changed[0])
    assert not torch.allclose(together[1], changed[1])


@torch.inference_mode()
def test_padded_tokens_do_not_count(network, window):
    features = network.encode_image(*window)
    tokens, mask, pooled = prompts(2)
    noisy = torch.where(mask[..., None], tokens, 100.0)
    a, b = (network.answer(features, t, mask, pooled).coarse for t in (tokens, noisy))
    assert torch.equal(a, b)


def test_where_a_prompt_is_follows_from_products_as_it_does_from_tokens(network, window):
    """Training makes each prompted token and its norm; inference knows a shorter way."""
    torch.manual_seed(3)
    attention = network.prompt
    with torch.no_grad():
        for parameter in (
            *attention.norm_prompted.parameters(),
            attention.image_attention.out.bias,
        ):
            parameter.normal_()
        attention.image_attention.out.weight.mul_(4)
        features = network.encode_image(*window)
        short = network.answer(features, *prompts(5)).coarse
    long = network.answer(features, *prompts(5)).coarse
    assert [t.requires_grad for t in (short, long)] == [False, True]
    torch.testing.assert_close(short, long.detach(), atol=1e-5, rtol=1e-4)
    assert short.std() > 0.1


@torch.inference_mode()
def test_the_full_resolution_head_of_a_crop_equals_the_whole(network, window):
    """Training computes it on a crop; away from the crop's border it must be the same."""
    x, position = window
    half = network.encode_image(x, position).half
    whole = network.fine_features(half, x)
    crop = network.fine_features(half[:, :, 4:14, 2:12, 2:12], x[:, :, 8:28, 4:24, 4:24])
    inner = (slice(None), slice(None), *[slice(2, -2)] * 3)
    torch.testing.assert_close(whole[:, :, 8:28, 4:24, 4:24][inner], crop[inner])


@torch.inference_mode()
def test_position_changes_the_answer(network, window):
    """Two windows that look alike but lie on different sides of the body must be tellable."""
    x, position = window
    tokens = prompts(1)
    logits = []
    for shift in (0.0, 1.0):
        features = network.encode_image(x, position + shift)
        logits.append(coarse_to_fine(features, network.answer(features, *tokens))[-1])
    assert not torch.allclose(logits[0], logits[1])


def test_position_grid_is_the_mean_of_the_cells():
    """A stride-2 cell lies at the mean of its two voxels' positions."""
    position = torch.tensor([[-1.0, 1.0], [0.0, 7.0], [3.0, 3.0]])
    fine = position_grid(position, [8, 8, 8], torch.Size([8, 8, 8]))
    torch.testing.assert_close(fine[1, 0, :, 0], torch.arange(8.0))
    coarse = position_grid(position, [4, 4, 4], torch.Size([8, 8, 8]))
    torch.testing.assert_close(coarse[1, 0, :, 0], torch.tensor([0.5, 2.5, 4.5, 6.5]))


def test_space_to_depth_round_trip_and_channels_last():
    x = torch.arange(2 * 3 * 4 * 4 * 6.0).reshape(2, 3, 4, 4, 6)
    packed = space_to_depth(x, 2)
    assert packed.shape == (2, 24, 2, 2, 3)
    assert torch.equal(depth_to_space(packed, 2), x)
    more = torch.randn(2, 2, 4, 4, 6)
    both = depth_to_space(packed, 2, more[:, :1], more[:, 1:])
    assert torch.equal(both, torch.cat([x, more], dim=1))
    assert both.is_contiguous(memory_format=torch.channels_last_3d)
    # channel (dz, dy, dx, c) = (1, 0, 1, 2) of cell (0, 1, 2) is voxel (1, 2, 5)
    assert packed[1, 5 * 3 + 2, 0, 1, 2] == x[1, 2, 1, 2, 5]


@pytest.mark.parametrize("batch", [1, 2])
def test_instance_norm_equals_torch(batch):
    torch.manual_seed(0)
    norm = InstanceNorm(5)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    reference = torch.nn.InstanceNorm3d(5, affine=True)
    reference.load_state_dict(norm.state_dict())
    x = torch.randn(batch, 5, 3, 4, 6).to(memory_format=torch.channels_last_3d)
    y = norm(x)
    torch.testing.assert_close(y, reference(x), atol=1e-5, rtol=1e-5)
    assert y.is_contiguous(memory_format=torch.channels_last_3d)


def test_dot_is_a_one_by_one_convolution():
    torch.manual_seed(0)
    features, query = torch.randn(1, 4, 2, 3, 5), torch.randn(6, 5)
    expected = torch.nn.functional.conv3d(features, query[:, :4, None, None, None], query[:, 4])[0]
    torch.testing.assert_close(dot(features, query), expected)


def test_an_unknown_architecture_argument_is_named():
    configuration = Configuration(
        spacing=(3.0, 3.0, 3.0),
        patch_size=(32, 32, 32),
        architecture=Architecture(arch_kwargs={"width": [8]}),
    )
    with pytest.raises(PlansError, match=r"'width'.*did you mean 'widths'"):
        build_network(configuration)


def test_every_parameter_gets_a_gradient(network, window):
    features = network.encode_image(*window)
    answer = network.answer(features, *prompts(2))
    fine = network.fine_features(features.half, window[0])
    levels = coarse_to_fine(features, answer, fine)
    (sum(level.square().mean() for level in levels) + answer.presence.sum()).backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    # A key bias shifts all scores of a softmax alike, so its gradient is zero by mathematics.
    assert [n for n in without if not n.endswith("to_k.bias")] == []


def test_instance_norm_of_a_single_voxel_is_its_bias():
    norm = InstanceNorm(3)
    torch.nn.init.normal_(norm.bias)
    y = norm(torch.randn(1, 3, 1, 1, 1))
    assert torch.equal(y.flatten(), norm.bias)
