"""The loss by hand, the batches, and what a very short training does."""

import json
import math
import random

import pytest
import torch

from textseg3d.errors import InputError
from textseg3d.text.contrastive import Recipe, draw_batch, multi_positive_info_nce
from textseg3d.text.corpus import Corpus, Entry, make_corpus
from textseg3d.text.pretraining import main
from textseg3d.text.prompts import TEMPLATES, mistype, vary


def test_the_loss_equals_a_sum_written_out():
    vectors = torch.nn.functional.normalize(torch.randn(5, 3, dtype=torch.float64), dim=1)
    labels = torch.tensor([0, 0, 1, 0, 1])
    concepts = torch.tensor([0, 0, 0, 0, 0])
    scale, margin = 7.0, 0.25
    terms = []
    for i in range(5):
        logits = {}
        for j in range(5):
            if j != i:
                extra = 0.0 if labels[i] == labels[j] else margin
                logits[j] = scale * (float(vectors[i] @ vectors[j]) + extra)
        total = math.log(sum(math.exp(value) for value in logits.values()))
        positives = [j for j in logits if labels[j] == labels[i]]
        terms.append(sum(total - logits[j] for j in positives) / len(positives))
    loss = multi_positive_info_nce(
        vectors, labels, torch.tensor(scale), concepts=concepts, side_margin=margin
    )
    assert float(loss) == pytest.approx(sum(terms) / 5, rel=1e-9)


def test_a_text_without_a_positive_is_left_out_of_the_loss():
    vectors = torch.eye(3)
    labels = torch.tensor([0, 0, 1])
    loss = multi_positive_info_nce(vectors, labels, torch.tensor(1.0))
    assert float(loss) == pytest.approx(math.log(2))


def test_a_batch_brings_the_other_side(toy_corpus):
    recipe = Recipe(steps=1, anchors=1, hard=1, texts=2)
    for seed in range(10):
        texts, labels, concepts = draw_batch(toy_corpus, recipe, random.Random(seed))
        assert labels == [0, 0, 1, 1]
        assert concepts == [0, 0, 0, 0]
        sides = [next(side for side in ("left", "right") if side in text) for text in texts]
        assert sides[0] == sides[1] != sides[2] == sides[3]


def test_shared_wordings_belong_to_nobody():
    corpus = make_corpus(
        [
            Entry("ilium", "ilium", None, ("IL", "hip wing", "Ileum")),
            Entry("ileum", "ileum", None, ("il", "last small bowel")),
        ]
    )
    assert [entry.short for entry in corpus.entries] == [
        ("ilium", "hip wing"),
        ("ileum", "last small bowel"),
    ]


def test_a_corpus_needs_two_names():
    entry = Entry("liver", "liver", None, ("liver",))
    with pytest.raises(InputError, match="two or more"):
        Corpus((entry, entry))


def test_the_split_is_stable_and_keeps_each_name(toy_corpus):
    train, held = toy_corpus.split(0.25)
    assert held == toy_corpus.split(0.25)[1]
    assert 8 < len(held) < 0.5 * 8 * 12
    for kept, whole in zip(train.entries, toy_corpus.entries):
        assert kept.short[0] == whole.short[0]
        out = {text for text, entry in held if entry.key == whole.key}
        assert set(kept.short) == set(whole.short) - out
    assert toy_corpus.split(0.0)[1] == []


def test_slips_touch_long_words_only():
    rng = random.Random(0)
    assert mistype("left ilium", rng) == "left ilium"
    slips = {mistype("left diaphragm", rng) for _ in range(40)}
    assert all(text.startswith("left d") and text != "left diaphragm" for text in slips)
    assert len(slips) > 5
    framed = {vary("liver", rng, template=1.0, slip=0.0) for _ in range(400)}
    assert framed == {template.format("liver") for template in TEMPLATES}


def test_a_short_training_improves_held_out_wordings(train_toy, tmp_path):
    before = train_toy(tmp_path / "before", steps=1)
    after = train_toy(tmp_path / "after", steps=60)
    assert after["top1_name"] >= before["top1_name"] + 0.3
    assert after["top1_name"] >= 0.9
    assert after["right_side"] >= 0.95
    assert after["cosine_other_side"] < before["cosine_other_side"]


def test_training_is_deterministic_by_seed(train_toy, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train_toy(tmp_path / name, steps=3, seed=seed)
    weights = {n: (tmp_path / n / "text.safetensors").read_bytes() for n in "abc"}
    assert weights["a"] == weights["b"] != weights["c"]
    record = json.loads((tmp_path / "a" / "pretraining.json").read_text())
    assert record["recipe"]["steps"] == 3
    assert record["targets"] == 8


def test_the_command_refuses_a_used_folder(tmp_path, caplog):
    (tmp_path / "pretraining.json").write_text("{}")
    assert main(["--out", str(tmp_path), "--steps", "1"]) == 2
    assert "already holds an encoder" in caplog.text
    assert main(["--out", str(tmp_path / "new"), "--minutes", "-1"]) == 2
    assert "not positive" in caplog.text
    assert not (tmp_path / "new").exists()
