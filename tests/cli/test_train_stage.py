"""`textseg3d train` of a stage: it joins a model folder, and changes nothing else in it."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from textseg3d.cli.main import main
from textseg3d.networks import build_network
from textseg3d.networks.prompt_unet import coarse_to_fine
from textseg3d.plans import Plans
from textseg3d.plans.schema import Architecture, Configuration, Intensity
from textseg3d.text.bank import EmbeddingBank
from textseg3d.text.encoder import load_encoder
from textseg3d.training.cases import TargetEntry, TrainingCase, TrainingSet, save_case_arrays
from textseg3d.zoo import ModelCard, verify_model, write_card

TEXT = Path(__file__).resolve().parents[2] / "model_zoo" / "ct-nano" / "text"
NODULE = "pulmonary nodule"
HU = (Intensity(windows=((-1000.0, 1000.0),)),)
TINY = Architecture(
    arch_kwargs={
        "widths": (8, 8, 8, 8), "blocks": (1, 1, 1, 1), "feature_channels": 8,
        "attention_width": 16, "attention_heads": 2, "attention_layers": 1,
    }
)  # fmt: skip
COARSE = Configuration((4.0,) * 3, (32,) * 3, architecture=TINY, intensity=HU)
FINE = Configuration(
    (2.0,) * 3, (32,) * 3, architecture=TINY, intensity=HU, cascade="coarse",
    within=("lungs",), answers=(NODULE,),
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training set of crops, and plans beside it."""
    folder = tmp_path_factory.mktemp("data")
    labels = np.ones((40, 40, 40), np.uint8)
    labels[14:24, 14:24, 14:24] = 2
    save_case_arrays(folder, "scan", labels, np.choose(labels, [40, -800, 40]).astype(np.int16))
    case = TrainingCase("scan", "scan", 1.0, {NODULE: (2,)}, insert={NODULE: (1, 2)})
    TrainingSet((2.0,) * 3, (TargetEntry(NODULE, ("lung nodule",)),), (case,)).save(folder)
    Plans("Toy", "toy", {"coarse": COARSE, "fine": FINE}).save(folder / "plans.json")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without stages, of random weights."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("models") / "toy"
    shutil.copytree(TEXT, folder / "text")
    network = build_network(COARSE)
    network.prompt.presence[-1].bias.data += 6  # everything is there
    save_file(
        {k: v.contiguous() for k, v in network.state_dict().items()}, folder / "model.safetensors"
    )
    Plans("Toy", "toy", {"coarse": COARSE}).save(folder / "plans.json")
    EmbeddingBank.build(load_encoder(TEXT), ["lungs", "liver"]).save(folder / "bank.safetensors")
    write_card(folder, ModelCard("toy", "1", "Toy.", ("CT",), ("lungs", "liver"), "CC0-1.0", ()))
    return folder


def arguments(data: Path, run: Path, *more: str, text: Path = TEXT) -> list[str]:
    return [
        "train", str(data), "fine", "-p", str(data / "plans.json"), "--text", str(text),
        "-o", str(run), "--steps", "1", "--prompts", "1", "--loaders", "0", "--device", "cpu",
        *more,
    ]  # fmt: skip


def test_a_stage_joins_a_model(
    data: Path, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from textseg3d import Segmenter

    run = tmp_path / "run"
    assert main(arguments(data, run)) == 0
    assert "no model was written; give --export-only" in capfd.readouterr().err
    assert not (run / "model").exists()
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    scan = np.zeros((20, 20, 20), np.int16)
    before = Segmenter(folder, "cpu").predict(scan, ["lungs", NODULE], spacing_mm=(4, 4, 4))
    assert before[NODULE].status == "unknown"

    join = arguments(data, run, "--export-only", "--model-folder", str(folder))
    for _ in range(2):  # once more puts it in its own place
        assert main(join) == 0
        verify_model(folder)
        assert ModelCard.read(folder).concepts == ("lungs", "liver", NODULE)
    assert ModelCard.read(folder).version == "1"
    plans = Plans.load(folder / "plans.json")
    assert list(plans.configurations) == ["coarse", "fine"]
    assert plans.configuration("fine").answers == (NODULE,)
    old, new = (EmbeddingBank.load(path / "bank.safetensors") for path in (model, folder))
    assert NODULE in new
    for text in ("lungs", "liver"):
        assert np.array_equal(old.get(text).tokens, new.get(text).tokens)
        assert np.array_equal(old.get(text).pooled, new.get(text).pooled)
    weights = "model.safetensors"
    assert (folder / weights).read_bytes() == (model / weights).read_bytes()

    after = Segmenter(folder, "cpu").predict(scan, ["lungs", NODULE], spacing_mm=(4, 4, 4))
    assert np.array_equal(after["lungs"].array, before["lungs"].array)
    assert after[NODULE].status in ("ok", "empty")
    assert [stage.name for stage in after.stages] == ["fine"]

    assert main([*join, "--withhold", NODULE]) == 0
    assert ModelCard.read(folder).concepts == ("lungs", "liver")


def test_a_threshold_shifts_all_logits(data: Path, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    assert main(arguments(data, tmp_path / "run")) == 0
    join = arguments(data, tmp_path / "run", "--export-only", "--model-folder", str(folder))
    found = []
    for more in ([], ["--threshold", "0.9"]):
        assert main([*join, *more]) == 0
        network = build_network(FINE).eval()
        network.load_state_dict(load_file(folder / "fine.safetensors"))
        rng = torch.Generator().manual_seed(0)
        image = torch.randn(1, 1, 32, 32, 32, generator=rng)
        position = torch.tensor([[0.0, 1.0]] * 3)
        with torch.inference_mode():
            features = network.encode_image(image, position)
            texts = torch.ones(1, 24, 192), torch.ones(1, 24, dtype=torch.bool), torch.ones(1, 192)
            fine = network.fine_features(features.half, image)
            found.append(coarse_to_fine(features, network.answer(features, *texts), fine)[-1])
    shift = found[1] - found[0]
    assert torch.allclose(shift, shift.mean(), atol=1e-5)
    assert float(shift.mean()) == pytest.approx(-np.log(9), abs=0.01)  # of bf16 on disk
    assert main([*join, "--threshold", "1"]) == 2


def test_what_does_not_fit_is_refused_before_training(
    data: Path, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(*more: str, **others: Path) -> str:
        assert main(arguments(data, tmp_path / "run", *more, **others)) == 2
        assert not (tmp_path / "run").exists()
        return capfd.readouterr().err

    assert "is no model folder" in refused("--model-folder", str(tmp_path / "none"))
    other = tmp_path / "other"
    shutil.copytree(model, other)
    Plans("Toy", "toy", {"3mm": COARSE}).save(other / "plans.json")
    assert "has no configuration 'coarse'" in refused("--model-folder", str(other))
    text = tmp_path / "text"
    shutil.copytree(TEXT, text)
    merges = text / "bpe.txt.gz"
    merges.write_bytes(merges.read_bytes() + b"\0")
    assert "another text encoder" in refused("--model-folder", str(model), text=text)
    wrong = dataclasses.replace(FINE, answers=("pulmonary nodules",))
    Plans("Toy", "toy", {"coarse": COARSE, "fine": wrong}).save(tmp_path / "plans.json")
    assert "did you mean 'pulmonary nodule'" in refused("-p", str(tmp_path / "plans.json"))
