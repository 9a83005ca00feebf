"""The real client library against a hub on the loopback address, each call in its own process."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.zoo.hub_server import COMMIT, Hub, running_hub
from tests.zoo.model_folders import make_model
from textseg3d.errors import ModelError
from textseg3d.zoo.hub import parse_reference

ROOT = Path(__file__).resolve().parents[2]
MODEL = "hf-hub:owner/repo@v1"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with running_hub(make_model(tmp_path / "repo")) as server:
        yield server


def start(hub: Hub, tmp_path: Path, *command: str, **extra: str) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"} | {
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(tmp_path / "hf"),
        "TEXTSEG3D_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(ROOT),
        "NO_PROXY": "127.0.0.1",
        **extra,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "textseg3d", *command],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(hub: Hub, tmp_path: Path, *command: str, **extra: str) -> tuple[int, str, str]:
    process = start(hub, tmp_path, *command, **extra)
    out, error = process.communicate(timeout=120)
    return process.returncode, out, error.strip().splitlines()[-1] if error.strip() else ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf-hub:a/b@v1.2", ("a/b", "v1.2")),
        ("hf-hub:a/b", ("a/b", "main")),
        ("hf-hub:a/b@refs/pr/1", ("a/b", "refs/pr/1")),
    ],
)
def test_references(text: str, expected: tuple[str, str]) -> None:
    assert tuple(parse_reference(text)) == expected


@pytest.mark.parametrize(
    "text", ["hf-hub:a", "hf-hub:../b", "hf-hub:a/b@..", "hf-hub:a/b/c", "hf-hub:"]
)
def test_wrong_references(text: str) -> None:
    with pytest.raises(ModelError, match="owner/repo@revision"):
        parse_reference(text)


def test_offline_asks_nobody(hub: Hub, tmp_path: Path) -> None:
    code, _, error = call(hub, tmp_path, "models", "info", MODEL, TEXTSEG3D_OFFLINE="1")
    assert (code, hub.requests) == (3, [])
    assert "TEXTSEG3D_OFFLINE" in error


def test_download_once_then_from_disk(hub: Hub, tmp_path: Path) -> None:
    code, out, error = call(hub, tmp_path, "models", "info", MODEL, "--json")
    assert code == 0, error
    data = json.loads(out)
    assert data["name"] == "toy"
    assert COMMIT in data["folder"]
    asked = len(hub.requests)
    code, _, _ = call(hub, tmp_path, "models", "verify", MODEL, TEXTSEG3D_OFFLINE="1")
    assert (code, len(hub.requests)) == (0, asked)


@pytest.mark.parametrize(("status", "words"), [(429, "too many"), (404, "no such"), (503, "503")])
def test_refusals_of_the_hub(hub: Hub, tmp_path: Path, status: int, words: str) -> None:
    hub.status = status
    code, _, error = call(hub, tmp_path, "models", "info", MODEL)
    assert code == 3
    assert error.startswith("textseg3d: error: ")
    assert words in error


def flip_last_byte(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))


def test_files_that_the_card_does_not_know_are_refused(hub: Hub, tmp_path: Path) -> None:
    flip_last_byte(hub.folder / "model.safetensors")
    code, _, error = call(hub, tmp_path, "models", "info", MODEL)
    assert code == 3
    assert "sha256" in error


def test_damage_on_disk_is_seen_and_repaired(hub: Hub, tmp_path: Path) -> None:
    code, out, error = call(hub, tmp_path, "models", "download", MODEL, "--json")
    assert code == 0, error
    flip_last_byte((Path(json.loads(out)["folder"]) / "model.safetensors").resolve())
    code, _, error = call(hub, tmp_path, "models", "info", MODEL)
    assert code == 3
    assert "sha256" in error
    code, _, error = call(hub, tmp_path, "models", "download", MODEL)
    assert code == 0, error


def test_two_processes_at_once_download_once(hub: Hub, tmp_path: Path) -> None:
    pair = [start(hub, tmp_path, "models", "info", MODEL) for _ in range(2)]
    results = [process.communicate(timeout=120) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], results
    bodies = [r for r in hub.requests if r.startswith("GET") and r.endswith("model.safetensors")]
    assert len(bodies) == 1


@pytest.mark.slow
def test_a_download_that_breaks_off_goes_on(hub: Hub, tmp_path: Path) -> None:
    hub.cut_after = 20
    code, _, error = call(hub, tmp_path, "models", "info", MODEL)
    assert code == 3
    assert "broke off" in error
    hub.cut_after = None
    assert call(hub, tmp_path, "models", "verify", MODEL)[0] == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB; only root can mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "textseg3d-test", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("cannot mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_cache_on_a_full_disk(hub: Hub, tmp_path: Path, small_disk: Path) -> None:
    home = {"TEXTSEG3D_HOME": str(small_disk / "home")}
    filler = small_disk / "filler"
    filler.write_bytes(bytes((256 - 12) << 10))
    code, _, error = call(hub, tmp_path, "models", "info", MODEL, **home)
    assert code == 3
    assert "No space left on device; make room there, or set TEXTSEG3D_HOME" in error
    filler.unlink()
    code, _, error = call(hub, tmp_path, "models", "verify", MODEL, **home)
    assert code == 0, error
