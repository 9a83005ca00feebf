"""Foreign encoders behind the protocol, on tiny random weights that the test makes itself."""

import builtins
import importlib.util
import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from textseg3d.errors import MissingDependencyError, ModelError, UsageError
from textseg3d.text.bank import EmbeddingBank
from textseg3d.text.encoder import load_encoder
from textseg3d.text.types import TextEncoder

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None,
    reason="transformers (extra 'huggingface') is not installed",
)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "left", "right", "kidney", "liver", ",", "the"]
TEXTS = ["left kidney", "", "right kidney", "the liver, the liver " * 30]
VISION = {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16}


def write_open_clip(folder, text_cfg, *, pickled=False):
    """An open_clip folder with random weights, made with open_clip alone."""
    import open_clip

    torch.manual_seed(3)
    model_cfg = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": text_cfg}
    config = {"model_cfg": model_cfg, "preprocess_cfg": {}}
    folder.mkdir(exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    model = open_clip.create_model(f"local-dir:{folder}")
    weights = {k: v.clone().contiguous() for k, v in model.state_dict().items()}
    if pickled:
        torch.save(weights, folder / "open_clip_pytorch_model.bin")
    else:
        save_file(weights, str(folder / "open_clip_model.safetensors"))
    return folder


def write_bert(folder):
    """A Hugging Face folder with a two-layer BERT of width 24 and ten words."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=20)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(4)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=20,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    text = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    return write_open_clip(tmp_path_factory.mktemp("clip"), text)


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory):
    return write_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def biomed_folder(tmp_path_factory):
    """As BiomedCLIP: open_clip around a BERT that pools by its first token."""
    folder = write_bert(tmp_path_factory.mktemp("biomed"))
    (folder / "model.safetensors").unlink()
    text = {
        "hf_model_name": str(folder),
        "hf_tokenizer_name": str(folder),
        "hf_pooler_type": "cls_last_hidden_state_pooler",
        "hf_proj_type": "mlp",
        "hf_model_pretrained": False,
        "context_length": 18,
    }
    import open_clip

    model_cfg = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": text}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model_cfg}))
    torch.manual_seed(5)
    model = open_clip.create_model(f"local-dir:{folder}", pretrained_text=False)
    weights = {k: v.clone().contiguous() for k, v in model.state_dict().items()}
    save_file(weights, str(folder / "open_clip_model.safetensors"))
    return folder


def check_protocol(encoder):
    """What every encoder must keep, whatever it is made of."""
    features = encoder.encode(TEXTS)
    count, length, width = len(TEXTS), encoder.context_length, encoder.embed_dim
    assert isinstance(encoder, TextEncoder)
    assert features.tokens.shape == (count, length, width)
    assert features.pooled.shape == (count, width)
    assert features.mask.shape == (count, length)
    assert (features.tokens.dtype, features.pooled.dtype) == (np.float32, np.float32)
    assert np.isfinite(features.tokens).all()
    assert features.mask.any(axis=1).all()
    assert (features.tokens[~features.mask] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(features.pooled, axis=1), 1, atol=2e-3)
    for row, text in enumerate(TEXTS):
        alone = encoder.encode([text])
        assert np.array_equal(alone.tokens[0], features.tokens[row])
        assert np.array_equal(alone.pooled[0], features.pooled[row])
    assert not np.array_equal(features.pooled[0], features.pooled[2])
    bank = EmbeddingBank.build(encoder, TEXTS)
    assert np.array_equal(bank.get("Left  kidney").tokens[0], features.tokens[0])
    assert len(encoder.hash) == 64
    return features


def test_open_clip_tower_keeps_the_protocol_and_open_clips_own_answer(clip_folder):
    import open_clip

    encoder = load_encoder(f"open_clip:local-dir:{clip_folder}")
    features = check_protocol(encoder)
    assert features.tokens.shape[1:] == (16, 24)
    assert features.mask.sum(axis=1).tolist()[:2] == [4, 2]
    model = open_clip.create_model(f"local-dir:{clip_folder}").eval()
    with torch.no_grad():
        ids = open_clip.get_tokenizer(f"local-dir:{clip_folder}")(["left kidney"])
        expected = model.encode_text(ids, normalize=True)[0].numpy()
    np.testing.assert_allclose(features.pooled[0], expected, atol=1e-3)
    # Pooled is the projected end token, so the tokens are in the same space.
    end = features.tokens[0, 3]
    np.testing.assert_allclose(end / np.linalg.norm(end), expected, atol=2e-3)


@needs_transformers
def test_biomedclip_like_tower_keeps_the_protocol(biomed_folder):
    import open_clip

    encoder = load_encoder(f"open_clip:local-dir:{biomed_folder}")
    features = check_protocol(encoder)
    assert encoder.embed_dim == 16
    model = open_clip.create_model(f"local-dir:{biomed_folder}").eval()
    with torch.no_grad():
        ids = open_clip.get_tokenizer(f"local-dir:{biomed_folder}")(["right kidney"])
        expected = model.encode_text(ids, normalize=True)[0].numpy()
    np.testing.assert_allclose(features.pooled[2], expected, atol=1e-3)


@needs_transformers
def test_hugging_face_encoder_keeps_the_protocol_and_transformers_answer(bert_folder):
    from transformers import AutoTokenizer, BertModel

    features = check_protocol(load_encoder(f"hf:{bert_folder}"))
    tokenizer = AutoTokenizer.from_pretrained(bert_folder)
    assert features.mask.sum(axis=1).tolist() == [4, 2, 4, 20]
    model = BertModel.from_pretrained(bert_folder).eval()
    with torch.no_grad():
        expected = model(**tokenizer("left kidney", return_tensors="pt")).last_hidden_state[0]
    np.testing.assert_allclose(features.tokens[0, :4], expected, atol=2e-3)
    mean = expected.mean(dim=0)
    np.testing.assert_allclose(features.pooled[0], mean / mean.norm(), atol=2e-3)


def test_the_hash_follows_the_weights(clip_folder, tmp_path):
    first = load_encoder(f"open_clip:local-dir:{clip_folder}").hash
    assert load_encoder(f"open_clip:local-dir:{clip_folder}").hash == first
    weights = load_file(str(clip_folder / "open_clip_model.safetensors"))
    weights["ln_final.bias"][0] += 1e-3
    (tmp_path / "open_clip_config.json").write_bytes(
        (clip_folder / "open_clip_config.json").read_bytes()
    )
    save_file(weights, str(tmp_path / "open_clip_model.safetensors"))
    assert load_encoder(f"open_clip:local-dir:{tmp_path}").hash != first


class Intruder:
    def __reduce__(self):
        return (print, ("code of the checkpoint has run",))


def test_pickled_weights_are_converted_in_a_child(clip_folder, tmp_path, capfd):
    text = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    folder = write_open_clip(tmp_path, text, pickled=True)
    same = load_encoder(f"open_clip:local-dir:{clip_folder}")
    assert load_encoder(f"open_clip:local-dir:{folder}").hash == same.hash
    (folder / "open_clip_pytorch_model.bin").write_bytes(pickle.dumps({"a": Intruder()}))
    with pytest.raises(ModelError, match="more than tensors"):
        load_encoder(f"open_clip:local-dir:{folder}")
    assert "has run" not in "".join(capfd.readouterr())


def test_without_transformers_the_extra_is_named(monkeypatch, biomed_like_config):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name == "transformers":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    for source in ("hf:some/repository", f"open_clip:local-dir:{biomed_like_config}"):
        with pytest.raises(MissingDependencyError, match=r"textseg3d\[huggingface\]"):
            load_encoder(source)


@pytest.fixture
def biomed_like_config(tmp_path):
    config = {"model_cfg": {"text_cfg": {"hf_model_name": "a/b"}}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    ("source", "error", "match"),
    [
        ("open_clip:ViT-B-33@openai", UsageError, "did you mean 'ViT-B-32'"),
        ("open_clip:ViT-B-32", UsageError, "laion2b_s34b_b79k"),
        ("open_clip:local-dir:no/such/folder", ModelError, "open_clip_config.json"),
        ("opn_clip:ViT-B-32", UsageError, "did you mean 'open_clip'"),
        ("no/such/folder", ModelError, "config.json"),
    ],
)
def test_wrong_names_say_what_to_do(source, error, match):
    with pytest.raises(error, match=match):
        load_encoder(source)


@needs_transformers
def test_a_hugging_face_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot load"):
        load_encoder(f"hf:{tmp_path}")
