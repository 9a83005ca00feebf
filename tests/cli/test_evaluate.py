"""`textseg3d evaluate` as a program, on tiny files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.conftest import write_case
from tests.evaluation.phantoms import box, save_zyx
from tests.model_factory import make_model
from textseg3d.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (5, 6, 7)


def _run(*arguments, cwd):
    """The command in a process of its own."""
    environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT))
    return subprocess.run(
        [sys.executable, "-m", "textseg3d", "evaluate", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def here(folders, monkeypatch, capsys):
    """The command in this process, in the folders' place: exit code, output, errors."""
    monkeypatch.chdir(folders)

    def run(*arguments):
        code = main(["evaluate", *arguments])
        out, error = capsys.readouterr()
        return code, out, error

    return run


@pytest.fixture
def folders(tmp_path):
    truth = 1 * box(SHAPE, (0, 0, 0), (2, 2, 4)) + 2 * box(SHAPE, (4, 4, 4), (1, 1, 2))
    prediction = 1 * box(SHAPE, (0, 0, 2), (2, 2, 3))
    for case in ("a", "b"):
        save_zyx(tmp_path / "truth" / f"{case}.nii.gz", truth)
        save_zyx(tmp_path / "pred" / f"{case}.nii.gz", prediction)
    (tmp_path / "dataset.json").write_text(
        json.dumps({"labels": {"background": 0, "liver": 1, "cyst": 2}, "file_ending": ".nii.gz"})
    )
    (tmp_path / "plans.json").write_text(json.dumps({"configurations": {}}))
    return tmp_path


def test_as_nnunetv2_evaluate_folder(folders):
    done = _run(
        *("truth", "pred", "-djfile", "dataset.json", "-pfile", "plans.json"),
        *("-o", "out/summary.json", "-np", "2"),
        cwd=folders,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((folders / "out" / "summary.json").read_text())
    assert set(summary) == {"metric_per_case", "mean", "foreground_mean"}
    assert summary["mean"]["1"]["Dice"] == pytest.approx(16 / 28)
    assert summary["foreground_mean"]["Dice"] == pytest.approx(8 / 28)
    assert json.loads(done.stdout)["Dice"] == pytest.approx(8 / 28)


def test_default_output_is_beside_the_predictions(folders, here):
    code, _, error = here("truth", "pred", "-l", "1", "2", "-np", "1", "--quiet")
    assert (code, error) == (0, "")
    assert (folders / "pred" / "summary.json").is_file()


def test_missing_file_and_chill(folders, here):
    (folders / "pred" / "b.nii.gz").unlink()
    code, _, error = here("truth", "pred", "-djfile", "dataset.json", "-np", "1")
    assert code == 3
    assert error.count("\n") == 1
    assert "b.nii.gz" in error
    assert "--chill" in error
    assert not (folders / "pred" / "summary.json").exists()
    assert here("truth", "pred", "-djfile", "dataset.json", "-np", "1", "--chill")[0] == 0


def test_wrong_grid_is_exit_code_3_and_resample_helps(folders, here):
    save_zyx(folders / "pred" / "b.nii.gz", np.ones((5, 6, 8)), (1, 1, 1))
    arguments = ("truth", "pred", "-djfile", "dataset.json", "-np", "1")
    code, _, error = here(*arguments)
    assert code == 3
    assert "another grid" in error
    assert here(*arguments, "--resample")[0] == 0


def test_other_protocols(here):
    code, out, error = here(
        "truth", "pred", "-djfile", "dataset.json", "--protocol", "sat", "-np", "1"
    )
    assert code == 0, error
    assert json.loads(out)["dice"] == pytest.approx(8 / 28)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected two folders"),
        (("truth",), "expected two folders"),
        (("truth", "pred"), "pass -djfile dataset.json"),
        (("truth", "pred", "-l", "1", "-o", "x.txt"), "ends in .json"),
        (("truth", "pred", "-l", "1", "-np", "0"), "-np is 0"),
        (("truth", "pred", "-l", "1", "--protocol", "nnnet"), "did you mean 'nnunet'"),
        (("truth", "pred", "-l", "1", "--cases", "x"), "--cases needs --model"),
        (("--model", "x", "--chill"), "--chill does not go with --model"),
        (("--model", "x"), "pass their folders with --cases"),
        (("--model", "x", "--cases", "y"), "pass -o OUT"),
        (("--model", "x", "--cases", "y", "-o", "z", "--tolerance-mm", "-1"), "0 or more"),
        (("truth", "pred", "--chil"), "did you mean '--chill'"),
    ],
)
def test_bad_usage(here, arguments, message):
    code, _, error = here(*arguments)
    assert code == 2
    assert message in error


def test_a_model_on_labelled_scans(tmp_path):
    """A model with random weights runs through: its masks mean nothing, the report is whole."""
    make_model(tmp_path / "model", patch=(64, 64, 64), spacing=(6.0, 6.0, 6.0))
    write_case(tmp_path / "cases" / "one", "one")
    write_case(tmp_path / "cases" / "two", "two")
    mapping = tmp_path / "mapping.json"
    mapping.write_text(
        json.dumps({"labels": {"odd thing": {"skip": "odd"}}, "absent": {"*": ["heart", "brain"]}})
    )
    done = _run(
        *("--model", "model", "--cases", "cases", "-o", "out", "--mapping", mapping),
        *("--page", "accuracy.md", "--worst", "1", "--device", "cpu", "--json-log"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert summary["model"]["name"] == "tiny"
    assert len(summary["model"]["sha256"]) == 64
    assert [case["case"] for case in summary["cases"]] == ["one", "two"]
    assert set(summary["groups"]) == {"kidney", "liver"}
    for case in summary["cases"]:
        for row in case["rows"]:
            assert 0.0 <= row["dice"] <= 1.0
            assert 0.0 <= row["presence"] <= 1.0
        statuses = {row["prompt"]: row["status"] for row in case["absent"]}
        assert statuses["brain"] == "unknown"
        assert statuses["heart"] in ("ok", "empty")
    assert {line.split("\t")[0] for line in done.stdout.splitlines()} == {"kidney", "liver"}
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert any(e["event"] == "progress" and e["done"] == e["total"] == 2 for e in events)
    assert "![one](accuracy/one.png)" in (tmp_path / "accuracy.md").read_text()
    assert len(list((tmp_path / "out" / "pictures").glob("*.png"))) == 3
