"""Every structure of the bundled model under many names, and what the text side costs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from textseg3d.inference.prompts import Vocabulary
from textseg3d.text.knowledge import load_tree

ROOT = Path(__file__).resolve().parents[2]
TEXT = ROOT / "model_zoo" / "ct-nano" / "text"
TREE = load_tree()
CLAIMED = json.loads((ROOT / "model_zoo/ct-nano/card.json").read_text())["concepts"]
TARGETS = tuple(
    key
    for key in json.loads((ROOT / "examples/ct_nano/targets.json").read_text())["targets"]
    if TREE.canonical_name(TREE.resolve_label(key)) in CLAIMED  # the others are withheld
)
PER_CONCEPT = 8
# Written by hand, not read from the tree.
BY_HAND = {
    "left lung": ("LT lung", "lung, left", "pulmo sinister", "the lung on the left"),
    "right lung": ("RT lung", "lung (R)", "pulmo dexter"),
    "lungs": ("both lungs", "bilateral lungs", "left and right lung"),
    "upper lobe of left lung": ("LUL", "left upper lobe", "left upper lung lobe"),
    "lower lobe of left lung": ("LLL", "left lower lobe"),
    "upper lobe of right lung": ("RUL", "right upper lobe"),
    "middle lobe of right lung": ("RML", "right middle lobe", "middle lobe"),
    "lower lobe of right lung": ("RLL", "right lower lobe"),
    "heart": ("cor", "the heart", "whole heart"),
    "liver": ("hepar", "hepatic parenchyma", "the liver"),
    "spleen": ("lien", "the spleen"),
    "left kidney": ("LT kidney", "kidney, left", "left renal parenchyma"),
    "right kidney": ("RT kidney", "ren dexter", "kidney on the right"),
    "kidneys": ("both kidneys", "bilateral kidneys", "left and right kidney"),
    "stomach": ("gaster", "the stomach"),
    "urinary bladder": ("bladder", "vesica urinaria"),
    "aorta": ("the aorta",),
    "bones": ("skeleton", "all bones"),
    "vertebrae": ("all vertebrae", "the vertebrae"),
    "ribs": ("all ribs", "both ribs"),
    "spinal cord": ("medulla spinalis",),
    "trachea": ("windpipe",),
    "esophagus": ("oesophagus", "gullet"),
    "gallbladder": ("gall bladder", "vesica biliaris"),
    "small bowel": ("small intestine",),
    "colon": ("large intestine",),
    "left adrenal gland": ("left adrenal", "left suprarenal gland"),
    "right adrenal gland": ("right adrenal", "RT adrenal gland"),
    "inferior vena cava": ("IVC",),
    "superior vena cava": ("SVC",),
    "thyroid gland": ("thyroid",),
    "prostate": ("prostate gland",),
    "sternum": ("breastbone",),
    "left femur": ("left thigh bone", "left thighbone"),
    "left scapula": ("left shoulder blade",),
    "right clavicle": ("right collarbone", "right collar bone"),
}


@pytest.fixture(scope="module")
def vocabulary():
    tree = load_tree()
    return Vocabulary([tree.canonical_name(tree.resolve_label(key)) for key in TARGETS])


def asked(vocabulary, text):
    """Names of the model that a text stands for; nothing is cut off or left out."""
    request = vocabulary.understand(text)
    assert request.status == "ok", text
    assert all(recipe.plain for recipe in request.recipes), text
    return [part.name for part in request.parts]


def test_hand_written_names_are_of_the_model(vocabulary):
    assert len(vocabulary.names) == len(TARGETS) == len(CLAIMED) >= 50
    assert set(BY_HAND) <= set(vocabulary.names)


@pytest.mark.parametrize("key", TARGETS)
def test_five_wordings_ask_for_the_same_thing(vocabulary, key):
    """What is asked under one name gives one mask, so the masks are equal to the bit."""
    tree = load_tree()
    target = tree.resolve_label(key)
    name = tree.canonical_name(target)
    others = tree.wordings(target)[1:]
    step = max(1, len(others) // PER_CONCEPT)
    texts = [*BY_HAND.get(name, ()), *others[::step]]
    assert len(set(texts) - {name}) >= 5
    assert asked(vocabulary, name) == [name]
    for text in texts:
        assert asked(vocabulary, text) == [name], text


def least_seconds(call, repeats):
    """Processor time of the quickest of several runs: other programs only make it longer."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def test_a_known_prompt_comes_from_the_bank_without_open_clip(tmp_path):
    from tests.model_factory import write_bank

    names = tuple(f"structure {number}" for number in range(2000))
    write_bank(tmp_path / "bank.safetensors", names, seed=0)
    code = (
        "import sys, time\n"
        "from textseg3d.text.bank import EmbeddingBank\n"
        f"bank = EmbeddingBank.load({str(tmp_path / 'bank.safetensors')!r})\n"
        "def once():\n"
        "    start = time.perf_counter()\n"
        "    assert bank.get('Structure 1234') is not None\n"
        "    return time.perf_counter() - start\n"
        "print(min(once() for _ in range(20)))\n"
        "print(sorted({'torch', 'open_clip'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    seconds, loaded = done.stdout.splitlines()
    assert float(seconds) < 1e-3
    assert loaded == "[]"


def test_a_new_prompt_is_encoded_quickly():
    from textseg3d.text.encoder import load_encoder

    encoder = load_encoder(TEXT)
    encoder.encode(["warm up"])
    assert least_seconds(lambda: encoder.encode(["a name that no bank has"]), 20) < 0.02


def test_text_weights_and_tree_are_small():
    tree = ROOT / "textseg3d" / "text" / "knowledge" / "data"
    files = [*TEXT.iterdir(), *tree.iterdir()]
    assert sum(path.stat().st_size for path in files if path.is_file()) < 35e6
