"""SAT's network against its architecture told again, with random weights of a small size.

SAT has no package to install, so its published checkpoints and code cannot be run here.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.convert.nnunet_factory import write_scan
from textseg3d.cli.main import main
from textseg3d.convert import convert_sat, open_models
from textseg3d.inference.open.attention import grid_positions
from textseg3d.inference.open.engine import load_open, sat_starts
from textseg3d.inference.open.texts import sat_projection

pytest.importorskip("dynamic_network_architectures")
FEATURES = (6, 6, 8, 8, 10, 12)
PATCH = (64, 32, 32)
WIDTH = 768  # of texts; SAT's models have this
HIDDEN, LAST = 20, 10


def block(name: str, inputs: int, outputs: int, convs: int, stride: int = 1) -> dict[str, Tensor]:
    weights = {}
    for number in range(convs):
        first = f"{name}.convs.{number}"
        weights[f"{first}.conv.weight"] = torch.randn(outputs, inputs, 3, 3, 3) * 0.1
        weights[f"{first}.conv.bias"] = torch.randn(outputs)
        weights[f"{first}.norm.weight"] = torch.rand(outputs) + 0.5
        weights[f"{first}.norm.bias"] = torch.randn(outputs)
        inputs = outputs
    return weights


def linear(name: str, inputs: int, outputs: int) -> dict[str, Tensor]:
    weight = torch.randn(outputs, inputs) / math.sqrt(inputs)
    return {f"{name}.weight": weight, f"{name}.bias": torch.randn(outputs) * 0.1}


def random_weights(seed: int = 0) -> dict[str, Tensor]:
    """A state dict with SAT's names, two convolutions per stage, as Nano has."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights: dict[str, Tensor] = {}
        below = 3
        for stage, features in enumerate(FEATURES):
            weights |= block(f"backbone.encoder.stages.{stage}.0", below, features, 2)
            below = features
        for stage in range(5):
            here, under = FEATURES[-stage - 2], FEATURES[-stage - 1]
            up = f"backbone.decoder.transpconvs.{stage}"
            weights |= {f"{up}.weight": torch.randn(under, here, 2, 2, 2) * 0.3}
            weights |= {f"{up}.bias": torch.randn(here)}
            weights |= block(f"backbone.decoder.stages.{stage}", 2 * here, here, 2)
        weights |= linear("projection_layer.0", sum(FEATURES), HIDDEN)
        weights |= linear("projection_layer.2", HIDDEN, WIDTH)
        for layer in range(2):
            name = f"transformer_decoder.layers.{layer}"
            attention = linear(f"{name}.multihead_attn.in_proj", WIDTH, 3 * WIDTH)
            weights |= {k.replace("proj.", "proj_"): v for k, v in attention.items()}
            weights |= linear(f"{name}.multihead_attn.out_proj", WIDTH, WIDTH)
            weights |= linear(f"{name}.linear1", WIDTH, 2048) | linear(
                f"{name}.linear2", 2048, WIDTH
            )
            for norm in (1, 2, 3):
                weights |= {f"{name}.norm{norm}.weight": torch.rand(WIDTH) + 0.5}
                weights |= {f"{name}.norm{norm}.bias": torch.randn(WIDTH)}
        weights |= {"transformer_decoder.norm.weight": torch.rand(WIDTH)}
        weights |= {"transformer_decoder.norm.bias": torch.randn(WIDTH)}
        weights |= linear("mask_embed_proj.0", WIDTH, LAST)
        weights |= linear("mask_embed_proj.2", LAST, FEATURES[0])
        weights |= linear("mid_mask_embed_proj.0.0", WIDTH, LAST)  # of training only
    return weights


class Told:
    """The forward pass in plain functions, from the weights by name."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.w = weights

    def dense(self, name: str, x: Tensor) -> Tensor:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, name: str, x: Tensor) -> Tensor:
        mean, var = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, correction=0)
        return (x - mean) / (var + 1e-5).sqrt() * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def convs(self, name: str, x: Tensor, stride: int) -> Tensor:
        for number in range(2):
            at = f"{name}.convs.{number}"
            weight, bias = self.w[f"{at}.conv.weight"], self.w[f"{at}.conv.bias"]
            x = nn.functional.conv3d(x, weight, bias, stride if number == 0 else 1, 1)
            mean = x.mean((2, 3, 4), keepdim=True)
            var = x.var((2, 3, 4), keepdim=True, correction=0)
            scale, shift = (
                self.w[f"{at}.norm.{k}"][None, :, None, None, None] for k in ("weight", "bias")
            )
            x = (x - mean) / (var + 1e-5).sqrt() * scale + shift
            x = torch.where(x > 0, x, 0.01 * x)
        return x

    def attend(self, name: str, queries: Tensor, tokens: Tensor, keys: Tensor) -> Tensor:
        weight, bias = self.w[f"{name}.in_proj_weight"], self.w[f"{name}.in_proj_bias"]
        parts = []
        for number, x in enumerate((queries, keys, tokens)):
            rows = slice(number * WIDTH, (number + 1) * WIDTH)
            parts.append((x @ weight[rows].T + bias[rows]).view(len(x), 8, WIDTH // 8))
        q, k, v = parts
        score = torch.einsum("nhd,thd->hnt", q, k) / math.sqrt(WIDTH // 8)
        seen = torch.einsum("hnt,thd->nhd", score.softmax(-1), v).reshape(len(queries), WIDTH)
        return self.dense(f"{name}.out_proj", seen)

    def __call__(self, image: Tensor, texts: Tensor, positions: Tensor) -> Tensor:
        x, skips = image.repeat(1, 3, 1, 1, 1), []
        for stage in range(6):
            x = self.convs(f"backbone.encoder.stages.{stage}.0", x, 1 if stage == 0 else 2)
            skips.append(x)
        pooled = [nn.functional.avg_pool3d(s, 2 ** (5 - i)) for i, s in enumerate(skips)]
        tokens = torch.cat(pooled, 1)[0].flatten(1).T
        gelu = nn.functional.gelu
        tokens = gelu(self.dense("projection_layer.0", tokens))
        tokens = gelu(self.dense("projection_layer.2", tokens))
        for stage in range(5):
            up = f"backbone.decoder.transpconvs.{stage}"
            x = nn.functional.conv_transpose3d(x, self.w[f"{up}.weight"], self.w[f"{up}.bias"], 2)
            x = self.convs(
                f"backbone.decoder.stages.{stage}", torch.cat((x, skips[-stage - 2]), 1), 1
            )
        for layer in range(2):
            name = f"transformer_decoder.layers.{layer}"
            normed = self.norm(f"{name}.norm2", texts)
            texts = texts + self.attend(
                f"{name}.multihead_attn", normed, tokens, tokens + positions
            )
            hidden = self.dense(f"{name}.linear1", self.norm(f"{name}.norm3", texts)).relu()
            texts = texts + self.dense(f"{name}.linear2", hidden)
        texts = self.norm("transformer_decoder.norm", texts)
        query = gelu(self.dense("mask_embed_proj.0", texts))
        query = gelu(self.dense("mask_embed_proj.2", query))
        return torch.einsum("cxyz,nc->nxyz", x[0], query)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A converted model; its patch is small, which no checkpoint says."""
    folder = tmp_path_factory.mktemp("sat")
    patch = pytest.MonkeyPatch()
    patch.setattr(open_models, "SAT_PATCH", PATCH)
    vectors = np.random.default_rng(1).normal(size=(2, WIDTH)).astype(np.float16)
    np.savez(folder / "bank.npz", labels=np.array(["liver", "left lung"]), embeddings=vectors)
    state = {f"module.{name}": value for name, value in random_weights().items()}
    torch.save({"model_state_dict": state, "epoch": 3}, folder / "nano.pth")
    made = convert_sat(folder / "nano.pth", folder / "model", bank=folder / "bank.npz")
    patch.undo()
    return made


def test_positions_equal_the_package() -> None:
    package = pytest.importorskip("positional_encodings.torch_encodings")
    for width in (768, 50):
        expected = package.PositionalEncoding3D(width)(torch.zeros(1, 4, 3, 2, width))
        torch.testing.assert_close(grid_positions((4, 3, 2), width), expected[0].flatten(0, 2))


@pytest.mark.parametrize("prompts", [1, 3])
def test_logits_equal_the_architecture_told_again(prompts: int, model: Path) -> None:
    network = load_open(model).network
    generator = torch.Generator().manual_seed(prompts)
    image = torch.randn((1, 1, *PATCH), generator=generator)
    texts = torch.randn((prompts, WIDTH), generator=generator)
    with torch.inference_mode():
        shared = network.encode_image(image)
        found = network.decode(shared, network.queries(shared, texts))
        positions = grid_positions((2, 1, 1), WIDTH)
        expected = Told(random_weights())(image, texts, positions)
    assert expected.std() > 0.01
    assert (found - expected).abs().max() < 1e-3 * max(1.0, float(expected.abs().max()))


def test_windows_are_those_of_sat() -> None:
    assert sat_starts(60, 64) == (0,)
    assert sat_starts(64, 64) == (0,)
    assert sat_starts(65, 64) == (0, 1)
    assert sat_starts(100, 64) == (0, 32, 36)
    assert sat_starts(128, 64) == (0, 32, 64)


def test_masks_lie_on_the_scans_grid(model: Path, tmp_path: Path) -> None:
    from textseg3d import Segmenter

    scan = write_scan(tmp_path)[0]
    segmenter = Segmenter(model, "cpu", precision="fp32")
    result = segmenter.predict(scan, ["liver", "Left Lung"], exact=True, keep_logits=True)
    for text in result:
        one = result[text]
        assert one.source_array.shape == (34, 30, 29)
        assert 0 < one.array.mean() < 1
        assert one.presence is not None
        assert 0.5 < one.presence <= 1
        probability = one.probability()
        np.testing.assert_array_equal(probability > 0.5, one.array)
    alone = segmenter.predict(scan, ["liver"], exact=True)["liver"].array
    np.testing.assert_array_equal(alone, result["liver"].array)  # whatever else is asked


def test_texts_are_projected_as_sat_does(model: Path) -> None:
    spec = load_open(model).spec
    weights = linear("projection.0", WIDTH, WIDTH) | linear("projection.2", WIDTH, WIDTH)
    weights["modality.weight"] = torch.randn(4, WIDTH)
    mean = torch.randn(2, WIDTH)
    first = nn.functional.gelu(
        mean @ weights["projection.0.weight"].T + weights["projection.0.bias"]
    )
    expected = first @ weights["projection.2.weight"].T + weights["projection.2.bias"]
    torch.testing.assert_close(
        sat_projection(mean, weights, spec), expected + weights["modality.weight"][0]
    )


def test_other_networks_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "swin.pth"
    torch.save({"model_state_dict": {"backbone.swin.weight": torch.zeros(3)}}, path)
    command = ["convert", "sat", str(path), "-o", str(tmp_path / "out"), "--quiet"]
    assert main(command) == 3
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert "SwinUNETR" in error
    path.unlink()
    assert main(command) == 3
    assert "is missing" in capfd.readouterr().err
