"""A torso of boxes: two lungs with lobes, a liver, two kidneys; and a training set of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textseg3d.training.cases import TargetEntry, TrainingCase, TrainingSet, save_case_arrays

SPACING = (3.0, 3.0, 3.0)
BODY, RUL, RML, RLL, LUL, LLL, LIVER, LEFT_KIDNEY, RIGHT_KIDNEY = range(1, 10)
HU = {0: -1000, BODY: -80, LIVER: 110, LEFT_KIDNEY: 140, RIGHT_KIDNEY: 140}  # lungs: -850
TARGETS: dict[str, tuple[int, ...]] = {
    "lungs": (RUL, RML, RLL, LUL, LLL),
    "right lung": (RUL, RML, RLL),
    "left lung": (LUL, LLL),
    "upper lobe of right lung": (RUL,),
    "middle lobe of right lung": (RML,),
    "lower lobe of right lung": (RLL,),
    "upper lobe of left lung": (LUL,),
    "lower lobe of left lung": (LLL,),
    "liver": (LIVER,),
    "left kidney": (LEFT_KIDNEY,),
    "right kidney": (RIGHT_KIDNEY,),
    "kidneys": (LEFT_KIDNEY, RIGHT_KIDNEY),
    "urinary bladder": (),
    "pulmonary nodule": (),
    "liver lesion": (),
    "renal cyst": (),
}
INSERT = {
    "pulmonary nodule": TARGETS["lungs"],
    "liver lesion": (LIVER,),
    "renal cyst": TARGETS["kidneys"],
}


def torso() -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """HU and labels [z, y, x]; x grows to the patient's left, z upwards."""
    labels = np.zeros((56, 44, 76), np.uint8)
    labels[:, 3:41, 3:73] = BODY
    labels[26:54, 6:38, 40:70] = LUL
    labels[26:38, 14:38, 40:70] = LLL
    labels[26:54, 6:38, 6:36] = RUL
    labels[26:40, 6:22, 6:36] = RML
    labels[26:38, 22:38, 6:36] = RLL
    labels[8:25, 8:34, 6:40] = LIVER
    labels[4:24, 20:34, 52:64] = LEFT_KIDNEY
    labels[2:7, 20:34, 12:24] = RIGHT_KIDNEY
    image = np.full(labels.shape, -850, np.int16)
    for label, value in HU.items():
        image[labels == label] = value
    return image, labels


def torso_case(**changes: object) -> TrainingCase:
    fields: dict[str, object] = {
        "name": "torso",
        "kind": "scan",
        "weight": 1.0,
        "targets": TARGETS,
        "insert": INSERT,
    }
    return TrainingCase(**{**fields, **changes})  # type: ignore[arg-type]


def write_torso_set(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    image, labels = torso()
    save_case_arrays(folder, "torso", labels, image)
    entries = tuple(TargetEntry(name) for name in TARGETS)
    TrainingSet(SPACING, entries, (torso_case(),)).save(folder)
    return folder
