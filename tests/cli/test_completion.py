"""The completion script in a real shell."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from textseg3d.cli.completion import bash_script, known_prompts
from textseg3d.cli.main import COMMANDS, main

BASH = shutil.which("bash")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "textseg3d.bash"
    path.write_text(bash_script(), encoding="utf-8")
    return path


def completed(script: Path, *words: str) -> list[str]:
    """What bash offers for the last of the words."""
    quoted = " ".join(f"'{word}'" for word in ("textseg3d", *words))
    code = (
        f"source '{script}'; COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; "
        "_textseg3d; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run([BASH, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_bash_completes(script: Path) -> None:
    assert set(completed(script, "")) == set(COMMANDS)
    assert completed(script, "pro") == ["prompt"]
    assert "--overwrite" in completed(script, "predict", "--o")
    assert "--token" not in completed(script, "predict", "--")
    assert completed(script, "predict", "--format", "seg") == ["seg.nrrd"]
    assert set(completed(script, "completion", "")) == {"bash", "zsh"}
    assert "list" in completed(script, "models", "l")
    assert completed(script, "predict", "-i", "scan") == []  # then bash offers files
    prompts = known_prompts()
    if prompts:
        offered = completed(script, "predict", "-i", "x", "-p", "liver", "")
        assert len(offered) == len(prompts)
        assert r"left\ lung" in offered
    code = f"source '{script}'; complete -p textseg3d"
    done = subprocess.run([BASH, "-c", code], capture_output=True, text=True, check=True)
    assert "-F _textseg3d textseg3d" in done.stdout


def test_the_command_prints_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zsh"]) == 0
    text = capsys.readouterr().out
    assert "bashcompinit" in text
    assert text.endswith(bash_script())
    assert main(["completion", "tcsh"]) == 2
