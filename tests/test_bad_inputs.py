"""The table of docs/bad_inputs.md: every rule has its line, and every test that it names exists."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

from tests.io.faults import FAULTS

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "bad_inputs.md").read_text(encoding="utf-8")
ROWS = {
    cells[1]: cells[4]
    for cells in ([c.strip() for c in line.split("|")] for line in PAGE.splitlines())
    if len(cells) == 6 and re.fullmatch(r"[NDMPSR]\d+", cells[1])
}
COUNTS = {"N": 26, "D": 14, "M": 5, "P": 3, "S": 7, "R": 3}


@lru_cache
def names_in(name: str) -> set[str]:
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_rule_has_a_line() -> None:
    assert set(ROWS) == {f"{k}{n}" for k, count in COUNTS.items() for n in range(1, count + 1)}


def test_every_rule_has_tests_that_exist() -> None:
    faulty = {rule for rule, _ in FAULTS.values()}
    for rule, cell in ROWS.items():
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", cell)
        assert named or "faults" in cell, rule
        for path, test in named:
            assert test in names_in(path), f"{rule}: {path}::{test}"
        assert ("faults" in cell) == (rule in faulty), rule


def test_no_code_of_a_repository_is_trusted() -> None:
    """Nothing asks a hub to run what a repository brings (rule M5)."""
    for path in (ROOT / "textseg3d").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert isinstance(node.value, ast.Constant), path
                assert node.value.value is False, path
