"""A toy text encoder, trained once per session.

The toy corpus has eight targets; the tower is two layers of width 32.
"""

import pytest

from textseg3d.text.contrastive import Recipe
from textseg3d.text.corpus import Entry, make_corpus
from textseg3d.text.encoder import TowerConfig, load_encoder
from textseg3d.text.pretraining import pretrain

NAMES = {
    "kidney": ("ren", "kidney organ", "renal organ"),
    "lung": ("pulmo", "lung organ", "pulmonary organ"),
    "femur": ("thigh bone", "os femoris", "femoral bone"),
    "rib": ("costa", "rib bone", "costal bone"),
}
SMALL_TOWER = TowerConfig(vocab_size=1, embed_dim=32, layers=2, heads=2)


@pytest.fixture(scope="session")
def toy_corpus():
    entries = []
    for name, synonyms in NAMES.items():
        for side, other in (("left", "right"), ("right", "left")):
            names = (name, *synonyms)
            short = [f"{side} {n}" for n in names] + [f"{n}, {side}" for n in names]
            short += [f"{n} on the {side} side" for n in names]
            entry = Entry(
                key=f"{side} {name}",
                concept=name,
                side=side,
                short=tuple(short),
                long=(f"{side} side: what is called {name} or {synonyms[0]}",),
                near=(f"{other} {name}",),
            )
            entries.append(entry)
    return make_corpus(entries)


@pytest.fixture(scope="session")
def train_toy(toy_corpus):
    """A function (folder, steps, seed) that writes a toy encoder and returns its figures."""

    def train(folder, *, steps, seed=0):
        return pretrain(
            toy_corpus,
            folder,
            recipe=Recipe(steps=steps, anchors=8, learning_rate=3e-3, seed=seed),
            merges=200,
            hold_out=0.25,
            tower=SMALL_TOWER,
        )

    return train


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory, train_toy):
    folder = tmp_path_factory.mktemp("toy_encoder")
    train_toy(folder, steps=30)
    return folder


@pytest.fixture(scope="session")
def toy_encoder(toy_folder):
    return load_encoder(toy_folder)
