"""A dataset that nnunetv2 planned and preprocessed is taken as it is."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from tests.dataset.small import make_dataset
from textseg3d.cli.main import main
from textseg3d.dataset import five_folds
from textseg3d.plans import Plans
from textseg3d.preprocessing.store import CaseStore

NAME = "Dataset007_X"
SHAPES = ((16, 24, 28), (15, 24, 26), (16, 22, 28), (14, 24, 28), (16, 24, 24))
SPACINGS = ((2.0, 1.0, 1.0),) * 5
# What nnUNetv2_plan_and_preprocess calls, with fewer samples, and the trainer's splits.
THEIRS = """
from nnunetv2.experiment_planning.dataset_fingerprint import fingerprint_extractor as f
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import (
    ExperimentPlanner)
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.crossval_split import generate_crossval_split
from batchgenerators.utilities.file_and_folder_operations import save_json
import os

if __name__ == "__main__":
    extractor = f.DatasetFingerprintExtractor(7, num_processes=1)
    extractor.num_foreground_voxels_for_intensitystats = 10000
    extractor.run()
    ExperimentPlanner(7, 8).plan_experiment()
    DefaultPreprocessor(verbose=False).run(7, "3d_fullres", "nnUNetPlans", num_processes=1)
    folder = os.environ["nnUNet_preprocessed"] + "/Dataset007_X"
    save_json(generate_crossval_split(list("abcde")), folder + "/splits_final.json")
"""


def state(folder):
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file() and "textseg3d_" not in p.as_posix()
    }


@pytest.mark.slow
def test_a_folder_of_nnunetv2_is_accepted_unchanged(tmp_path, monkeypatch):
    pytest.importorskip("nnunetv2")
    for kind in ("raw", "preprocessed", "results"):
        monkeypatch.delenv(f"TEXTSEG3D_{kind}", raising=False)
        monkeypatch.setenv(f"nnUNet_{kind}", str(tmp_path / kind))
    make_dataset(tmp_path / "raw" / NAME, shapes=SHAPES, spacings=SPACINGS, border=1, numTraining=5)
    script = tmp_path / "theirs.py"
    script.write_text(THEIRS)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "preprocessed" / NAME
    before = state(out)
    assert main(["preprocess", "-d", "7", "-c", "3d_fullres"]) == 0
    assert state(out) == before
    assert json.loads((out / "splits_final.json").read_text()) == five_folds("abcde")

    store = CaseStore(out / "textseg3d_nnUNetPlans_3d_fullres")
    assert store.names() == ["a", "b", "c", "d", "e"]
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    theirs = nnUNetDatasetBlosc2(str(out / "nnUNetPlans_3d_fullres"))
    for name in store.names():
        data, labels, _, _ = theirs.load_case(name)
        image = store.image(name)[:]
        reach = float(np.ptp(data[:]))
        np.testing.assert_allclose(image, data[:], atol=1e-3 * reach)
        np.testing.assert_array_equal(store.labels(name)[:], labels[0])

    # Planning again with our command keeps their fingerprint, and comes to the same plans.
    theirs_plans = json.loads((out / "nnUNetPlans.json").read_text())
    assert main(["plan", "-d", "7"]) == 0
    ours = json.loads((out / "nnUNetPlans.json").read_text())
    for configuration in ours["configurations"].values():
        configuration.pop("intensity", None)
    assert ours == theirs_plans
    assert Plans.load(out / "nnUNetPlans.json").configuration("3d_fullres")
