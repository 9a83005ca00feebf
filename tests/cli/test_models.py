import json
from pathlib import Path

import pytest

from tests.zoo.model_folders import make_model
from textseg3d.cli.main import main


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTSEG3D_HOME", str(tmp_path / "home"))


def test_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_model(tmp_path / "home" / "models" / "mine")
    assert main(["models", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["ct-nano"]["default"]
    assert rows["mine"]["concepts"] == 2
    assert main(["models", "list"]) == 0
    assert "mine: " in capsys.readouterr().out


def test_list_survives_a_damaged_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_model(tmp_path / "home" / "models" / "mine")
    (folder / "card.json").write_text("{")
    assert main(["models", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert "card.json" in rows["mine"]["problem"]


def test_info_prints_the_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_model(tmp_path / "toy")
    assert main(["models", "info", str(folder)]) == 0
    out = capsys.readouterr().out
    for words in ("toy 1", "liver, left lung", "3 × phantoms", "0.500", "Knows phantoms only."):
        assert words in out
    assert main(["models", "info", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["evaluations"][0]["cases"]["a"] == {"liver": 0.25}


def test_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_model(tmp_path / "toy")
    assert main(["models", "verify", str(folder)]) == 0
    (folder / "plans.json").write_text("[]")
    capsys.readouterr()
    assert main(["models", "verify", str(folder), "--json"]) == 3
    data = json.loads(capsys.readouterr().out)
    assert not data["ok"]
    assert [row["file"] for row in data["files"] if not row["ok"]] == ["plans.json"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["info", "ct-nan"], 3, "did you mean 'ct-nano'"),
        (["info"], 2, "MODEL"),
        (["lst"], 2, "list"),
        (["list", "--jsn"], 2, "did you mean '--json'"),
        (["download", "ct-nano"], 2, "hf-hub:"),
    ],
)
def test_wrong_use(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    assert main(["models", *arguments]) == code
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
