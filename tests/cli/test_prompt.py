"""`textseg3d prompt` as a program."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from textseg3d.cli.main import main


def test_json_in_a_process_of_its_own() -> None:
    texts = ["6 mm nodule in the LLL", "no nodule"]
    command = [sys.executable, "-m", "textseg3d.cli", "prompt", *texts, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    records = json.loads(done.stdout)
    assert [record["text"] for record in records] == texts
    assert [record["status"] for record in records] == ["ok", "negated"]
    assert records[0]["targets"][0]["container"] == "lower lobe of left lung"


@pytest.mark.parametrize(
    ("text", "code", "status"),
    [
        ("left kidney", 0, "ok"),
        ("no nodule in the left lung", 0, "negated"),
        ("possible nodule", 0, "uncertain"),
        ("zorblax", 0, "unknown"),
        ("left right kidney", 3, "contradiction"),
        ("", 3, "empty"),
    ],
)
def test_exit_codes(text: str, code: int, status: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompt", text]) == code
    assert f": {status}" in capsys.readouterr().out
    assert main(["prompt", "--json", text, "liver"]) == code
    assert json.loads(capsys.readouterr().out)[0]["status"] == status


@pytest.mark.parametrize("text", ["x" * 10_000, "a\x00b"])
def test_unsafe_text_is_refused_in_one_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompt", text]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1


def test_plain_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompt", "largest cyst > 2 cm in the left kidny, no stones"]) == 0
    out = capsys.readouterr().out
    assert "renal cyst, left, in: left kidney, at least 20 mm, largest" in out
    assert "not: " in out
    assert "read 'kidny' as 'kidney'" in out


def test_help_names_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompt", "--help"]) == 0
    assert "contradicts itself" in " ".join(capsys.readouterr().out.split())
