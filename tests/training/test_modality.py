"""The modality token: it changes answers, training draws it, prediction gives the same one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tests.model_factory import CONCEPTS, make_model
from tests.training.test_stored import NAME, prepare
from tests.training.toy import EMBED, ToyEncoder, configuration
from textseg3d.api import Segmenter
from textseg3d.dataset.case_notes import CaseNotes
from textseg3d.errors import UsageError
from textseg3d.networks import build_network
from textseg3d.plans import Plans
from textseg3d.text.bank import EmbeddingBank
from textseg3d.text.modality import TEXTS, common_modality, with_modality
from textseg3d.text.types import concatenate
from textseg3d.training.cases import TargetEntry
from textseg3d.training.configure import prompted_configuration
from textseg3d.training.loop import logits
from textseg3d.training.prompts import PromptFeatures
from textseg3d.training.stored import StoreDataset
from textseg3d.training.targets import dataset_targets
from textseg3d.zoo import ModelCard, write_card


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Random weights for CT and MR; the bank also has the modalities' texts."""
    folder = make_model(tmp_path_factory.mktemp("model"), concepts=(*CONCEPTS, *TEXTS.values()))
    plans = Plans.load(folder / "plans.json")
    (name, own), *_ = plans.configurations.items()
    own = dataclasses.replace(own, text=dataclasses.replace(own.text, modality_token=True))
    plans.replace(configurations={name: own}).save(folder / "plans.json")
    card = ModelCard.read(folder)
    write_card(folder, dataclasses.replace(card, concepts=CONCEPTS, modalities=("CT", "MR")))
    return folder


@pytest.fixture(scope="module")
def scan():
    return np.random.default_rng(0).normal(0, 200, (20, 24, 22)).astype(np.float32)


def test_a_masked_place_is_no_place_and_a_filled_one_is():
    network, prompt, ct, mr = (
        build_network(configuration()).eval(),
        *(ToyEncoder().encode([text]) for text in ("right block", TEXTS["CT"], TEXTS["MR"])),
    )
    rng = torch.Generator().manual_seed(0)
    x = torch.randn((1, 1, 32, 32, 32), generator=rng)
    answers = []
    with torch.no_grad():
        features = network.encode_image(x, torch.tensor([[-1.0, 1.0]] * 3))
        for one in (prompt, *(with_modality(prompt, word) for word in (None, ct, mr))):
            arrays = (torch.from_numpy(a) for a in (one.tokens, one.mask, one.pooled))
            answers.append(network.answer(features, *arrays).coarse)
    plain, masked, with_ct, with_mr = answers
    torch.testing.assert_close(masked, plain)
    for one, other in ((with_ct, plain), (with_mr, plain), (with_ct, with_mr)):
        assert not torch.allclose(one, other, atol=1e-3)
    assert with_modality(prompt, ct).tokens.shape == (1, 5, EMBED)


def test_channels_have_modalities():
    assert common_modality(["CT"]) == "CT"
    assert common_modality(["T1", "FLAIR"]) == "MR"
    assert common_modality(["PET", "CT"]) is None


def test_training_draws_the_modality_of_the_case(tmp_path):
    """Sometimes none while training; always in validation; never without the option."""
    dataset, plans, store = prepare(tmp_path, cases=2)
    targets = dataset_targets(dataset.description, notes={"p01": CaseNotes(modality="MR")})

    def drawn(token, augment):
        made = prompted_configuration(
            plans, NAME, network="nano", embed_dim=EMBED, modality_token=token
        )
        assert made.text.modality_token == token
        data = StoreDataset(store, store.names(), plans, NAME, made, targets, augment=augment)
        samples = [data[index] for index in range(20)]
        return {(s.case, s.modality) for s in samples}, samples[0], data

    right = {("p00", "CT"), ("p01", "MR")}
    found, _, _ = drawn(True, True)
    assert right < found <= right | {("p00", None), ("p01", None)}
    assert drawn(True, False)[0] == right
    found, sample, data = drawn(False, True)
    assert {modality for _, modality in found} == {None}
    # the same window, asked as CT, as MR and without: three answers
    torch.manual_seed(0)
    network = build_network(data.configuration)
    prompts = PromptFeatures.build(ToyEncoder(), data.targets, modality_token=True)
    with torch.no_grad():
        presence = [
            logits(network, prompts, dataclasses.replace(sample, modality=m), None)[1]
            for m in ("CT", "MR", None)
        ]
    assert not torch.allclose(presence[0], presence[1], atol=1e-4)
    assert not torch.allclose(presence[0], presence[2], atol=1e-4)


class Banked:
    """The model's bank as an encoder, as training has one."""

    def __init__(self, folder):
        self.bank = EmbeddingBank.load(folder / "bank.safetensors")

    def encode(self, texts):
        return concatenate([self.bank.get(text) for text in texts])


def test_prediction_gives_the_token_that_training_gave(model, scan):
    """Bit for bit the features of training; stated, or the answer without."""
    segmenter = Segmenter(model, device="cpu", precision="fp32")
    targets = tuple(TargetEntry(name) for name in CONCEPTS)
    trained = PromptFeatures.build(Banked(model), targets, modality_token=True)
    volume = segmenter.predict(scan, "liver", spacing_mm=(3.0, 3.0, 3.0)).volume
    for modality in ("CT", "MR", None):
        asked = segmenter._predictor.stating(modality)._texts(["liver"], volume)[0]
        row = torch.tensor([CONCEPTS.index("liver")])
        expected = trained.select(row, torch.tensor([0]), modality)
        for got, wanted in zip((asked.tokens, asked.mask, asked.pooled), expected, strict=True):
            np.testing.assert_array_equal(got, wanted.numpy())


def test_a_stated_modality_changes_the_answer(model, scan):
    segmenter = Segmenter(model, device="cpu", precision="fp32")

    def presence(modality):
        found = segmenter.predict(scan, "liver", spacing_mm=(3.0, 3.0, 3.0), modality=modality)
        with segmenter.set_image(scan, spacing_mm=(3.0, 3.0, 3.0), modality=modality) as image:
            assert image.predict("liver")["liver"].presence == found["liver"].presence
        return found["liver"].presence

    assert len({presence(modality) for modality in ("CT", "MR", None)}) == 3
    with pytest.raises(UsageError, match="does not know modality 'PET'"):
        presence("PET")


def test_a_model_of_one_modality_needs_no_telling(model, scan, tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    for path in model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    write_card(folder, dataclasses.replace(ModelCard.read(folder), modalities=("MR",)))
    segmenter, both = Segmenter(folder, device="cpu"), Segmenter(model, device="cpu")
    silent = segmenter.predict(scan, "liver", spacing_mm=(3.0, 3.0, 3.0))
    told = both.predict(scan, "liver", spacing_mm=(3.0, 3.0, 3.0), modality="MR")
    assert silent["liver"].presence == told["liver"].presence


def test_a_model_without_the_token_takes_no_modality(tmp_path, scan):
    segmenter = Segmenter(make_model(tmp_path / "plain"), device="cpu")
    with pytest.raises(UsageError, match="take no modality; leave it out"):
        segmenter.predict(scan, "liver", spacing_mm=(3.0, 3.0, 3.0), modality="CT")
