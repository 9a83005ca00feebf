import ast
import json
import os
import re
from pathlib import Path

import pytest

from textseg3d.cli.doctor import CORE_PACKAGES, OPTIONAL_PACKAGES, collect
from textseg3d.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


def setup_table(name: str) -> object:
    """A literal assigned in setup.py."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"setup.py has no {name}")


def distributions(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!\[ ]", text)[0] for text in requirements}


def test_tables_are_those_of_setup() -> None:
    core = setup_table("CORE")
    extras = setup_table("EXTRAS")
    assert isinstance(core, list)
    assert isinstance(extras, dict)
    assert {d for d, _ in CORE_PACKAGES.values()} == distributions(core)
    assert {d for d, _ in OPTIONAL_PACKAGES.values()} == distributions(
        [
            need
            for name in ("dicom", "huggingface", "server", "notebook", "nnunet", "openvino", "ray")
            for need in extras[name]
        ]
    )


def test_json_agrees_with_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEXTSEG3D_HOME", str(tmp_path))
    monkeypatch.setenv("TEXTSEG3D_TOKEN", "hush")
    code = main(["doctor", "--json"])
    out = capsys.readouterr().out
    report = json.loads(out)
    assert code == (4 if report["missing"] else 0)
    assert "hush" not in out
    assert report["environment"]["TEXTSEG3D_HOME"] == str(tmp_path)
    assert report["cpu"]["cores"] == os.cpu_count()
    torch = pytest.importorskip("torch")
    assert report["packages"]["torch"] == torch.__version__.partition("+")[0] or (
        report["packages"]["torch"] == torch.__version__
    )
    memory = report["memory"]
    assert 0 < memory["available_bytes"] <= memory["total_bytes"]


def test_text_report(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("textseg3d ")
    assert lines[-1] == (
        "nothing is missing" if code == 0 else "install what is missing, then retry"
    )


def test_a_model_is_reported_missing_by_name() -> None:
    report = collect()
    names = [model["name"] for model in report["models"]]
    assert "ct-nano" in names
