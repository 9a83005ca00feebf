"""`textseg3d synthesize`: the same bytes for the same seed, resumed, never half written."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.evaluation.conftest import table_model
from tests.synthesis.torso import SPACING, TARGETS, write_torso_set
from textseg3d.cli.main import main
from textseg3d.errors import Cancelled
from textseg3d.evaluation.cases import find_cases
from textseg3d.evaluation.scoring import score_case
from textseg3d.evaluation.validation import default_mapping
from textseg3d.synthesis.findings import FINDINGS
from textseg3d.text.knowledge import load_tree
from textseg3d.training.synthesize import Request, synthesize

ROOT = Path(__file__).resolve().parents[2]
FILES = {"ct.nii.gz", "seg.nii.gz", "lesions.nii.gz", "info.json", "sentences.json"}


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_torso_set(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def made(training: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "cases"
    assert main(["synthesize", str(training), "-o", str(out), "-n", "4", "--quiet"]) == 0
    return out


def digests(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def zyx(path: Path) -> np.ndarray:
    """[z, y, x] with x to the left: the file's own frame is checked, not assumed."""
    image = nib.as_closest_canonical(nib.load(path))
    assert image.header.get_zooms() == pytest.approx(SPACING)
    return np.asarray(image.dataobj).transpose(2, 1, 0)[:, ::-1, ::-1]


def load(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_what_is_written(made: Path) -> None:
    folders = sorted(made.iterdir())
    assert [f.name for f in folders] == [f"case_{i:04d}" for i in range(4)]
    shown = 0
    for folder in folders:
        assert {p.name for p in folder.iterdir()} == FILES
        hu, labels = zyx(folder / "ct.nii.gz"), zyx(folder / "seg.nii.gz")
        numbers = zyx(folder / "lesions.nii.gz")
        info, about = load(folder / "info.json"), load(folder / "sentences.json")
        assert nib.load(folder / "ct.nii.gz").get_data_dtype() == np.int16
        assert hu.shape == labels.shape == numbers.shape
        assert -1024 <= hu.min() < hu.max() <= 3071
        present = {int(i) for i in np.unique(labels) if i}
        assert {int(i) for i in info["labels"]} == present
        assert {i for ids in info["targets"].values() for i in ids} == present
        assert set(info["targets"]) | set(info["absent"]) == set(TARGETS)
        assert "urinary bladder" in info["absent"]
        assert info["labels_by"].startswith("made by textseg3d synthesize ")
        lungs = [np.argwhere(np.isin(labels, info["targets"].get(f"{s} lung", []))) for s in SIDES]
        if all(len(lung) for lung in lungs):  # x grows to the patient's left
            assert lungs[0].mean(0)[2] > lungs[1].mean(0)[2]
        assert [f["id"] for f in about["findings"]] == [int(n) for n in np.unique(numbers) if n]
        for found in about["findings"]:
            mine = numbers == found["id"]
            assert found["volume_ml"] == pytest.approx(mine.sum() * 0.027, abs=1e-4)
            assert np.isin(labels[mine], info["targets"][found["type"]]).all()
            for place in found["places"]:
                assert np.isin(labels[mine], info["targets"][place]).mean() >= 0.5
            shown += 1
        total = {c["type"]: c["count"] for c in about["counts"] if c["place"] is None}
        assert sum(total.values()) == len(about["findings"])
        assert set(total) == set(FINDINGS)
    assert shown >= 4


SIDES = ("left", "right")


def test_evaluate_scores_them_with_overlapping_targets(made: Path) -> None:
    """The truth itself, asked by name, is perfect: lungs hold their lobes and nodules."""
    case = find_cases([made])[1]
    labels, info = zyx(case.truth), load(made / case.name / "info.json")
    table = {name: np.isin(labels, ids) for name, ids in info["targets"].items()}
    table |= {name: np.zeros(labels.shape, bool) for name in info["absent"]}
    result = score_case(case, table_model(table), default_mapping(), load_tree())
    assert {row.task.name for row in result.rows} == set(info["targets"])
    assert {"lungs", "left lung"} <= set(info["targets"])
    assert all(row.scores.dice == 1.0 for row in result.rows)
    assert {row.prompt for row in result.absent if row.status == "ok"} == set(info["absent"])
    assert all(row.correct for row in result.absent if row.status == "ok")
    side = next(row.laterality for row in result.rows if row.task.name == "left lung")
    assert side is not None


def test_the_same_seed_gives_the_same_bytes(training: Path, made: Path, tmp_path: Path) -> None:
    synthesize(Request(training, tmp_path / "again", 2))
    first, again = digests(made), digests(tmp_path / "again")
    assert again
    assert again == {name: first[name] for name in again}
    synthesize(Request(training, tmp_path / "other", 1, seed=1))
    other = digests(tmp_path / "other")
    assert all(other[name] != first[name] for name in other)


def test_resumed_refused_replaced(
    training: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["synthesize", str(training), "-o", str(out), "-n"]
    assert main([*command, "1"]) == 0
    before = (out / "case_0000" / "ct.nii.gz").stat()
    assert main([*command, "2"]) == 0
    assert "1 of 2 cases are there already" in capsys.readouterr().err
    assert (out / "case_0000" / "ct.nii.gz").stat() == before
    assert main([*command, "2", "--seed", "5"]) == 2
    assert "made with another seed (0 instead of 5)" in capsys.readouterr().err
    assert main([*command, "1", "--no-findings"]) == 2
    assert main([*command, "1", "--no-findings", "--overwrite"]) == 0
    about = load(out / "case_0000" / "sentences.json")
    assert about["findings"] == about["true"] == about["referring"] == []
    assert {s["kind"] for s in about["counterfactual"]} == {"absent finding"}


def test_wrong_input_has_the_usual_codes(training: Path, tmp_path: Path) -> None:
    out = ["-o", str(tmp_path / "out")]
    assert main(["synthesize", str(tmp_path), *out]) == 3  # no training.json
    assert main(["synthesize", str(training), *out, "-n", "0"]) == 2
    assert main(["synthesize", str(training), *out, "--seed", "-1"]) == 2
    (tmp_path / "file").write_text("")
    assert main(["synthesize", str(training), "-o", str(tmp_path / "file")]) == 2
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "training.json").write_text((training / "training.json").read_text())
    assert main(["synthesize", str(broken), *out]) == 3  # no arrays
    (broken / "torso.npz").write_bytes((training / "torso.npz").read_bytes()[:500])
    assert main(["synthesize", str(broken), *out]) == 3
    (broken / "training.json").write_text("{")
    assert main(["synthesize", str(broken), *out]) == 3
    assert not (tmp_path / "out").exists()


def test_cancelling_leaves_whole_cases(training: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []

    def until_one(stage: str, done: int, total: int) -> bool:
        seen.append((stage, done, total))
        return done < 1

    with pytest.raises(Cancelled):
        synthesize(Request(training, tmp_path / "out", 3), until_one)
    assert seen == [("synthesize", 0, 3), ("synthesize", 1, 3)]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["case_0000"]


def test_terminated_at_any_time_nothing_is_half_written(training: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["synthesize", str(training), "-o", str(out), "-n", "500"]
    search = os.pathsep.join((str(ROOT), str(ROOT / "kernels")))
    process = subprocess.Popen(
        [sys.executable, "-m", "textseg3d", *command],
        env={**os.environ, "PYTHONPATH": search},
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 240
        while not (out / "case_0000").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 130
    finally:
        process.kill()
    folders = sorted(out.iterdir())
    assert folders
    assert [f.name for f in folders] == [f"case_{i:04d}" for i in range(len(folders))]
    assert all({p.name for p in f.iterdir()} == FILES for f in folders)
