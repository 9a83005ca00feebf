"""Scores a model that was trained on rendered MR alone, and ct-nano, on a real MR scan.

    python examples/mr_nano/measure.py --scan DIR --run runs/mr-nano/run [--write]

DIR is `tests/reference_files` of the source distribution of totalsegmentator 2.18.0 (PyPI,
Apache-2.0): `example_mr_sm.nii.gz`, an abdomen, and `example_seg_mr.nii.gz`, what TotalSegmentator
finds in it. RUN is the run folder of `textseg3d train`, with its model in RUN/model. --write puts
the table into docs/accuracy.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from textseg3d import Segmenter
from textseg3d.evaluation.metrics import dice
from textseg3d.io import Volume, read_volume
from textseg3d.text.knowledge import load_tree

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "accuracy.md"
MARKS = ("<!-- begin: mr_nano/measure.py -->", "<!-- end: mr_nano/measure.py -->")
SMALL_ML = 0.5  # less truth than this is a cut end; it is not scored
# Ids of TotalSegmentator's task "total_mr" (its map_to_binary.py), in order from 1.
CLASSES = (
    *("spleen", "kidney_right", "kidney_left", "gallbladder", "liver", "stomach", "pancreas"),
    *("adrenal_gland_right", "adrenal_gland_left", "lung_left", "lung_right", "esophagus"),
    *("small_bowel", "duodenum", "colon", "urinary_bladder", "prostate", "sacrum", "vertebrae"),
    *("intervertebral_discs", "spinal_cord", "heart", "aorta", "inferior_vena_cava"),
    *("portal_vein_and_splenic_vein", "iliac_artery_left", "iliac_artery_right"),
    *("iliac_vena_left", "iliac_vena_right", "humerus_left", "humerus_right", "scapula_left"),
    *("scapula_right", "clavicula_left", "clavicula_right", "femur_left", "femur_right"),
    *("hip_left", "hip_right", "gluteus_maximus_left", "gluteus_maximus_right"),
    *("gluteus_medius_left", "gluteus_medius_right", "gluteus_minimus_left"),
    *("gluteus_minimus_right", "autochthon_left", "autochthon_right", "iliopsoas_left"),
    *("iliopsoas_right", "brain"),
)
# Far from this abdomen: whatever the view, the truth is that they are not in it.
ABSENT = (
    *("prostate", "urinary_bladder", "heart", "humerus_left", "humerus_right", "scapula_left"),
    *("scapula_right", "clavicula_left", "clavicula_right", "femur_left", "femur_right"),
    *("gluteus_maximus_left", "gluteus_maximus_right", "sacrum"),
)


@dataclass(frozen=True)
class Score:
    """Of one prompt: Dice (None for what is absent), presence (None if unknown), its voxels."""

    dice: float | None
    presence: float | None
    voxels: int


def truth_masks(seg: NDArray[np.integer], voxel_ml: float) -> dict[str, NDArray[np.bool_]]:
    """Canonical name → mask [D, H, W], of what the scan shows."""
    tree = load_tree()
    found = {}
    for i, label in enumerate(CLASSES, 1):
        mask = seg == i
        if mask.sum() * voxel_ml > SMALL_ML:
            found[tree.canonical_name(tree.resolve_label(label))] = mask
    return found


def score(
    model: str | Path, volume: Volume, truth: dict[str, NDArray[np.bool_]], absent: list[str]
) -> dict[str, Score]:
    """Scores of all prompts, on the scan's own grid."""
    answers = Segmenter(model).predict(volume, [*truth, *absent])
    scores = {}
    for name in (*truth, *absent):
        answer = answers[name]
        if answer.presence is None:
            scores[name] = Score(None, None, 0)
            continue
        voxels = int(answer.array.sum())
        own = float(dice(answer.array, truth[name])) if name in truth else None
        scores[name] = Score(own, float(answer.presence), voxels)
    return scores


def cell(found: Score) -> str:
    """Dice and presence for the table."""
    if found.presence is None:
        return "not known"
    return f"{found.dice:.3f} ({found.presence:.2f})"


def mean(scores: dict[str, Score], names: list[str]) -> str:
    """Mean Dice over some structures."""
    return f"{np.mean([scores[n].dice for n in names]):.3f}" if names else "–"


def said_no(scores: dict[str, Score], absent: list[str]) -> str:
    """How many of the known absent structures have presence below 0.5 and no voxel."""
    known = [scores[n] for n in absent if scores[n].presence is not None]
    right = sum((s.presence or 0) < 0.5 and s.voxels == 0 for s in known)
    return f"{right} of {len(known)}"


def training(run: Path) -> str:
    """Steps, seed and minutes of the training, from its checkpoint and log."""
    with safe_open(run / "checkpoint.safetensors", framework="np") as file:
        about = file.metadata()
    step, seconds, before = int(about["step"]), 0.0, 0
    with (run / "log.csv").open(encoding="utf-8") as rows:
        for row in csv.DictReader(rows):
            last = min(int(row["step"]), step)
            seconds += float(row["seconds"]) * (last - before)
            before = last
    seed = json.loads(about["settings"])["seed"]
    return f"{step} steps in {seconds / 60:.0f} minutes on one shared core, seed {seed}"


def table(
    ours: dict[str, Score],
    ct: dict[str, Score],
    truth: dict[str, NDArray[np.bool_]],
    absent: list[str],
    about: str,
) -> list[str]:
    """The page's lines."""
    both = [n for n in truth if ct[n].dice is not None and ours[n].dice is not None]
    lines = [
        f"{date.today()}, {platform.machine()}; {about}. Dice, and presence in brackets.",
        "",
        "| structure | ml | mr-nano | ct-nano |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {n} | {mask.sum() * 0.027:.0f} | {cell(ours[n])} | {cell(ct[n])} |"
        for n, mask in truth.items()
    ]
    lines += [
        f"| mean of the {len(both)} that both know | | {mean(ours, both)} | {mean(ct, both)} |",
        f"| absent: presence below 0.5 and no voxel | | {said_no(ours, absent)} "
        f"| {said_no(ct, absent)} |",
    ]
    return lines


def main() -> None:
    """Parse the command line, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--scan", type=Path, required=True, metavar="DIR")
    parser.add_argument("--run", type=Path, required=True, help="of `textseg3d train`")
    parser.add_argument("--write", action="store_true", help="into docs/accuracy.md")
    args = parser.parse_args()
    volume = read_volume(args.scan / "example_mr_sm.nii.gz")
    seg = read_volume(args.scan / "example_seg_mr.nii.gz").array[0]
    truth = truth_masks(seg.round().astype(int), float(np.prod(volume.spacing_mm)) / 1000)
    tree = load_tree()
    absent = [tree.canonical_name(tree.resolve_label(label)) for label in ABSENT]
    ours = score(args.run / "model", volume, truth, absent)
    ct = score("ct-nano", volume, truth, absent)
    lines = table(ours, ct, truth, absent, training(args.run))
    print("\n".join(lines))
    if args.write:
        page = PAGE.read_text(encoding="utf-8")
        text = f"{MARKS[0]}\n" + "\n".join(lines) + f"\n{MARKS[1]}"
        pattern = re.escape(MARKS[0]) + ".*" + re.escape(MARKS[1])
        PAGE.write_text(re.sub(pattern, lambda _: text, page, flags=re.S), encoding="utf-8")


if __name__ == "__main__":
    main()
