"""The README's commands and examples: they are the scripts, they parse, and they run."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from textseg3d.cli.main import COMMANDS
from textseg3d.cli.parser import CommandParser, add_common_arguments
from textseg3d.resources import data_folder
from textseg3d.zoo import default_model

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCRIPTS = sorted(p for p in (ROOT / "examples").iterdir() if p.suffix in (".sh", ".py"))
BLOCKS = re.findall(r"^```(?:bash|python)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMAND_LINES = [
    line for block in BLOCKS for line in block.splitlines() if line.startswith("textseg3d ")
]
NEEDS_NO_MODEL = {"look_first.sh"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_each_script_is_a_block_of_the_readme(script: Path) -> None:
    assert script.read_text(encoding="utf-8") in BLOCKS


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_each_command_line_parses(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    module = importlib.import_module(COMMANDS[name].module)
    parser = CommandParser(prog=name)
    module.add_arguments(parser)
    add_common_arguments(parser)
    parser.parse(arguments)


def test_the_table_of_commands_is_complete() -> None:
    assert set(re.findall(r"^\| `textseg3d (\w+)` \|", README, re.MULTILINE)) == set(COMMANDS)


def test_links_lead_somewhere() -> None:
    missing = [
        link
        for link in re.findall(r"\]\(([^)#:]+)\)", README)
        if not (ROOT / link).exists() and not link.startswith(f"model_zoo/{default_model()}/")
    ]
    assert missing == []


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_each_example_runs(script: Path, tmp_path: Path) -> None:
    """In a folder that holds nothing but the examples, with the environment's own command."""
    program = Path(sys.executable).with_name("textseg3d")
    if script.suffix == ".sh" and not program.exists():
        pytest.skip("needs the installed command: pip install .")
    bundled = data_folder("model_zoo") / default_model() / "card.json"
    if script.name not in NEEDS_NO_MODEL and not bundled.is_file():
        pytest.skip("needs the bundled model")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    command = ["bash", "-e"] if script.suffix == ".sh" else [sys.executable]
    path = os.pathsep.join((str(program.parent), os.environ.get("PATH", "")))
    search = os.pathsep.join((str(ROOT), str(ROOT / "kernels")))
    done = subprocess.run(
        [*command, f"examples/{script.name}"],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "PYTHONPATH": search},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    if script.name == "predict.sh":
        written = {p.name for p in (tmp_path / "out" / "picture").iterdir()}
        assert {
            "chest_ct.json",
            "chest_ct__left-lung.nii.gz",
            "chest_ct__liver.nii.gz",
            "chest_ct__heart.nii.gz",
        } <= written
        assert any(name.endswith(".png") for name in written)
