"""Adds unlabelled real scans to ct-nano's training set, labelled by the model itself.

    python examples/ct_nano/pseudo_label.py --model runs/ct-nano/model \
        --data ../shared/data --training runs/ct-nano/data --out runs/ct-nano/data-2

Each scan is segmented twice: as it is, and with other contrast and noise. A structure is kept
where the two masks agree (Dice), and is unknown elsewhere; nothing is ever taken as absent.
Only `train` scans are read.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np

from textseg3d import Segmenter
from textseg3d.io import Volume, read_volume
from textseg3d.preprocessing import resample, resample_labels, target_shape
from textseg3d.training.cases import TrainingCase, TrainingSet, save_case_arrays

SCANS = (
    "crlm_1004",
    "crlm_1006",
    "lidc_0314",
    "nsclc_rg_r01_001",
    "4dlung_113",
    "pyrad_lung1",
    "pyrad_lung2",
    "pancreas_cb_001",
)
DRAWN = {"pancreas_cb_001": {"left lung": (1,), "right lung": (2,), "lungs": (1, 2)}}
MIN_ML = 3.0


def other_view(volume: Volume, seed: int) -> Volume:
    """Less contrast, a shift and noise: what a good mask should not depend on."""
    rng = np.random.default_rng(seed)
    hu = volume.array.astype(np.float32)
    hu = 40 + (hu - 40) * 0.92 + 12 + rng.normal(0, 18, hu.shape)
    return dataclasses.replace(volume, array=hu.clip(-1024, 3071).astype(np.int16))


def dice(a: np.ndarray, b: np.ndarray) -> float:
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 0.0


def encode(masks: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, tuple[int, ...]]]:
    """Overlapping masks as one label map: an id per combination that occurs (at most 255)."""
    names = list(masks)
    bits = np.packbits(np.stack([masks[n].ravel() for n in names]), axis=0)
    combos, inverse, counts = np.unique(bits, axis=1, return_inverse=True, return_counts=True)
    inside = np.unpackbits(combos, axis=0, count=len(names)).astype(bool)
    rank = np.argsort(-np.where(inside.any(axis=0), counts, 0))[:255]
    ids = np.zeros(combos.shape[1], np.uint8)
    ids[rank] = np.arange(1, len(rank) + 1)
    ids[~inside.any(axis=0)] = 0
    labels = ids[inverse.ravel()].reshape(next(iter(masks.values())).shape)
    table = {
        name: tuple(sorted({int(i) for i in ids[inside[row]] if i}))
        for row, name in enumerate(names)
    }
    return labels, table


def pseudo_case(
    segmenter: Segmenter,
    folder: Path,
    out: Path,
    prompts: list[str],
    agreement: float,
    spacing: tuple[float, float, float],
    weight: float,
) -> TrainingCase:
    volume = read_volume(folder / "ct.nii.gz")
    shape = target_shape(volume.shape, volume.spacing_mm, spacing)
    first = segmenter.predict(volume, prompts)
    second = segmenter.predict(other_view(volume, seed=0), prompts)
    masks, kept = {}, []
    for name in prompts:
        a, b = first[name], second[name]
        if a.status != "ok" or b.status != "ok" or a.volume_ml < MIN_ML:
            continue
        score = dice(a.array, b.array)
        if score >= agreement:
            both = (a.array & b.array).astype(np.uint8)
            masks[name] = resample_labels(both, shape).astype(bool)
            kept.append(f"{name} {score:.2f}")
    drawn = DRAWN.get(folder.name, {})
    if drawn:
        seg = resample_labels(read_volume(folder / "seg.nii.gz").array[0].astype(np.uint8), shape)
        for name, ids in drawn.items():
            masks[name] = np.isin(seg, ids)
    labels, table = encode(masks)
    image = resample(volume.array, shape)[0].round().clamp(-1024, 3071).numpy().astype(np.int16)
    name = f"{folder.name}_pseudo"
    save_case_arrays(out, name, labels, image)
    print(f"{name}: {len(kept)} kept: {', '.join(kept)}", flush=True)
    return TrainingCase(name, "scan", weight, table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--training", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--agreement", type=float, default=0.9)
    parser.add_argument("--weight", type=float, default=0.5)
    args = parser.parse_args()
    training_set = TrainingSet.load(args.training)
    shutil.copytree(args.training, args.out, dirs_exist_ok=True)
    segmenter = Segmenter(args.model)
    prompts = [target.name for target in training_set.targets]
    cases = [c for c in training_set.cases if c.name not in DRAWN]
    for name in SCANS:
        cases.append(
            pseudo_case(
                segmenter,
                args.data / "train" / name,
                args.out,
                prompts,
                args.agreement,
                training_set.spacing_mm,
                args.weight,
            )
        )
    dataclasses.replace(training_set, cases=tuple(cases)).save(args.out)
    record = {"model": args.model, "agreement": args.agreement, "scans": SCANS}
    (args.out / "pseudo.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
