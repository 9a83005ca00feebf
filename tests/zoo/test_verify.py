import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.zoo.model_folders import CARD, make_model
from textseg3d.errors import ModelError
from textseg3d.zoo import check_model, verify_model, write_card


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_model(tmp_path / "toy")


def problems(folder: Path) -> dict[str, str]:
    return {c.name: c.problem for c in check_model(folder) if c.problem}


def test_a_whole_model_passes(folder: Path) -> None:
    assert problems(folder) == {}
    assert verify_model(folder).name == "toy"


def test_changed_byte(folder: Path) -> None:
    path = folder / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert "sha256" in problems(folder)["model.safetensors"]
    with pytest.raises(ModelError, match=r"model\.safetensors.*sha256.*get the model again"):
        verify_model(folder)


def test_truncated_and_missing(folder: Path) -> None:
    path = folder / "text" / "text.safetensors"
    os.truncate(path, path.stat().st_size - 1)
    (folder / "plans.json").unlink()
    found = problems(folder)
    assert "the card says" in found["text/text.safetensors"]
    assert found["plans.json"] == "is missing"
    with pytest.raises(ModelError, match="1 more problem"):
        verify_model(folder)


def test_nan_weights_with_a_right_hash(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["weight"][1, 1] = np.nan
    save_file(tensors, folder / "model.safetensors")
    write_card(folder, CARD)
    assert "'weight' holds NaN" in problems(folder)["model.safetensors"]


def test_pickles_and_code_are_refused_even_unlisted(folder: Path) -> None:
    (folder / "checkpoint.pth").write_bytes(pickle.dumps({}))
    (folder / "modeling.py").write_text("raise SystemExit")
    assert set(problems(folder)) == {"checkpoint.pth", "modeling.py"}


def test_a_card_without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    write_card(folder, CARD)
    assert "does not list it" in problems(folder)["model.safetensors"]


def test_folder_in_place_of_a_file(folder: Path) -> None:
    (folder / "plans.json").unlink()
    (folder / "plans.json").mkdir()
    assert problems(folder)["plans.json"] == "is not a regular file"


def test_not_a_model_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no card\.json"):
        check_model(tmp_path)
