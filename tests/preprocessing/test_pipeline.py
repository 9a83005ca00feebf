"""Fingerprint, cropping, normalisation and the store, against nnunetv2 where it does the same."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from tests.dataset.small import make_dataset
from textseg3d.dataset import Dataset, read_case
from textseg3d.errors import InputError, PlansError, UsageError
from textseg3d.plans import Plans
from textseg3d.plans.planner import Facts, plan_experiment
from textseg3d.preprocessing import pipeline
from textseg3d.preprocessing.crop import crop_to_nonzero
from textseg3d.preprocessing.fingerprinting import extract_fingerprint
from textseg3d.preprocessing.schemes import SCHEMES, normalise_channels
from textseg3d.preprocessing.store import CaseStore

SHAPES = ((12, 24, 28), (13, 22, 26), (11, 26, 27))
SPACINGS = ((2.0, 1.0, 1.1), (2.2, 1.0, 1.0), (2.5, 0.9, 1.0))


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    """A hundred million samples, as for a real dataset, take seconds."""
    monkeypatch.setattr("textseg3d.preprocessing.fingerprinting.FOREGROUND_SAMPLES", 30_000)


def planned(folder, spacing=None):
    """Dataset, its fingerprint, and plans as JSON values."""
    dataset = Dataset.load(folder)
    found = extract_fingerprint(dataset)
    names = dataset.description.channel_names
    classes = len(dataset.description.label_names)
    facts = Facts(dataset.name, names, classes, len(dataset.cases), ".nii.gz")
    return dataset, found, plan_experiment(found, facts, target_spacing_mm=spacing).plans


def test_fingerprint_equals_nnunet(tmp_path):
    module = pytest.importorskip(
        "nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor"
    )
    reader = pytest.importorskip("nnunetv2.imageio.simpleitk_reader_writer").SimpleITKIO
    folder = make_dataset(
        tmp_path / "Dataset007_X", shapes=SHAPES, spacings=SPACINGS, channels=2, border=3
    )
    dataset, found, _ = planned(folder)
    parts = [
        module.DatasetFingerprintExtractor.analyze_case(
            [str(p) for p in case.images], str(case.label), reader, 10_000
        )
        for case in dataset.cases
    ]
    assert found.shapes_after_crop == tuple(tuple(p[0]) for p in parts)
    assert np.allclose(found.spacings, [p[1] for p in parts], rtol=1e-6)
    assert found.median_relative_size_after_cropping == pytest.approx(
        np.median([p[4] for p in parts])
    )
    for channel in range(2):
        values = np.concatenate([p[2][channel] for p in parts]).astype(np.float64)
        low, median, high = np.percentile(values, (0.5, 50.0, 99.5))
        expected = {
            "mean": values.mean(), "median": median, "std": values.std(), "min": values.min(),
            "max": values.max(), "percentile_99_5": high, "percentile_00_5": low,
        }  # fmt: skip
        ours = found.foreground_intensity_properties_per_channel[str(channel)]
        assert ours == pytest.approx(expected, rel=1e-6)
    assert found.foreground_voxels == {"left kidney": (40,) * 3, "right_kidney": (32,) * 3}
    assert found.sides_present is not None
    assert found.sides_present["right_kidney"] == {"left": 0, "right": 3}


def test_crop_equals_nnunet():
    module = pytest.importorskip("nnunetv2.preprocessing.cropping.cropping")
    rng = np.random.default_rng(0)
    image = np.zeros((2, 12, 14, 16), np.float32)
    image[0, 2:9, 3:12, 4:14] = rng.integers(0, 2, (7, 9, 10))
    image[1, 3:10, 3:12, 4:13] = 1.0
    image[:, 5:7, 6:8, 7:9] = 0.0  # a hole
    labels = rng.integers(0, 3, image.shape[1:]).astype(np.int16)
    ours, truth, box = crop_to_nonzero(image, labels)
    theirs, seg, bounds = module.crop_to_nonzero(image.copy(), labels[None].copy())
    assert [[s.start, s.stop] for s in box] == [list(b) for b in bounds]
    assert np.array_equal(ours, theirs)
    assert np.array_equal(truth, seg[0])
    assert truth.min() == -1


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("masked", [False, True])
def test_schemes_equal_nnunet(name, masked):
    module = pytest.importorskip(
        "nnunetv2.preprocessing.normalization.default_normalization_schemes"
    )
    image = np.random.default_rng(1).uniform(0, 255, (1, 6, 7, 8)).astype(np.float32)
    inside = np.ones((6, 7, 8), bool)
    inside[:2] = False
    statistics = {"mean": 100.0, "std": 40.0, "percentile_00_5": 20.0, "percentile_99_5": 220.0}
    theirs = getattr(module, name)(masked, statistics).run(image[0].copy(), np.where(inside, 0, -1))
    ours = normalise_channels(image, [name], {"0": statistics}, inside, [masked])
    assert np.allclose(ours[0], theirs, atol=1e-5)


def test_scheme_faults():
    image = np.full((1, 2, 2, 2), -1.0, np.float32)
    with pytest.raises(PlansError, match="did you mean 'CTNormalization'"):
        normalise_channels(image, ["CTNormalisation"], {}, None, [False])
    with pytest.raises(PlansError, match="2 normalization_schemes"):
        normalise_channels(image, ["NoNormalization"] * 2, {}, None, [False] * 2)
    with pytest.raises(InputError, match="expected 0 to 255"):
        normalise_channels(image, ["RGBTo01Normalization"], {}, None, [False])


@pytest.mark.parametrize(
    ("channels", "spacing", "border"),
    [
        ({"0": "MRI"}, [1.5, 1.2, 1.2], 2),
        ({"0": "CT", "1": "T2"}, [1.0, 1.0, 3.5], 3),  # transposed, a separate axis, a mask
    ],
)
def test_a_case_equals_nnunet(tmp_path, channels, spacing, border):
    handler = pytest.importorskip("nnunetv2.utilities.plans_handling.plans_handler")
    preprocessor = pytest.importorskip("nnunetv2.preprocessing.preprocessors.default_preprocessor")
    folder = make_dataset(
        tmp_path / "Dataset007_X", shapes=SHAPES, spacings=SPACINGS,
        channels=len(channels), channel_names=channels, border=border,
    )  # fmt: skip
    dataset, _, data = planned(folder, spacing)
    plans = Plans.from_dict(data)
    arrays = read_case(dataset.cases[0])
    image, labels, _ = pipeline.process_case(arrays, plans, plans.configuration("3d_fullres"))
    manager = handler.PlansManager(data)
    theirs, seg, _ = preprocessor.DefaultPreprocessor(verbose=False).run_case_npy(
        arrays.image.copy(), arrays.labels[None].astype(np.float32),
        {"spacing": list(arrays.volume.spacing_mm)}, manager,
        manager.get_configuration("3d_fullres"), json.loads((folder / "dataset.json").read_text()),
    )  # fmt: skip
    assert image.shape == theirs.shape
    assert np.abs(image - theirs).max() <= 1e-4 * np.ptp(theirs)
    assert (labels != seg[0]).mean() < 0.002


def files_of(folder):
    """Names and hashes of everything in a folder."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


def test_store_and_resume(tmp_path):
    folder = make_dataset(tmp_path / "Dataset007_X", shapes=SHAPES, spacings=SPACINGS)
    dataset, found, data = planned(folder)
    plans, seen = Plans.from_dict(data), []
    store = pipeline.preprocess_dataset(
        dataset, plans, "3d_fullres", tmp_path / "out", on_progress=lambda *a: seen.append(a)
    )
    assert seen[-1] == ("preprocess 3d_fullres", 3, 3)
    assert store.names() == ["a", "b", "c"]
    record = store.record("a")
    image, labels = store.image("a"), store.labels("a")
    assert image.shape[1:] == labels.shape == record.shape
    box = record.foreground_boxes["left kidney"]
    part = labels[tuple(slice(*side) for side in box)]
    assert (part == 1).sum() == record.foreground_voxels["left kidney"] > 0
    need = pipeline.estimate(found, plans, plans.configuration("3d_fullres"))
    assert need.voxels == sum(np.prod(store.labels(n).shape) for n in store.names())
    before = files_of(store.folder)
    # What a killed run leaves: a temporary file, and a case without its record.
    (store.folder / ("." + "0" * 32 + ".tmp")).write_bytes(b"half")
    (store.folder / "b.json").unlink()
    (store.folder / "b.b2nd").write_bytes(b"half")
    untouched = (store.folder / "a.b2nd").stat().st_mtime_ns
    pipeline.preprocess_dataset(dataset, plans, "3d_fullres", tmp_path / "out")
    assert files_of(store.folder) == before
    assert (store.folder / "a.b2nd").stat().st_mtime_ns == untouched
    # Other plans: every case is done again.
    data["configurations"]["3d_fullres"]["spacing"] = [3.0, 2.0, 2.0]
    pipeline.preprocess_dataset(dataset, Plans.from_dict(data), "3d_fullres", tmp_path / "out")
    assert CaseStore(store.folder).record("a").spacing_mm == (3.0, 2.0, 2.0)


def test_two_runs_do_not_write_into_one_folder(tmp_path):
    from filelock import FileLock

    folder = make_dataset(tmp_path / "Dataset007_X", shapes=SHAPES, spacings=SPACINGS)
    dataset, _, data = planned(folder)
    plans = Plans.from_dict(data)
    store = pipeline.store_folder(tmp_path / "out", plans.configuration("3d_fullres"))
    store.mkdir(parents=True)
    with FileLock(store / ".lock"), pytest.raises(UsageError, match="another run"):
        pipeline.preprocess_dataset(dataset, plans, "3d_fullres", tmp_path / "out")


KILLER = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from textseg3d.dataset import Dataset
from textseg3d.plans import Plans
from textseg3d.preprocessing import pipeline

torch.set_num_threads(1)  # a fork loses threads
root = Path(sys.argv[1])
arguments = Dataset.load(root / "raw/Dataset007_X"), Plans.load(root / "plans.json"), "3d_fullres"

def run(out):
    child = os.fork()
    if child == 0:
        pipeline.preprocess_dataset(*arguments, root / out)
        os._exit(0)
    return child

start = time.perf_counter()
assert os.waitpid(run("whole"), 0)[1] == 0
whole, draw, kills = time.perf_counter() - start, random.Random(0), 0
store = pipeline.store_folder(root / "killed", arguments[1].configuration("3d_fullres"))
while kills < 10:
    child = run("killed")
    time.sleep(draw.uniform(0.02, 0.35) * whole)
    os.kill(child, signal.SIGKILL)
    kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    done = sorted(store.glob("*.json"))
    if len(done) == len(arguments[0].cases):  # leave something to do for the next one
        draw.choice(done).unlink()
    print(kills, len(done))
assert os.waitpid(run("killed"), 0)[1] == 0
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
def test_ten_killed_runs_end_with_the_same_bytes(tmp_path):
    count = 8
    folder = make_dataset(
        tmp_path / "raw" / "Dataset007_X",
        shapes=((24, 60, 60),) * count, spacings=((2.0, 1.0, 1.0),) * count,
    )  # fmt: skip
    plans = Plans.from_dict(planned(folder, [1.5, 1.2, 1.2])[2])
    plans.save(tmp_path / "plans.json")
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("10 ")
    store = pipeline.store_folder(tmp_path / "killed", plans.configuration("3d_fullres"))
    whole = pipeline.store_folder(tmp_path / "whole", plans.configuration("3d_fullres"))
    assert len(CaseStore(store).names()) == count
    assert files_of(store) == files_of(whole)
