"""Tokens of texts in several scripts, and texts made to break the tokenizer."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textseg3d.errors import ModelError
from textseg3d.text.bpe import write_merges
from textseg3d.text.normalise import normalise_text
from textseg3d.text.tokenizer import BpeTokenizer

CONTEXT = 24


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("bpe") / "bpe.txt.gz"
    write_merges(path, [("l", "e"), ("f", "t</w>"), ("le", "ft</w>"), ("n", "i")])
    return BpeTokenizer(path, CONTEXT)


@pytest.mark.parametrize(
    "text", ["left kidney", "linke lungenflügel", "左肾", "rein gauche élargi", "😀 5 mm", "λ/μ"]
)
def test_decoding_gives_the_normal_form_back(tokenizer, text):
    # Digits and punctuation are words of their own, so only the spaces can differ.
    decoded = tokenizer.decode(tokenizer.split(text))
    assert decoded.replace(" ", "") == normalise_text(text).replace(" ", "")


def test_merges_are_used(tokenizer):
    assert len(tokenizer.split("left")) == 1
    assert len(tokenizer.split("leg")) == 2


def test_ids_have_markers_and_padding(tokenizer):
    ids = tokenizer(["left", ""])
    assert ids.shape == (2, CONTEXT)
    assert ids[1, :3].tolist() == [tokenizer.start_id, tokenizer.end_id, tokenizer.pad_id]
    assert ids[0, 2] == tokenizer.end_id
    assert (ids[0, 3:] == tokenizer.pad_id).all()


def test_a_long_text_is_cut_and_still_ends(tokenizer):
    ids = tokenizer(["x" * 500])[0]
    assert ids[-1] == tokenizer.end_id
    assert (ids != tokenizer.pad_id).all()


@pytest.mark.parametrize(
    "text", ["<end_of_text>", "a <pad> b", "&lt;pad&gt;", "&amp;lt;pad&amp;gt;", "<START_OF_TEXT>"]
)
def test_typed_markers_are_not_markers(tokenizer, text):
    assert all(token < tokenizer.start_id for token in tokenizer.split(text))


def test_exclamation_marks_are_not_padding(tokenizer):
    ids = tokenizer(["!!!"])[0]
    assert (ids != tokenizer.pad_id).sum() == 5


@given(st.text(max_size=60))
def test_any_text_has_ids_and_a_stable_normal_form(tokenizer, text):
    normal = normalise_text(text)
    assert normalise_text(normal) == normal
    assert (tokenizer([text]) == tokenizer([normal])).all()


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("  Left_Kidney. ", "left kidney"),
        ("left–sided\tnodule", "left-sided nodule"),
        ("Oberlappen\n", "oberlappen"),
        ("ﬁbula", "fibula"),
        ("le\u200bft", "left"),
    ],
)
def test_normal_form(text, normal):
    assert normalise_text(text) == normal


def test_a_damaged_merges_file_is_refused(tmp_path):
    (tmp_path / "plain.txt.gz").write_text("no gzip")
    (tmp_path / "bad.txt.gz").write_bytes(gzip.compress(b"head\na b c"))
    for name in ("plain.txt.gz", "bad.txt.gz", "missing.txt.gz"):
        with pytest.raises(ModelError):
            BpeTokenizer(tmp_path / name, CONTEXT)
