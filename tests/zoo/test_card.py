import hashlib
import json
from pathlib import Path

import pytest

from tests.zoo.model_folders import CARD, make_model
from textseg3d.errors import ModelError
from textseg3d.zoo import Evaluation, FileEntry, ModelCard, write_card


def test_round_trip_through_json_text() -> None:
    text = json.dumps(CARD.to_json())
    assert ModelCard.from_json(json.loads(text)) == CARD


def test_write_card_lists_every_file_with_its_hash(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "toy")
    data = json.loads((folder / "card.json").read_text())
    expected = {
        p.relative_to(folder).as_posix(): {
            "sha256": hashlib.sha256(p.read_bytes()).hexdigest(),
            "size_bytes": len(p.read_bytes()),
        }
        for p in folder.rglob("*")
        if p.is_file() and p.name != "card.json"
    }
    assert data["files"] == expected
    assert set(expected) >= {"plans.json", "model.safetensors", "text/bpe.txt.gz"}
    assert ModelCard.read(folder).files["plans.json"].size_bytes == 2
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"modalitis": ["CT"]}, "did you mean 'modalities'"),
        ({"name": None}, "name"),
        ({"concepts": "liver"}, "concepts: expected a list"),
        ({"concepts": ["liver", 3]}, "concepts: expected str"),
        ({"files": {"../x": {"sha256": "0" * 64, "size_bytes": 1}}}, "inside the folder"),
        ({"files": {"/etc/x": {"sha256": "0" * 64, "size_bytes": 1}}}, "inside the folder"),
        ({"files": {"C:x": {"sha256": "0" * 64, "size_bytes": 1}}}, "inside the folder"),
        ({"files": {"x": {"sha256": "abc", "size_bytes": 1}}}, "not a sha256"),
        ({"files": {"x": {"sha256": "0" * 64, "size": 1}}}, "unknown key 'size'"),
        ({"training_sources": [{"name": "x", "licence": "y"}]}, "used_for"),
    ],
)
def test_wrong_cards_are_named(change: dict[str, object], words: str) -> None:
    with pytest.raises(ModelError, match=r".") as caught:
        ModelCard.from_json({**CARD.to_json(), **change})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_key_is_named() -> None:
    data = CARD.to_json()
    del data["weights_licence"]
    with pytest.raises(ModelError, match="weights_licence"):
        ModelCard.from_json(data)


def test_scores_must_be_numbers() -> None:
    with pytest.raises(ModelError, match="liver"):
        Evaluation("dice", "x", "y", mean={"liver": float("nan")})


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b'"card"', b"[" * 100_000])
def test_damaged_card_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"card\.json"):
        ModelCard.read(tmp_path)


def test_huge_card_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "card.json", "wb") as stream:
        stream.truncate(2**33)
    with pytest.raises(ModelError, match="larger"):
        ModelCard.read(tmp_path)


@pytest.mark.parametrize("name", ["checkpoint.pth", "weights.bin", "model.py", "notes.docx"])
def test_write_card_refuses_pickles_code_and_strangers(tmp_path: Path, name: str) -> None:
    folder = make_model(tmp_path / "toy")
    (folder / name).write_bytes(b"x")
    with pytest.raises(ModelError, match=name):
        write_card(folder, CARD)


def test_file_entry_needs_a_plausible_size() -> None:
    with pytest.raises(ModelError, match="-1"):
        FileEntry("0" * 64, -1)
