"""The embedding bank: the encoder's bits, read without torch, refused for another encoder."""

import subprocess
import sys
import time

import numpy as np
import pytest

from textseg3d.errors import ModelError
from textseg3d.text.bank import BankedEncoder, EmbeddingBank
from textseg3d.text.encoder import folder_hash

TEXTS = ["left kidney", "Right_Kidney", "right kidney", "左肾", "a long text " * 20]


@pytest.fixture(scope="module")
def bank_path(toy_encoder, tmp_path_factory):
    path = tmp_path_factory.mktemp("bank") / "bank.safetensors"
    EmbeddingBank.build(toy_encoder, TEXTS).save(path)
    return path


def test_the_bank_gives_the_encoders_bits(bank_path, toy_encoder):
    bank = EmbeddingBank.load(bank_path)
    assert len(bank) == 4, "two spellings of one text are stored once"
    for text in TEXTS:
        found, fresh = bank.get(text), toy_encoder.encode([text])
        for name in ("tokens", "mask", "pooled"):
            got, expected = getattr(found, name), getattr(fresh, name)
            assert got.dtype == expected.dtype
            assert np.array_equal(got, expected)


def test_look_up_by_normal_form(bank_path):
    bank = EmbeddingBank.load(bank_path)
    assert "LEFT  kidney." in bank
    assert bank.get("left liver") is None


def test_a_look_up_takes_under_a_millisecond(bank_path):
    bank = EmbeddingBank.load(bank_path)
    begin = time.perf_counter()
    for _ in range(200):
        bank.get("left kidney")
    assert (time.perf_counter() - begin) / 200 < 1e-3


def test_a_bank_of_another_encoder_is_refused(bank_path, toy_folder):
    EmbeddingBank.load(bank_path, encoder_hash=folder_hash(toy_folder))
    with pytest.raises(ModelError, match="made by text encoder"):
        EmbeddingBank.load(bank_path, encoder_hash="0" * 64)


def test_damaged_and_foreign_files_are_refused(bank_path, toy_folder, tmp_path):
    short = tmp_path / "short.safetensors"
    short.write_bytes(bank_path.read_bytes()[:300])
    for path in (short, tmp_path / "missing", toy_folder / "text.safetensors"):
        with pytest.raises(ModelError):
            EmbeddingBank.load(path)


def test_an_empty_bank_can_be_saved(toy_encoder, tmp_path):
    EmbeddingBank.build(toy_encoder, []).save(tmp_path / "empty")
    assert EmbeddingBank.load(tmp_path / "empty").get("left kidney") is None


def test_banked_encoder_mixes_known_and_new_texts(bank_path, toy_folder, toy_encoder):
    banked = BankedEncoder(toy_folder, bank_path)
    texts = ["left kidney", "left tibia", "right kidney"]
    assert np.array_equal(banked.encode(texts).tokens, toy_encoder.encode(texts).tokens)
    assert (banked.embed_dim, banked.context_length) == (
        toy_encoder.embed_dim,
        toy_encoder.context_length,
    )
    assert len(banked.encode([])) == 0


def test_known_texts_need_neither_torch_nor_open_clip(bank_path, toy_folder):
    code = (
        "import sys\n"
        "from textseg3d.text.bank import BankedEncoder, EmbeddingBank\n"
        "encoder = BankedEncoder(sys.argv[1], sys.argv[2])\n"
        "features = encoder.encode(['left kidney', 'right kidney'])\n"
        "assert features.tokens.shape == (2, 24, 32), features.tokens.shape\n"
        "assert not {'torch', 'open_clip'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-c", code, str(toy_folder), str(bank_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
