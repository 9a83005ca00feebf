"""The measured tasks themselves, in this process: scans, random models, peers and references."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.benchmark.test_bench import small_ct
from tests.model_factory import make_model
from textseg3d.benchmark import ours, parity, prepare, resampling
from textseg3d.benchmark.flops import flops
from textseg3d.benchmark.reference import window_starts
from textseg3d.benchmark.scan import enlarge
from textseg3d.io import read_volume

SHAPE, SPACING = (40, 44, 40), (4.0, 3.5, 3.5)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scan")
    return enlarge(small_ct(folder / "ct.nii.gz"), folder / "torso_0000.nii.gz", SHAPE, SPACING)


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory, scan: Path) -> dict[str, Any]:
    """An nnU-Net of five classes, trained for a moment, and our model folder of it."""
    pytest.importorskip("nnunetv2")
    folder = tmp_path_factory.mktemp("closed")
    design = {"classes": [3, 5], "features": [4, 6, 8], "patch": [32, 24, 32]}
    design |= {"phases": [[16, 20], [32, 60]]}
    design |= {"teacher": str(make_model(folder / "tiny")), "scan": str(scan)}
    made = prepare.fitted_nnunet({"folder": str(folder / "nn"), **design})
    assert set(made["networks"]) == {"3", "5"}
    assert {"the teacher", "3 classes", "5 classes", "5 classes, as taught"} <= set(made["masks"])
    network: dict[str, Any] = made["networks"]["5"]
    return network


def test_an_enlarged_scan_shows_the_same_thing(scan: Path, tmp_path: Path) -> None:
    volume = read_volume(scan)
    assert volume.shape == SHAPE
    assert volume.spacing_mm == pytest.approx(SPACING)
    original = read_volume(small_ct(tmp_path / "ct.nii.gz")).array[0]
    # 22 × 20 × 24 voxels; in plane the scale is 40 / 24, which leaves air in front and behind.
    inside = volume.array[0][:, 6:-6]
    nearest = original[np.ix_(*(np.linspace(0, n - 1, m).round().astype(int)
                                for n, m in zip(original.shape, inside.shape)))]  # fmt: skip
    assert np.corrcoef(inside.ravel(), nearest.ravel())[0, 1] > 0.9
    assert volume.array[0][:, :4].max() < -900


def test_predictors_agree_on_the_same_weights(
    closed: dict[str, Any], scan: Path, tmp_path: Path
) -> None:
    """nnunetv2 sums in half precision; MONAI resamples the input linearly."""
    pytest.importorskip("monai")
    from textseg3d.benchmark import peers

    base = {"scan": str(scan), "device": "cpu", "started": time.monotonic()}
    request = {**base, "model": closed["model"], "prompts": closed["prompts"], "exact": True}
    mine = ours.segment({**request, "output": str(tmp_path / "ours")})
    theirs = peers.nnunetv2({**base, "source": closed["source"], "output": str(tmp_path / "nn")})
    other = peers.monai(
        {**base, "model": closed["model"], "output": str(tmp_path / "monai"), "overlap": 0.25}
    )
    candidates = {
        "ours": {"files": mine["files"]},
        "nnunetv2": {"labels": theirs["labels"]},
        "monai": {"labels": other["labels"]},
    }
    scores = parity.parity({**request, "candidates": candidates})["candidates"]
    assert scores["ours"]["dice"] > 0.9999
    assert scores["nnunetv2"]["dice"] > 0.99
    assert scores["monai"]["dice"] > 0.6
    assert scores["ours"]["classes"] >= 2  # the comparison is about something
    assert mine["windows_run"] == mine["windows_total"] >= 4


def test_reference_takes_the_windows_of_nnunetv2() -> None:
    utilities = pytest.importorskip("nnunetv2.inference.sliding_window_prediction")
    for n in (20, 33, 64, 65, 100, 137, 150):
        for size in (16, 31, 32):
            if n >= size:
                theirs = utilities.compute_steps_for_sliding_window((n,), (size,), 0.5)[0]
                assert window_starts(n, size) == list(theirs)


def test_cubic_resampling_is_that_of_scikit_image(scan: Path) -> None:
    pytest.importorskip("skimage")
    found = resampling.cubic({"scan": str(scan), "spacing_mm": [5.0, 5.0, 2.5], "repeats": 1})
    assert found["share_of_range"] < 1e-3
    assert found["to"] == [32, 31, 56]


def test_prompts_in_numbers_and_on_a_set_image(scan: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "tiny")
    request = {"model": str(model), "scan": str(scan), "prompts": ["liver", "heart", "spleen"]}
    request |= {"counts": [1, 3], "repeats": 1, "device": "cpu"}
    counted = ours.prompt_counts(request)
    assert set(counted["seconds"]) == {"1", "3"}
    assert min(counted["seconds"].values()) > 0
    assert set(counted["instances"]) == {"1", "3"}
    session = ours.session(request)
    assert session["prompts"] == 3
    assert session["slowest_prompt"] >= session["prompt"] > 0


def test_flops_of_an_nnunet_by_hand(closed: dict[str, Any]) -> None:
    """Per stage two 3³ convolutions each way, transposed convolutions of 2³, one head of 1³."""
    voxels = [32 * 24 * 32 // 8**level for level in range(3)]
    widths = [1, 4, 6, 8]
    multiply_adds = 0
    for level in range(3):
        multiply_adds += (
            27 * voxels[level] * (widths[level] + widths[level + 1]) * widths[level + 1]
        )
    for level, width in ((1, 6), (0, 4)):
        below = widths[level + 2]
        multiply_adds += 8 * voxels[level + 1] * below * width  # transposed
        multiply_adds += 27 * voxels[level] * (2 * width + width) * width
    multiply_adds += voxels[0] * 4 * 6
    assert flops({"model": closed["model"]})["image"] == 2 * multiply_adds


def test_flops_of_a_prompt_are_counted_apart(tmp_path: Path) -> None:
    found = flops({"model": str(make_model(tmp_path / "tiny"))})
    assert 0 < found["prompt"] < found["image"]
