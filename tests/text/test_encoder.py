"""The tower encoder: shapes, masks, independence of rows, files that do not fit."""

import json
import shutil

import numpy as np
import pytest

from textseg3d.errors import InputError, ModelError, UsageError
from textseg3d.text.encoder import TowerConfig, folder_hash, load_encoder
from textseg3d.text.types import TextEncoder, TextFeatures, concatenate

TEXTS = ["left kidney", "", "right femur", "a much longer text " * 20, "左肾", "left kidney"]


def test_shapes_types_and_mask(toy_encoder):
    features = toy_encoder.encode(TEXTS)
    n, length, width = len(TEXTS), toy_encoder.context_length, toy_encoder.embed_dim
    assert isinstance(toy_encoder, TextEncoder)
    assert features.tokens.shape == (n, length, width)
    assert features.pooled.shape == (n, width)
    assert features.mask.shape == (n, length)
    assert (features.tokens.dtype, features.pooled.dtype) == (np.float32, np.float32)
    assert features.mask.dtype == bool
    assert features.mask.sum(axis=1)[[1, 3]].tolist() == [2, length]
    assert np.isfinite(features.tokens).all()
    assert (features.tokens[~features.mask] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(features.pooled, axis=1), 1, atol=2e-3)


def test_mask_is_true_on_each_token_between_the_markers(toy_encoder):
    features = toy_encoder.encode(["left kidney"])
    tokens = len(toy_encoder.tokenizer.split("left kidney"))
    expected = np.arange(toy_encoder.context_length) < tokens + 2
    assert np.array_equal(features.mask[0], expected)


def test_a_row_is_bit_equal_alone_and_among_others(toy_encoder):
    together = toy_encoder.encode(TEXTS)
    for row, text in enumerate(TEXTS):
        alone = toy_encoder.encode([text])
        assert np.array_equal(alone.tokens[0], together.tokens[row])
        assert np.array_equal(alone.pooled[0], together.pooled[row])


def test_a_second_load_gives_the_same_bits_and_hash(toy_folder, toy_encoder):
    again = load_encoder(toy_folder)
    assert again.hash == toy_encoder.hash == folder_hash(toy_folder)
    assert np.array_equal(again.encode(TEXTS).tokens, toy_encoder.encode(TEXTS).tokens)


def test_features_are_exact_in_fp16(toy_encoder):
    features = toy_encoder.encode(TEXTS)
    assert np.array_equal(features.tokens, features.tokens.astype(np.float16).astype(np.float32))


def test_padding_does_not_reach_the_features(toy_encoder):
    """The tower run on the real tokens alone, without any padding, agrees."""
    import torch

    ids = toy_encoder.tokenizer(["left kidney"])
    real = ids[:, : int((ids != toy_encoder.tokenizer.pad_id).sum())]
    with torch.no_grad():
        pooled, tokens = toy_encoder.tower(torch.from_numpy(real))
    features = toy_encoder.encode(["left kidney"])
    np.testing.assert_allclose(features.tokens[0, : real.shape[1]], tokens[0], atol=4e-3)
    np.testing.assert_allclose(
        features.pooled[0], pooled[0] / torch.linalg.norm(pooled[0]), atol=2e-3
    )


def test_no_texts_give_empty_features(toy_encoder):
    assert len(toy_encoder.encode([])) == 0


@pytest.mark.parametrize("name", ["config.json", "text.safetensors", "bpe.txt.gz"])
def test_the_hash_follows_each_file(toy_folder, tmp_path, name):
    copy = shutil.copytree(toy_folder, tmp_path / "copy")
    before = folder_hash(copy)
    if name == "config.json":
        values = json.loads((copy / name).read_text())
        (copy / name).write_text(json.dumps(dict(reversed(values.items()))))
        assert folder_hash(copy) == before, "key order must not matter"
        (copy / name).write_text(json.dumps({**values, "heads": 4}))
    else:
        (copy / name).write_bytes((copy / name).read_bytes() + b"\0")
    assert folder_hash(copy) != before


@pytest.mark.parametrize("name", ["config.json", "text.safetensors", "bpe.txt.gz"])
def test_a_missing_file_is_named(toy_folder, tmp_path, name):
    copy = shutil.copytree(toy_folder, tmp_path / "copy")
    (copy / name).unlink()
    with pytest.raises(ModelError, match=name.replace(".", r"\.")):
        load_encoder(copy)


def change(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_files_that_do_not_fit_are_refused(toy_folder, tmp_path):
    copy = shutil.copytree(toy_folder, tmp_path / "copy")
    change(copy, layers=3)
    with pytest.raises(ModelError, match="does not fit"):
        load_encoder(copy)
    change(copy, layers=2, vocab_size=99)
    with pytest.raises(ModelError, match="99"):
        load_encoder(copy)
    change(copy, encoder="towr")
    with pytest.raises(UsageError, match="did you mean 'tower'"):
        load_encoder(copy)
    (copy / "config.json").write_text("{")
    with pytest.raises(ModelError, match="JSON"):
        load_encoder(copy)


def test_damaged_weights_are_refused(toy_folder, tmp_path):
    copy = shutil.copytree(toy_folder, tmp_path / "copy")
    weights = (copy / "text.safetensors").read_bytes()
    (copy / "text.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelError, match=r"text\.safetensors"):
        load_encoder(copy)


def test_config_checks_its_keys():
    assert TowerConfig.from_json(TowerConfig(vocab_size=9).to_json()) == TowerConfig(vocab_size=9)
    with pytest.raises(ModelError, match="did you mean 'layers'"):
        TowerConfig.from_json({"vocab_size": 9, "layer": 2})
    with pytest.raises(ModelError, match="vocab_size"):
        TowerConfig.from_json({})
    with pytest.raises(ModelError, match="heads"):
        TowerConfig(vocab_size=9, embed_dim=10, heads=4)


def test_features_check_their_shapes():
    with pytest.raises(InputError, match="fit"):
        TextFeatures(np.zeros((1, 3, 4)), np.zeros((1, 2), bool), np.zeros((1, 4)))
    one = TextFeatures(
        np.ones((2, 3, 4)), np.ones((2, 3), bool), np.arange(8).reshape(2, 4).astype(float)
    )
    assert concatenate([one, one.select([1])]).pooled[:, 0].tolist() == [0, 4, 4]
    with pytest.raises(InputError):
        concatenate([])
