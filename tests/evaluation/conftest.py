"""A labelled phantom scan as a case folder, and a model that answers from a table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.phantoms import box, save_zyx
from textseg3d.evaluation.predictors import PromptAnswer, crop_answer

SHAPE = (12, 40, 48)
SPACING = (3.0, 2.0, 2.0)
LEFT = box(SHAPE, (2, 10, 32), (8, 20, 8))  # x grows to the patient's Left
RIGHT = box(SHAPE, (2, 10, 8), (8, 20, 8))
TUMOUR = box(SHAPE, (4, 14, 34), (2, 4, 3))
LIVER = box(SHAPE, (2, 30, 18), (5, 8, 10))
LABELS = {"1": "kidney_left", "2": "kidney_right", "3": "liver", "4": "odd thing", "5": "spot"}


def write_case(folder: Path, name: str = "phantom", **info: object) -> Path:
    """ct.nii.gz, seg.nii.gz, info.json of the phantom."""
    labels = 1 * LEFT + 2 * RIGHT + 3 * LIVER
    labels[TUMOUR] = 5
    image = np.full(SHAPE, -1000)
    image[:, 5:39, 4:44] = 20
    image[LEFT | RIGHT] = 150
    save_zyx(folder / "ct.nii.gz", image, SPACING, np.int16)
    save_zyx(folder / "seg.nii.gz", labels, SPACING)
    content = {"case": name, "labels": LABELS, "labels_by": "a ruler", "split": "val", **info}
    (folder / "info.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def case_folder(tmp_path):
    return write_case(tmp_path / "cases" / "phantom")


def table_model(table):
    """A Predict that returns the masks of a table; what is not in it is unknown."""

    def predict(image, prompts):
        return {
            text: crop_answer("ok", 0.9 if table[text].any() else 0.1, table[text], image)
            if text in table
            else PromptAnswer("unknown")
            for text in prompts
        }

    return predict
