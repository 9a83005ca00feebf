"""A whole network, and the engine, through the Triton kernels: the references' answers."""

import numpy as np
import pytest
import torch
from textseg3d_kernels import use_backend
from textseg3d_kernels.triton import export_pack as k2
from textseg3d_kernels.triton import head_accumulate as k1
from textseg3d_kernels.triton import instance_norm as k4
from textseg3d_kernels.triton import prepare_volume as k3
from textseg3d_kernels.triton import token_attention as k5
from textseg3d_kernels.triton import window_gather as k6

from tests.model_factory import make_model
from textseg3d.inference.accumulate import SharesAccumulator
from textseg3d.inference.device import Runtime
from textseg3d.inference.engine import Engine
from textseg3d.inference.model import load_model
from textseg3d.inference.progress import Progress
from textseg3d.inference.windows import tile_body
from textseg3d.io import volume_from_array
from textseg3d.networks.prompt_unet import coarse_to_fine
from textseg3d.text.types import TextFeatures

LAUNCHERS = {
    "K1": (k1, "launch_head_accumulate"),
    "K2": (k2, "launch_export_pack"),
    "K3": (k3, "launch_prepare_volume"),
    "K4": (k4, "launch_apply"),
    "K5 text": (k5, "launch_image_to_text"),
    "K5 image": (k5, "launch_text_to_image"),
    "K6": (k6, "launch_window_gather"),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(make_model(tmp_path_factory.mktemp("models") / "tiny", patch=(64, 32, 32)))


@pytest.fixture
def launched(monkeypatch):
    """Counts the launches of every kernel that a network may call."""
    counts = dict.fromkeys(LAUNCHERS, 0)
    for name, (module, function) in LAUNCHERS.items():
        real = getattr(module, function)

        def counted(*arguments, real=real, name=name, **options):
            counts[name] += 1
            return real(*arguments, **options)

        monkeypatch.setattr(module, function, counted)
    return counts


def prompts(count):
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((count, 24, 16)).astype(np.float32)
    mask = np.arange(24)[None] < rng.integers(2, 20, (count, 1))
    return [TextFeatures(t[None], m[None], t[None].mean(axis=1)) for t, m in zip(tokens, mask)]


@torch.inference_mode()
def logits_of(network, x, position, texts):
    features = network.encode_image(x, position)
    fine = network.fine_features(features.half, x)
    answer = network.answer(features, *texts)
    return coarse_to_fine(features, answer, fine)[-1], answer.presence


def test_network_with_k4_and_k5(model, launched):
    network = model.network.eval().requires_grad_(False)
    x = torch.randn((1, 2, 64, 32, 32), generator=torch.Generator().manual_seed(0))
    position = torch.tensor([[-1.0, 1.0], [-0.5, 0.5], [-1.2, 0.3]])
    asked = prompts(3)
    texts = [
        torch.from_numpy(np.concatenate([getattr(p, name) for p in asked]))
        for name in ("tokens", "mask", "pooled")
    ]
    logits, presence = logits_of(network, x, position, texts)
    assert launched["K4"] >= 18  # two norms in each of nine blocks
    assert launched["K5 text"] == 2  # texts among themselves, image tokens on texts
    assert launched["K5 image"] == 1
    with use_backend("reference"):
        expected, expected_presence = logits_of(network, x, position, texts)
    assert expected.abs().max() > 1
    assert (logits - expected).abs().max() < 1e-3
    assert (presence - expected_presence).abs().max() < 1e-3


def test_engine_with_the_other_kernels(model, launched):
    rng = np.random.default_rng(1)
    hu = rng.normal(0, 300, (18, 28, 30)).astype(np.int16)
    volume = volume_from_array(hu[None].transpose(0, 3, 2, 1), np.diag([3.0, 3.0, 4.0, 1.0]))
    runtime = Runtime(torch.device("cpu"), None)
    engine = Engine(model.network, model.configuration, runtime, tile_body, SharesAccumulator)
    image = engine.prepare(volume, exact=False)
    assert len(image.grid) == 1
    kept = list(engine.windows(image, Progress()))
    found = engine.answer(image, kept, prompts(2), keep_logits=True)
    assert launched["K3"] >= 1
    assert launched["K6"] == 1
    assert launched["K1"] == 1
    assert launched["K2"] == 2
    with use_backend("reference"):
        plain = engine.prepare(volume, exact=False)
        expected = engine.answer(plain, engine.windows(plain, Progress()), prompts(2))
    assert (image.x - plain.x).abs().max() < 1e-4
    for a, b in zip(found, expected):
        assert np.abs(b.logits).max() > 1
        assert np.abs(a.logits - b.logits).max() < 1e-3
        assert (a.mask.array() != b.mask.array()).mean() < 1e-3
