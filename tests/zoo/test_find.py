from pathlib import Path

import pytest

from tests.zoo.model_folders import make_model
from textseg3d.errors import ModelError
from textseg3d.resources import data_folder
from textseg3d.zoo import default_model, find_model, known_models
from textseg3d.zoo.find import home_folder, local_folder, read_index


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TEXTSEG3D_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_the_index_names_the_default(home: Path) -> None:
    names = [entry.name for entry in known_models()]
    assert default_model() in names
    assert len(names) == len(set(names))
    assert read_index().models[0].source == "bundled"


def test_a_folder_is_found_as_it_is(home: Path, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "my model")
    assert find_model(folder) == folder
    assert find_model(str(folder)) == folder


def test_a_users_model_is_found_by_name(home: Path) -> None:
    folder = make_model(home / "models" / "mine")
    assert find_model("mine") == folder
    entry = next(e for e in known_models() if e.name == "mine")
    assert entry.source == "user"
    assert local_folder(entry) == folder
    assert home_folder() == home


def test_unknown_name_has_a_suggestion(home: Path) -> None:
    with pytest.raises(ModelError, match="did you mean 'ct-nano'"):
        find_model("ct-nanno")


def test_file_and_folder_without_card(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no card\.json"):
        find_model(tmp_path)
    (tmp_path / "x.pth").write_bytes(b"")
    with pytest.raises(ModelError, match="is a file"):
        find_model(tmp_path / "x.pth")


def test_bundled_models_are_whole() -> None:
    for entry in read_index().models:
        folder = data_folder("model_zoo") / entry.name
        if entry.source == "bundled" and (folder / "card.json").is_file():
            from textseg3d.zoo import verify_model

            assert verify_model(folder).name == entry.name
