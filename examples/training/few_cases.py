"""Fine-tuning against training from scratch: a structure that the bundled model never saw.

    python examples/training/few_cases.py --atlases ../shared/data/atlases --out runs/few-cases

Renders four atlas bodies as CT, with one label: the rectus abdominis muscle, which is not among
ct-nano's concepts. Three bodies are trained on, the fourth is predicted from the prompt. All runs
have the same network, windows, samples and number of steps. Writes the table of docs/training.md.
A run that is done is kept in OUT/done.json: the same command goes on after an interruption.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from textseg3d.io import read_volume
from textseg3d.preprocessing import resample_labels, target_shape
from textseg3d.synthesis.render import Tissues, render_ct
from textseg3d.synthesis.scanner import acquire

NAME = "Dataset900_Rectus"
LABEL = "rectus_abdominis"
SPACING_MM = (3.0, 3.0, 3.0)
PATCH = [64, 64, 64]
STEPS = 150
RUNS = {
    "from scratch": [],
    "from ct-nano, all layers": ["--from", "ct-nano"],
    "from ct-nano, decoder and fusion": ["--from", "ct-nano", "--tune", "decoder"],
    "from ct-nano, LoRA on the fusion": ["--from", "ct-nano", "--tune", "lora"],
}
PAGE = Path(__file__).resolve().parents[2] / "docs" / "training.md"
MARKS = ("<!-- few-cases -->", "<!-- /few-cases -->")


def write_dataset(atlases: Path, folder: Path, cases: int = 4) -> None:
    """Four bodies, two of each sex, each lit by its own random contrast."""
    names = sorted(p.name for p in (atlases / "habitus").glob("*.nii.gz") if "child" not in p.name)
    chosen = [n for n in names if n.startswith("f_")][:2] + [
        n for n in names if not n.startswith("f_")
    ][:2]
    for sub in ("imagesTr", "labelsTr"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(chosen[:cases]):
        sex = "female" if name.startswith("f_") else "male"
        info = json.loads((atlases / f"{sex}.json").read_text())["labels"]
        volume = read_volume(atlases / "habitus" / name)
        shape = target_shape(volume.shape, volume.spacing_mm, SPACING_MM)
        labels = torch.from_numpy(resample_labels(volume.array[0].astype(np.uint8), shape))
        tissue = {int(k): v["tissue"] or "soft" for k, v in info.items()}
        rng = torch.Generator().manual_seed(number)
        hu = acquire(rng, render_ct(rng, labels, Tissues(tissue, frozenset(), frozenset())))
        wanted = [int(k) for k, v in info.items() if v["name"] == LABEL]
        mask = np.isin(labels.numpy(), wanted).astype(np.uint8)
        case = name.removesuffix(".nii.gz")
        for array, path in (
            (hu.clamp(-1024, 3071).numpy().astype(np.int16), f"imagesTr/{case}_0000.nii.gz"),
            (mask, f"labelsTr/{case}.nii.gz"),
        ):
            affine = np.diag([-3.0, -3.0, 3.0, 1.0])  # the arrays are LPS, files are RAS
            nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), affine), folder / path)
    kept = [n.removesuffix(".nii.gz") for n in chosen]
    split = [{"train": [kept[0], kept[1], kept[2]], "val": [kept[3]]}]
    (folder / "splits_final.json").write_text(json.dumps(split))
    description = {
        "channel_names": {"0": "CT"}, "labels": {"background": 0, LABEL: 1},
        "numTraining": cases, "file_ending": ".nii.gz", "licence": "that of the atlases",
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(description))


def run(environment: dict[str, str], *arguments: str) -> str:
    """What the command prints; its progress goes to the terminal."""
    print(f"textseg3d {' '.join(arguments[:2])} …", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "textseg3d.cli", *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"textseg3d {' '.join(arguments)} ended with {done.returncode}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--atlases", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=STEPS, help="of each run (%(default)s)")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the table goes")
    args = parser.parse_args()
    out = args.out.resolve()
    environment = dict(os.environ)
    for kind in ("raw", "preprocessed", "results"):
        environment[f"TEXTSEG3D_{kind}"] = str(out / kind)
    if not (out / "raw" / NAME / "dataset.json").is_file():
        print("rendering four bodies …", file=sys.stderr, flush=True)
        write_dataset(args.atlases, out / "raw" / NAME)
    dataset = str(out / "raw" / NAME)
    run(environment, "plan", "-d", dataset, "--preset", "ct-nano")
    path = out / "preprocessed" / NAME / "nnUNetPlans.json"
    plans = json.loads(path.read_text())
    plans["configurations"]["ct-nano"]["patch_size"] = PATCH
    path.write_text(json.dumps(plans, indent=1))
    run(environment, "preprocess", "-d", dataset, "-c", "ct-nano")
    rows = [
        f"| start, {args.steps} steps | Dice of the fourth case | seconds, with its prediction |",
        "|---|---|---|",
    ]
    ledger = out / "done.json"
    done = json.loads(ledger.read_text()) if ledger.is_file() else {}
    for number, (name, options) in enumerate(RUNS.items()):
        key = f"{name}, {args.steps} steps"
        if key not in done:
            begin = time.monotonic()
            shown = run(
                environment, "train", dataset, "ct-nano", "0", "-tr", f"Run{number}", *options,
                "--steps", str(args.steps), "--validate-every", "0", "--learning-rate", "1e-3",
            )  # fmt: skip
            dice = float(shown.splitlines()[-1].split("\t")[1])
            done[key] = [dice, time.monotonic() - begin]
            ledger.write_text(json.dumps(done, indent=1))
        dice, seconds = done[key]
        rows.append(f"| {name} | {dice:.3f} | {seconds:.0f} |")
        print(rows[-1], flush=True)
    text = "\n".join((MARKS[0], *rows, MARKS[1]))
    page = args.page.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(MARKS[0])}.*{re.escape(MARKS[1])}", re.DOTALL)
    changed, count = pattern.subn(lambda _: text, page)
    if not count:
        raise SystemExit(f"{args.page} lacks the marks {' and '.join(MARKS)}; the table is above")
    args.page.write_text(changed, encoding="utf-8")
    print(f"written: {args.page}", file=sys.stderr)


if __name__ == "__main__":
    main()
