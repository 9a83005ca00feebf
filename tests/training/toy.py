"""A toy training set: two blocks in a body, one on each side, and a tiny encoder and network."""

from pathlib import Path

import numpy as np

from textseg3d.plans import Architecture, Configuration, Intensity
from textseg3d.text.types import TextFeatures
from textseg3d.training.cases import TargetEntry, TrainingCase, TrainingSet, save_case_arrays

EMBED = 8


class ToyEncoder:
    """Random but fixed vectors per word; enough to tell prompts apart."""

    embed_dim = EMBED
    context_length = 4
    hash = "toy"

    def encode(self, texts):
        tokens = np.zeros((len(texts), 4, EMBED), np.float32)
        mask = np.zeros((len(texts), 4), bool)
        for row, text in enumerate(texts):
            for place, word in enumerate(text.split()[:4]):
                seed = int.from_bytes(word.encode()[:6].ljust(6), "little")
                tokens[row, place] = np.random.default_rng(seed).normal(size=EMBED)
                mask[row, place] = True
        return TextFeatures(tokens, mask, tokens.sum(axis=1))


def configuration() -> Configuration:
    return Configuration(
        spacing=(3.0, 3.0, 3.0),
        patch_size=(32, 32, 32),
        architecture=Architecture(
            arch_kwargs={
                "widths": [8, 8, 16, 16, 16],
                "blocks": [1, 1, 1, 1, 1],
                "feature_channels": 8,
                "embed_dim": EMBED,
                "attention_width": 16,
                "attention_heads": 2,
                "attention_layers": 1,
            }
        ),
        intensity=(Intensity(windows=((-160.0, 240.0),)),),
    )


def write_training_set(folder: Path) -> TrainingSet:
    folder.mkdir(parents=True, exist_ok=True)
    labels = np.zeros((32, 32, 40), np.uint8)
    labels[2:30, 3:29, 3:37] = 1
    labels[8:24, 8:24, 6:16] = 2  # the patient's right: small x
    labels[8:24, 8:24, 24:34] = 3
    image = np.choose(labels, [-1000, -80, 60, 60]).astype(np.int16)
    save_case_arrays(folder, "scan", labels, image)
    save_case_arrays(folder, "atlas", labels, None)
    table = {"right block": (2,), "left block": (3,), "blocks": (2, 3), "cone": ()}
    training_set = TrainingSet(
        (3.0, 3.0, 3.0),
        (
            TargetEntry("right block", ("block, right",), "left block", 2.0),
            TargetEntry("left block", ("block, left",), "right block", 2.0),
            TargetEntry("blocks"),
            TargetEntry("cone"),
        ),
        (
            TrainingCase("scan", "scan", 1.0, table),
            TrainingCase("atlas", "atlas", 1.0, table, {"1": "fat", "2": "liver", "3": "liver"}),
        ),
    )
    training_set.save(folder)
    return training_set
