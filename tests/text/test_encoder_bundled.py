"""The bundled encoder on wordings written by hand for this test.

A wording that the knowledge tree has, or takes up later, is not counted.
"""

import numpy as np
import pytest

from textseg3d.resources import data_folder
from textseg3d.text.encoder import load_encoder
from textseg3d.text.knowledge import Target, load_tree
from textseg3d.text.normalise import normalise_text

FOLDER = data_folder("model_zoo") / "ct-nano" / "text"
# Targets of the first bundled model; the nearest of their names must be the right one.
TARGETS = [
    *(Target(name, side) for name in ("lung", "kidney", "femur") for side in ("left", "right")),
    *(Target(f"{part} lobe of lung", s) for part in ("upper", "lower") for s in ("left", "right")),
    Target("middle lobe of lung", "right"),
    Target("lung", "both"),
    Target("kidney", "both"),
    *map(Target, ("heart", "liver", "spleen", "stomach", "urinary bladder", "aorta", "bones")),
    *map(Target, ("vertebrae", "spinal cord", "trachea", "esophagus", "pancreas", "gallbladder")),
]
WORDINGS = {
    "the kidney on the left-hand side": "left kidney",
    "patient's own right kidney": "right kidney",
    "KIDNEY LEFT": "left kidney",
    "lt kidney please": "left kidney",
    "renal parenchyma, on the right": "right kidney",
    "could you outline the right lung": "right lung",
    "lung tissue (R)": "right lung",
    "the left lung field": "left lung",
    "both of the lungs": "lungs",
    "the two kidneys": "kidneys",
    "the organ called liver": "liver",
    "just segment liver parenchyma": "liver",
    "the entire liver": "liver",
    "splenic parenchyma": "spleen",
    "a mask of the whole spleen": "spleen",
    "urinary bladder lumen": "urinary bladder",
    "lower lobe, of the left lung": "lower lobe of left lung",
    "right middle lobe region": "middle lobe of right lung",
    "upper lobe on the left": "upper lobe of left lung",
    "upper lobe, on the right": "upper lobe of right lung",
    "all vertebral bodies": "vertebrae",
    "windpipe please": "trachea",
    "all bony structures": "bones",
    "spinal cord on this ct": "spinal cord",
    "left femoral bone": "left femur",
    "gall bladder only": "gallbladder",
}


@pytest.fixture(scope="module")
def encoder():
    return load_encoder(FOLDER)


def test_it_is_small_and_of_the_agreed_shape(encoder):
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 10_000_000
    assert (encoder.context_length, encoder.embed_dim) == (24, 192)


def test_hand_written_wordings_find_their_target(encoder):
    tree = load_tree()
    names = [tree.canonical_name(target) for target in TARGETS]
    known = {normalise_text(text) for target in TARGETS for text in tree.wordings(target)}
    vectors = encoder.encode(names).pooled
    asked = {text: name for text, name in WORDINGS.items() if normalise_text(text) not in known}
    assert len(asked) >= 20
    wrong = {}
    for text, name in asked.items():
        found = names[int((vectors @ encoder.encode([text]).pooled[0]).argmax())]
        if found != name:
            wrong[text] = found
        for side in ("left", "right"):
            assert (side in found) == (side in name), f"{text!r} was taken for {found!r}"
    assert len(wrong) <= 1, wrong


@pytest.mark.parametrize("space", ["pooled", "tokens"])
def test_sides_lie_apart_and_phrasings_together(encoder, space):
    def vectors(texts):
        features = encoder.encode(texts)
        if space == "pooled":
            return features.pooled
        rows = [tokens[mask].mean(axis=0) for tokens, mask in zip(features.tokens, features.mask)]
        return np.stack([row / np.linalg.norm(row) for row in rows])

    for name in ("kidney", "lung", "femur", "adrenal gland", "scapula", "clavicle"):
        left, right, again = vectors([f"left {name}", f"right {name}", f"{name}, left"])
        assert float(left @ again) > 0.95
        assert float(left @ right) < 0.5
