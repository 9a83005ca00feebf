"""The command on a small scan, its files and pages, and the arithmetic of its figures."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.model_factory import CONCEPTS, make_model
from textseg3d.benchmark.measure import Run, median_run, run_child
from textseg3d.benchmark.parity import compare_labels, compare_masks
from textseg3d.benchmark.parts import Bench
from textseg3d.benchmark.report import (
    BEGIN,
    END,
    format_value,
    markdown,
    pivot,
    update_page,
    write_results,
)
from textseg3d.benchmark.rows import FULL, PARTS, QUICK, Plan, Results, Row, Target
from textseg3d.cli.main import main
from textseg3d.errors import InputError

MACHINE = {
    "date": "2026-01-02", "processor": "a CPU", "cores": 2, "memory_gb": 24.0, "threads": "one",
    "load": 0.1, "system": "Linux", "python": "3.11", "versions": {"torch": "2"},
}  # fmt: skip
ABOUT = {
    "machine": MACHINE, "model": "tiny", "device": "cpu", "scan": "ct.nii.gz",
    "prompts": ["liver"], "repeats": 3,
}  # fmt: skip


def small_ct(path: Path) -> Path:
    """A bright ellipsoid in air, axes (i, j, k) towards L, P, S."""
    import nibabel as nib

    i, j, k = np.mgrid[-1:1:24j, -1:1:20j, -1:1:22j]
    body = i**2 / 0.7 + j**2 / 0.8 + k**2 < 0.9
    values = np.where(body, 40 + 200 * (np.sin(5 * i) * np.cos(4 * k) > 0.3), -1000)
    image = nib.Nifti1Image(values.astype(np.int16), np.diag([-8.0, -8.0, 8.0, 1.0]))
    nib.save(image, path)
    return path


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folder and page of one run of the command."""
    folder = tmp_path_factory.mktemp("bench")
    model = make_model(folder / "tiny", concepts=CONCEPTS)
    page = folder / "docs" / "performance.md"
    page.parent.mkdir()
    page.write_text(f"# Kept\n\n{BEGIN}\nold\n{END}\n\nkept too\n", encoding="utf-8")
    command = ["bench", "-i", str(small_ct(folder / "ct.nii.gz")), "-p", "liver", "left lung"]
    command += ["--model", str(model), "--repeats", "1", "--parts", "stages,parity", "--quick"]
    command += ["-o", str(folder / "out"), "--page", str(page), "--device", "cpu"]
    assert main(command) == 0
    return folder / "out", page


def figures(folder: Path) -> dict[tuple[str, str, str], float]:
    data = json.loads((folder / "bench.json").read_text(encoding="utf-8"))
    return {(r["part"], r["case"], r["measure"]): r["value"] for r in data["rows"]}


def test_shares_of_the_stages_add_up(bench: tuple[Path, Path]) -> None:
    found = figures(bench[0])
    shares = {c: v for (p, c, m), v in found.items() if p == "stages" and m == "share"}
    whole = shares.pop("whole process")
    assert set(shares) >= {"start and imports", "load model", "read", "network", "export", "write"}
    assert min(shares.values()) > -0.5
    assert sum(shares.values()) == pytest.approx(whole) == pytest.approx(100)
    seconds = {c: v for (p, c, m), v in found.items() if p == "stages" and m == "time"}
    whole_seconds = seconds.pop("whole process")
    assert sum(seconds.values()) == pytest.approx(whole_seconds)


def test_memory_windows_and_flops_are_there(bench: tuple[Path, Path]) -> None:
    found = figures(bench[0])
    assert 50 < found["stages", "peak memory", "value"] < 4000
    assert found["stages", "windows run", "value"] >= 1
    assert found["stages", "network", "value"] > 0


def test_exact_masks_are_those_of_the_reference(bench: tuple[Path, Path]) -> None:
    """Random weights in bf16 leave some voxels on the other side of the threshold.

    Fewer windows of a random network are another answer: the default is not compared here.
    """
    found = figures(bench[0])
    assert found["parity", "--exact", "Dice of all voxels"] > 0.95
    assert found["parity", "--exact", "windows"] >= found["parity", "default", "windows"]


def test_files_agree(bench: tuple[Path, Path]) -> None:
    with (bench[0] / "bench.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    data = json.loads((bench[0] / "bench.json").read_text(encoding="utf-8"))
    assert [float(r["value"]) for r in rows] == [r["value"] for r in data["rows"]]
    assert (bench[0] / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert data["machine"]["cores"] >= 1
    assert not any("host" in key for key in data["machine"])


def test_only_the_marked_part_of_the_page_changes(bench: tuple[Path, Path]) -> None:
    text = bench[1].read_text(encoding="utf-8")
    assert text.startswith("# Kept\n")
    assert text.endswith("kept too\n")
    assert "old" not in text.split(BEGIN)[1].split(END)[0].splitlines()
    assert f"## {PARTS['stages']}" in text
    assert bench[1].with_suffix(".png").is_file()


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("mine\n", encoding="utf-8")
    with pytest.raises(InputError, match="pair of the lines"):
        update_page(page, Results(), ABOUT)
    assert page.read_text(encoding="utf-8") == "mine\n"


def test_what_was_not_measured_says_so(tmp_path: Path) -> None:
    results = Results([Row("kernels", "K1", "kernel", None, "ms", note="no GPU")])
    assert pivot(results.rows)[1] == ["K1", "not measured", "1"]
    assert "- K1: no GPU" in markdown(results, ABOUT)
    paths = write_results(tmp_path / "out", results, ABOUT)
    assert "not measured" in paths[1].read_text(encoding="utf-8")


def test_targets() -> None:
    results = Results(targets=[Target("a", 5, True, 6, "×"), Target("b", 0.5, False, 0.6, "s")])
    text = markdown(results, ABOUT)
    assert "| a | at least 5 × | 6 × | yes |" in text
    assert "| b | at most 0.5 s | 0.6 s | **no** |" in text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "s", "not measured"), (12345678, "", "12 345 678"), (1.234, "s", "1.23 s"),
        (0.99987, "", "0.999870"), (1.0, "", "1"), (2e-4, "", "2.0e-04"), (812.4, "MiB", "812 MiB"),
        (0.5, "s", "0.5 s"),
    ],
)  # fmt: skip
def test_figures_as_text(value: float | None, unit: str, text: str) -> None:
    assert format_value(value, unit) == text


def test_scores_by_hand() -> None:
    truth = np.array([[[0, 1, 1, 2]]], np.uint16)
    found = np.array([[[0, 1, 2, 2]]], np.uint16)
    scores = compare_labels(truth, found)
    assert scores["differing"] == 1
    # Class 1: 2·1 / (2 + 1); class 2: 2·1 / (1 + 2); pooled: 2·2 / (3 + 3).
    assert scores["dice_mean"] == pytest.approx(2 / 3)
    assert scores["dice"] == pytest.approx(4 / 6)
    assert scores["classes"] == 2


def test_scores_of_masks_equal_those_of_labels(tmp_path: Path) -> None:
    import nibabel as nib

    rng = np.random.default_rng(0)
    truth, found = rng.integers(0, 4, (2, 5, 6, 7)).astype(np.uint8)
    files = {}
    for value in (1, 2):  # 3 has no file: an empty mask
        files[str(value)] = str(tmp_path / f"{value}.nii.gz")
        nib.save(nib.Nifti1Image((found == value).astype(np.uint8), np.eye(4)), files[str(value)])
    found[found == 3] = 0
    masks = compare_masks({str(v): truth == v for v in (1, 2, 3)}, files)
    labels = compare_labels(truth, found)
    for key in ("dice", "dice_mean", "dice_min", "classes"):
        assert masks[key] == pytest.approx(labels[key])


def test_median_run_keeps_the_largest_memory() -> None:
    runs = [Run(3.0, 10, {"a": 3}), Run(1.0, 30, {"a": 1}), Run(2.0, None, {"a": 2})]
    assert median_run(runs) == Run(2.0, 30, {"a": 2})


def test_a_process_that_fails_is_a_problem_and_no_figure() -> None:
    run = run_child("enlarge", {"source": "nowhere.nii.gz"})
    assert run.reply == {}
    assert run.problem is not None
    assert run.problem.startswith("enlarge: ")
    assert run.seconds > 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads the books of Linux")
def test_peak_memory_is_the_process_s_own(tmp_path: Path) -> None:
    """What the process that starts it holds does not count."""
    ballast = np.ones(2**29, np.uint8)  # 512 MiB, touched
    request = {"source": str(small_ct(tmp_path / "ct.nii.gz")), "shape": [8, 8, 8]}
    request |= {"target": str(tmp_path / "out.nii.gz"), "spacing_mm": [4, 4, 4]}
    run = run_child("enlarge", request)
    assert run.problem is None
    assert run.peak_mb is not None
    assert 20 < run.peak_mb < 480
    assert ballast[-1] == 1


def test_a_part_that_fails_is_a_row_that_says_so(tmp_path: Path) -> None:
    plan = Plan(
        scan=tmp_path / "none.nii.gz", prompts=("liver",), model="ct-nano", device="cpu",
        repeats=1, parts=("session",), sizes=QUICK, as_it_is=False, work=tmp_path,
    )  # fmt: skip
    results = Bench(plan).run()
    assert results.failed == ["session"]
    assert results.rows[0].value is None
    assert "none.nii.gz" in results.rows[0].note


def test_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = str(small_ct(tmp_path / "ct.nii.gz"))
    assert main(["bench", "-i", scan, "--parts", "stage"]) == 2
    assert "did you mean 'stages'?" in capsys.readouterr().err
    assert main(["bench", "-i", scan, "--repeats", "0"]) == 2
    assert main(["bench", "-i", str(tmp_path / "none.nii.gz")]) == 3


def test_sizes_are_those_of_the_goals() -> None:
    assert FULL.torso == (300, 512, 512)
    assert FULL.cube == (300, 300, 300)
    assert FULL.prompts == 100
    assert [case.classes for case in FULL.closed] == [20, 100]
    assert np.prod(QUICK.torso) < 1e6
