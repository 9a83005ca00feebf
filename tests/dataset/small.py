"""Small datasets in nnU-Net's layout, written with nibabel."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np

DESCRIPTION = {
    "channel_names": {"0": "MRI"},
    "labels": {"background": 0, "left kidney": 1, "right_kidney": 2},
    "numTraining": 3,
    "file_ending": ".nii.gz",
}


def save(path: Path, array_zyx, spacing=(2.0, 1.0, 1.0)) -> None:
    """Write an array [z, y, x] whose axes are LPS, spacing (z, y, x)."""
    affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    image = nib.Nifti1Image(np.ascontiguousarray(array_zyx.transpose(2, 1, 0)), affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def make_dataset(
    folder: Path,
    *,
    shapes=((8, 20, 24), (9, 18, 20), (7, 22, 22)),
    spacings=((2.0, 1.0, 1.0), (2.0, 1.1, 1.1), (2.5, 1.0, 1.0)),
    channels=1,
    border=2,
    dtype=np.int16,
    **changes,
) -> Path:
    """Cases "a", "b", …: noise inside a zero border, two boxes as labels."""
    description = {**DESCRIPTION, "numTraining": len(shapes), **changes}
    description["channel_names"] = changes.get(
        "channel_names", {str(c): "MRI" for c in range(channels)}
    )
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    (folder / "dataset.json").write_text(json.dumps(description))
    rng = np.random.default_rng(0)
    for number, (shape, spacing) in enumerate(zip(shapes, spacings, strict=True)):
        case = chr(ord("a") + number)
        inside = tuple(slice(border, n - border) for n in shape)
        for channel in range(channels):
            image = np.zeros(shape, dtype)
            image[inside] = rng.integers(1, 1000, image[inside].shape)
            save(folder / "imagesTr" / f"{case}_{channel:04d}.nii.gz", image, spacing)
        labels = np.zeros(shape, np.uint8)
        labels[3:5, 5:9, 4:8] = 2
        labels[3:5, 5:9, 12:17] = 1
        save(folder / "labelsTr" / f"{case}.nii.gz", labels, spacing)
    return folder
