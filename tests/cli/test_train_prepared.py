"""`textseg3d train` on a prepared set: what is withheld is trained, and not claimed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tests.training.toy import configuration, write_training_set
from textseg3d.cli.main import main
from textseg3d.plans import Plans
from textseg3d.zoo import ModelCard

ROOT = Path(__file__).resolve().parents[2]


def test_what_is_withheld_is_not_claimed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_training_set(tmp_path / "data")
    toy = configuration()
    kwargs = {**toy.architecture.arch_kwargs, "embed_dim": 192}
    plan = dataclasses.replace(
        toy, architecture=dataclasses.replace(toy.architecture, arch_kwargs=kwargs)
    )
    Plans("Toy", "toy", {"tiny": plan}).save(tmp_path / "plans.json")
    command = [
        "train", str(tmp_path / "data"), "tiny", "-p", str(tmp_path / "plans.json"), "--text",
        str(ROOT / "model_zoo" / "ct-nano" / "text"), "-o", str(tmp_path / "run"), "--steps", "1",
        "--device", "cpu",
    ]  # fmt: skip
    assert main([*command, "--withhold", "left blok"]) == 2
    assert "did you mean 'left block'" in capsys.readouterr().err
    assert main([*command, "--withhold", "cone", "blocks"]) == 0
    folder = tmp_path / "run" / "model"
    card = ModelCard.from_json(json.loads((folder / "card.json").read_text()))
    assert list(card.concepts) == ["right block", "left block"]
