"""A dataset of torso phantoms in nnU-Net's layout: two kidneys, a liver, some spleens."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (28, 30, 30)  # z, y, x; the smallest window of the networks holds it
SPACING_MM = (4.0, 4.0, 4.0)
LABELS = {"background": 0, "kidney_left": 1, "kidney_right": 2, "liver": 3, "spleen": 4}
HU = {0: 30.0, 1: 150.0, 2: 150.0, 3: 95.0, 4: 110.0}
# Centre (z, y, x) and radii in voxels; x grows to the patient's left.
ORGANS = {
    1: ((9, 19, 22), (5, 4, 3)),
    2: ((9, 19, 8), (5, 4, 3)),
    3: ((19, 12, 9), (6, 6, 6)),
    4: ((19, 18, 22), (4, 4, 4)),
}


def ellipsoid(centre, radii):
    axes = np.ogrid[tuple(slice(n) for n in SHAPE)]
    return sum(((a - c) / r) ** 2 for a, c, r in zip(axes, centre, radii, strict=True)) <= 1


def phantom(seed: int, *, spleen: bool):
    """HU float32 and labels uint8 [z, y, x] of one patient; places and sizes vary."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.uint8)
    body = ellipsoid((14, 15, 15), (30, 13, 14))
    for value, (centre, radii) in ORGANS.items():
        if value == 4 and not spleen:
            continue
        where = np.array(centre) + rng.uniform(-1.5, 1.5, 3)
        labels[ellipsoid(where, np.array(radii) * rng.uniform(0.85, 1.15, 3))] = value
    hu = np.full(SHAPE, -1000.0, np.float32)
    hu[body] = HU[0]
    for value in ORGANS:
        hu[labels == value] = HU[value] + rng.uniform(-15, 15)
    return hu + rng.normal(0, 12, SHAPE).astype(np.float32), labels


def write_nifti(path: Path, array_zyx: np.ndarray) -> None:
    """In RAS order, as most files are: the canonical array's x and y are flipped."""
    affine = np.diag([*SPACING_MM[::-1], 1.0])
    nib.save(nib.Nifti1Image(array_zyx.transpose(2, 1, 0)[::-1, ::-1].copy(), affine), path)


def write_dataset(folder: Path, cases: int = 10) -> Path:
    """``DatasetXXX_Name`` with imagesTr, labelsTr and dataset.json."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for number in range(cases):
        hu, labels = phantom(number, spleen=number % 2 == 0)
        write_nifti(folder / "imagesTr" / f"p{number:02d}_0000.nii.gz", hu.astype(np.int16))
        write_nifti(folder / "labelsTr" / f"p{number:02d}.nii.gz", labels)
    description = {
        "channel_names": {"0": "CT"},
        "labels": LABELS,
        "numTraining": cases,
        "file_ending": ".nii.gz",
        "prompts": {"kidney_left": ["kidney of the left flank"]},
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder
