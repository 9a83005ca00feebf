"""VoxTell's network against its own package, with random weights of a small size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.convert.nnunet_factory import write_scan
from textseg3d.cli.main import main
from textseg3d.convert import convert_voxtell
from textseg3d.errors import ModelError
from textseg3d.inference.open.engine import load_open

pytest.importorskip("voxtell.model.voxtell_model")
FEATURES = (8, 8, 12, 16, 20, 20)
PATCH = (64, 32, 32)
WIDTH = 24  # of text vectors
HEADS = 4


def package_network(seed: int = 0) -> Any:
    """VoxTell's own network, its fixed table of sizes exchanged for a small one."""
    from voxtell.model import voxtell_model

    class Small(voxtell_model.VoxTellModel):
        DECODER_CONFIGS = {  # noqa: RUF012
            stage: {"channels": c, "shape": tuple(PATCH[a] >> stage for a in (1, 2, 0))}
            for stage, c in enumerate(FEATURES)
        }

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Small(
            input_channels=1,
            n_stages=6,
            features_per_stage=FEATURES,
            conv_op=nn.Conv3d,
            kernel_sizes=3,
            strides=(1, 2, 2, 2, 2, 2),
            n_blocks_per_stage=1,
            n_conv_per_stage_decoder=(1, 1, 2, 1, 1),
            conv_bias=True,
            norm_op=nn.InstanceNorm3d,
            norm_op_kwargs={"eps": 1e-5, "affine": True},
            nonlin=nn.LeakyReLU,
            nonlin_kwargs={"inplace": True},
            decoder_layer=4,
            text_embedding_dim=WIDTH,
            num_maskformer_stages=5,
            num_heads=HEADS,
            query_dim=48,
            project_to_decoder_hidden_dim=40,
        ).eval()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += torch.randn_like(parameter) * 0.05
    return network


def voxtell_folder(folder: Path, network: Any) -> Path:
    """Laid out as VoxTell publishes it."""
    arguments = {
        "n_stages": 6, "features_per_stage": list(FEATURES), "conv_op": "torch.nn.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * 6, "strides": [[1] * 3] + [[2] * 3] * 5,
        "n_blocks_per_stage": [1] * 6, "n_conv_per_stage_decoder": [1, 1, 2, 1, 1],
        "conv_bias": True, "norm_op": "torch.nn.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True}, "dropout_op": None,
        "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }  # fmt: skip
    configuration = {
        "patch_size": list(PATCH),
        "spacing": [1, 1, 1],
        "architecture": {"network_class_name": "x.VoxTellModel", "arch_kwargs": arguments},
    }
    (folder / "fold_0").mkdir(parents=True)
    plans = {"plans_name": "small", "configurations": {"3d_fullres": configuration}}
    (folder / "plans.json").write_text(json.dumps(plans))
    torch.save({"network_weights": network.state_dict()}, folder / "fold_0/checkpoint_final.pth")
    return folder


def write_npz(path: Path, texts: list[str]) -> np.ndarray:
    vectors = np.random.default_rng(3).normal(size=(len(texts), WIDTH)).astype(np.float16)
    np.savez(path, labels=np.array(texts), embeddings=vectors)
    return vectors.astype(np.float32)


@pytest.fixture(scope="module")
def network() -> Any:
    return package_network()


@pytest.fixture(scope="module")
def source(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return voxtell_folder(tmp_path_factory.mktemp("voxtell") / "voxtell_small", network)


@pytest.fixture(scope="module")
def model(source: Path) -> Path:
    write_npz(source.parent / "bank.npz", ["left lung", "liver", "a nodule"])
    return convert_voxtell(source, source.parent / "model", bank=source.parent / "bank.npz")


@pytest.mark.parametrize("prompts", [1, 3, 10])
def test_logits_equal_the_package(prompts: int, network: Any, model: Path) -> None:
    ours = load_open(model).network
    generator = torch.Generator().manual_seed(prompts)
    image = torch.randn((1, 1, *PATCH), generator=generator)
    texts = torch.randn((1, prompts, WIDTH), generator=generator)
    with torch.inference_mode():
        expected = network(image, texts)[0]
        shared = ours.encode_image(image)
        queries = ours.queries(shared, texts[0])
        found = ours.decode(shared, queries)
        one = ours.decode(shared, [q[:1] for q in queries])
        kept = ours.decode(shared, queries, give_up=-1e9)  # nobody is given up
        none = ours.decode(shared, queries, give_up=1e9)
    assert expected.std() > 0.01
    assert (found - expected).abs().max() < 1e-3
    assert (one[0] - expected[0]).abs().max() < 1e-3
    assert (kept - expected).abs().max() < 1e-3
    assert none.shape == expected.shape


def test_masks_equal_the_package_with_nnunets_windows(
    network: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole scan: RAS, crop, z-score, windows; sums in float32 on both sides."""
    from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient
    from voxtell.inference.predictor import VoxTellPredictor

    from textseg3d import Segmenter

    monkeypatch.setattr(torch, "half", torch.float32)
    scan = write_scan(tmp_path, shape=(50, 34, 29))[0]
    texts = ["left lung", "liver", "a nodule"]
    predictor = object.__new__(VoxTellPredictor)  # its constructor fixes the full size
    from nnunetv2.preprocessing.normalization.default_normalization_schemes import (
        ZScoreNormalization,
    )

    predictor.__dict__.update(
        device=torch.device("cpu"), network=network, patch_size=PATCH, tile_step_size=0.5,
        perform_everything_on_device=True,
        normalization=ZScoreNormalization(intensityproperties={}),
        embedding_bank=None,
    )  # fmt: skip
    vectors = write_npz(tmp_path / "bank.npz", texts)
    image, _ = NibabelIOWithReorient().read_images([str(scan)])
    expected = predictor.predict_single_image(image, text_embeddings=torch.tensor(vectors)[None])
    result = Segmenter(model, "cpu", precision="fp32").predict(scan, texts, exact=True)
    for text, mask in zip(texts, expected):
        ours = result[text].array[:, ::-1, ::-1]
        assert 0 < ours.mean() < 1
        assert (ours != mask.astype(bool)).mean() < 1e-3
    with Segmenter(model, "cpu", precision="fp32").set_image(scan, exact=True) as session:
        again = session.predict("liver", keep_logits=True)["liver"]
    np.testing.assert_array_equal(again.array, result["liver"].array)
    np.testing.assert_array_equal(again.probability() > 0.5, again.array)


def test_licence_vocabulary_and_refusals(
    source: Path, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("TEXTSEG3D_HOME", str(tmp_path / "home"))
    card = json.loads((model / "card.json").read_text())
    assert card["weights_licence"] == "CC-BY-NC-SA-4.0"
    scan = write_scan(tmp_path / "scan", shape=(20, 20, 20))[0]
    command = ["predict", "-i", str(scan), "--device", "cpu", "-o", str(tmp_path / "out")]
    assert main([*command, "-p", "liver", "--model", str(source)]) == 3  # in place, no bank
    error = capfd.readouterr().err
    assert "CC-BY-NC-SA-4.0" in error
    assert "Qwen/Qwen3-Embedding-4B is not on this machine" in error
    again = [*command, "--overwrite", "--quiet"]  # the refused case left its record
    assert main([*again, "-p", "A  Nodule", "--model", str(model)]) == 0
    (tmp_path / "bad.npz").write_bytes(b"PK")
    with pytest.raises(ModelError, match="no bank of text vectors"):
        convert_voxtell(source, tmp_path / "x", bank=tmp_path / "bad.npz")
    plans = json.loads((source / "plans.json").read_text())
    other = voxtell_folder(tmp_path / "other", package_network())
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["features_per_stage"][
        1
    ] = 9
    (other / "plans.json").write_text(json.dumps(plans))
    assert main(["convert", "voxtell", str(other), "-o", str(tmp_path / "y"), "--quiet"]) == 3
    assert capfd.readouterr().err.count("\n") == 1
    data = (other / "fold_0" / "checkpoint_final.pth").read_bytes()
    (other / "fold_0" / "checkpoint_final.pth").write_bytes(data[: len(data) // 2])
    assert main(["convert", "voxtell", str(other), "-o", str(tmp_path / "y"), "--quiet"]) == 3
    assert "no whole checkpoint" in capfd.readouterr().err
