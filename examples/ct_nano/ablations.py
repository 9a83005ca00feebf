"""What each ingredient of the recipe is worth: short, equal trainings, scored on the val scans.

    python examples/ct_nano/ablations.py --data ../shared/data --out runs/ct-nano/ablations
                                         [--steps 400] [--only both] [--write]

Every variant trains the network of leave_one_out.json (4 mm) from scratch with the same seed and
the same number of steps, and answers the val scans without any postprocessing. They are far from
finished: the table says which ingredient helps early on, not how good a model gets. A training
goes on where it was stopped; what is scored stays scored. --write puts the table into
docs/accuracy.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch
from leave_one_out import FINDINGS, HERE, PAGE, write_block

from textseg3d.cli.main import main as textseg3d
from textseg3d.networks.prompt_attention import PositionEmbedding
from textseg3d.training.cases import TrainingSet

MARKS = ("<!-- begin: ablations.py -->", "<!-- end: ablations.py -->")
# variant → (outlines of outline.py are used, kinds of cases, windows know where they are)
VARIANTS: dict[str, tuple[bool, tuple[str, ...], bool]] = {
    "atlases alone": (False, ("atlas",), True),
    "real scans alone": (True, ("scan",), True),
    "both, without pseudo-labels": (False, ("scan", "atlas"), True),
    "both": (True, ("scan", "atlas"), True),
    "both, without positions": (True, ("scan", "atlas"), False),
}


def prepare(data: Path, out: Path, *, outlined: bool) -> Path:
    """The training set at 4 mm with or without outlines, made once."""
    folder = out / ("data-outlined" if outlined else "data")
    if not (folder / "training.json").exists():
        command = [sys.executable, str(HERE / "prepare.py"), "--data", str(data)]
        command += ["--out", str(folder), "--spacing", "4"]
        command += ["--outlines", str(HERE / "outlines")] if outlined else []
        subprocess.run(command, check=True)
    return folder


def folder_of(out: Path, variant: str, steps: int) -> Path:
    return out / str(steps) / variant.replace(",", "").replace(" ", "-")


def run(variant: str, prepared: Path, data: Path, out: Path, steps: int) -> None:
    """Train and score one variant; leaves evaluation.json in its folder."""
    _, kinds, positions = VARIANTS[variant]
    if not positions:
        PositionEmbedding.forward = _nowhere  # type: ignore[method-assign]
    own = folder_of(out, variant, steps)
    whole = TrainingSet.load(prepared)
    chosen = own / "data"
    chosen.mkdir(parents=True, exist_ok=True)
    cases = tuple(case for case in whole.cases if case.kind in kinds)
    for case in cases:
        for file in prepared.glob(f"{case.name}*"):
            link = chosen / file.name
            if not link.exists():
                link.symlink_to(file.resolve())
    replace(whole, cases=cases).save(chosen)
    text = HERE.parents[1] / "model_zoo/ct-nano/text"
    train = ["train", str(chosen), "4mm", "-p", str(HERE / "leave_one_out.json")]
    train += ["--text", str(text), "-o", str(own / "run"), "--steps", str(steps)]
    train += ["--withhold", *FINDINGS, "--model-folder", str(own / "model")]
    train += ["--continue"] if (own / "run" / "checkpoint.safetensors").exists() else []
    scored = ["evaluate", "--model", str(own / "model"), "--cases", str(data / "val")]
    for command in (train, [*scored, "-o", str(own / "evaluation")]):
        code = textseg3d(command)
        if code:
            sys.exit(code)


def _nowhere(embedding: PositionEmbedding, position: torch.Tensor) -> torch.Tensor:
    """Every place looks alike."""
    return position.new_zeros((len(position), embedding.mlp[-1].out_features))


def table(out: Path, steps: int) -> list[str]:
    """The page's lines, for the variants that are scored."""
    scores = {}
    for variant in VARIANTS:
        file = folder_of(out, variant, steps) / "evaluation" / "evaluation.json"
        if file.exists():
            groups = json.loads(file.read_text(encoding="utf-8"))["groups"]
            scores[variant] = {name: one["dice"]["mean"] for name, one in groups.items()}
    names = sorted({name for one in scores.values() for name in one})
    lines = [
        f"{date.today()}; {steps} steps at 4 mm from scratch, seed 0, one run per variant; Dice "
        "on the four val scans, truth drawn by people.",
        "",
        "| | " + " | ".join(scores) + " |",
        "|---|" + "---|" * len(scores),
    ]
    for name in names:
        lines.append(f"| {name} | " + " | ".join(f"{s[name]:.3f}" for s in scores.values()) + " |")
    means = (sum(one.values()) / len(one) for one in scores.values())
    return [*lines, "| mean | " + " | ".join(f"{mean:.3f}" for mean in means) + " |"]


def main() -> None:
    """Parse the command line, train and score what is missing, print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--only", choices=VARIANTS, help="run this variant, in this process")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.only:
        prepared = prepare(args.data, args.out, outlined=VARIANTS[args.only][0])
        run(args.only, prepared, args.data, args.out, args.steps)
        return
    for variant in VARIANTS:
        if not (folder_of(args.out, variant, args.steps) / "evaluation/evaluation.json").exists():
            command = [sys.executable, *sys.argv, "--only", variant]  # without what others patched
            subprocess.run(command, check=True)
    lines = table(args.out, args.steps)
    print("\n".join(lines))
    if args.write:
        write_block(PAGE, MARKS, lines)


if __name__ == "__main__":
    main()
