"""Words of a dataset's own that a model's card carries: found alone and inside sentences."""

from __future__ import annotations

import dataclasses

import pytest

from tests.zoo.model_folders import CARD
from textseg3d.errors import ModelError
from textseg3d.inference.prompts import Vocabulary
from textseg3d.text.knowledge import load_tree
from textseg3d.text.knowledge.own import with_own_words
from textseg3d.zoo import ModelCard

NAMES = ("left kidney", "liver", "zorblax", "left quux", "right quux")
WORDS = {
    "left kidney": ("bean of the left flank",),
    "zorblax": ("zorblax node", "glowing blob of Smith"),
    "left quux": (),
    "right quux": ("dexter quuxoid",),
}


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary(NAMES, wordings=WORDS)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("zorblax", "zorblax"),
        ("the Zorblax node", "zorblax"),
        ("Please segment the glowing blob of Smith.", "zorblax"),
        ("zorblax nodes", "zorblax"),
        ("bean of the left flank", "left kidney"),
        ("show me the bean of the left flank", "left kidney"),
        ("left quux", "left quux"),
        ("outline the right quux", "right quux"),
        ("dexter quuxoid", "right quux"),
        ("left kidney", "left kidney"),
        ("hepatic parenchyma", "liver"),
    ],
)
def test_every_wording_is_found(vocabulary, text, name):
    request = vocabulary.understand(text)
    assert request.status == "ok"
    assert [part.name for part in request.parts] == [name]


def test_what_surrounds_an_own_word_counts(vocabulary):
    assert vocabulary.understand("no zorblax").status == "negated"
    (recipe,) = vocabulary.understand("zorblax in the liver").recipes
    assert (recipe.parts, recipe.within) == (("zorblax",), ("liver",))
    (recipe,) = vocabulary.understand("largest zorblax on the left").recipes
    assert (recipe.side, recipe.order.by, recipe.order.rank) == ("left", "largest", 1)
    part = vocabulary.understand("left quux").parts[0]
    assert part.side == "left"


def test_without_the_words_they_are_unknown():
    assert Vocabulary(NAMES).understand("glowing blob of Smith").status == "unknown"
    assert with_own_words({}) is load_tree()
    assert "zorblax" not in load_tree()


def test_a_word_that_the_tree_has_keeps_its_meaning():
    tree = with_own_words({"zorblax": ("spleen", "zorbl")})
    assert [c.name for c, _ in tree.lookup("spleen")] == ["spleen"]
    assert [c.name for c, _ in tree.lookup("zorbl")] == ["zorblax"]


def test_the_card_carries_them():
    own = dataclasses.replace(CARD, concepts=NAMES, wordings=WORDS)
    again = ModelCard.from_json(own.to_json())
    assert again == own
    assert Vocabulary.of(again).understand("dexter quuxoid").status == "ok"
    with pytest.raises(ModelError, match="wordings of 'blob', which is no concept"):
        dataclasses.replace(CARD, wordings={"blob": ("x",)})
