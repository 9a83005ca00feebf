"""Measures training with one and with two processes, and writes the table of docs/training.md.

    python examples/training/scaling.py --data ../shared/data --out runs/scaling

Trains the hippocampus recipe for a few steps with 1 process (2 threads), 1 process (1 thread) and
2 processes (1 thread each), the same windows per process and step; run it on an idle machine.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "training.md"
MARKS = ("<!-- scaling -->", "<!-- /scaling -->")
BATCH = 2
RUNS = ((1, 2), (1, 1), (2, 1))  # processes, threads of each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=80)
    args = parser.parse_args()
    out = args.out.resolve()
    environment = {**os.environ, "TEXTSEG3D_raw": str(args.data.resolve())}
    for kind in ("preprocessed", "results"):
        environment[f"TEXTSEG3D_{kind}"] = str(out / kind)
    command = [sys.executable, "-m", "textseg3d.cli", "plan_and_preprocess", "-d", "4"]
    subprocess.run([*command, "-c", "3d_fullres"], env=environment, check=True)
    rows = [
        "| processes | threads each | seconds per step | windows per second |",
        "|---|---|---|---|",
    ]
    for processes, threads in RUNS:
        name = f"Scaling{processes}x{threads}"
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
        start = [*launcher, str(processes), "-m"] if processes > 1 else ["-m"]
        subprocess.run(
            [
                sys.executable, *start, "textseg3d.cli", "train", "4", "3d_fullres", "0",
                "-tr", name, "--network", "nano", "--batch", str(BATCH), "--steps",
                str(args.steps), "--validate-every", "0", "--no-validation",
            ],
            env={**environment, "OMP_NUM_THREADS": str(threads)}, check=True,
        )  # fmt: skip
        run = out / "results" / "Dataset004_Hippocampus" / f"{name}__nnUNetPlans__3d_fullres"
        with (run / "fold_0" / "log.csv").open() as file:
            seconds = [float(row["seconds"]) for row in csv.DictReader(file)][1:]
        step = statistics.median(seconds)
        rows.append(f"| {processes} | {threads} | {step:.3f} | {processes * BATCH / step:.1f} |")
        print(rows[-1], flush=True)
    page = PAGE.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(MARKS[0])}.*{re.escape(MARKS[1])}", re.DOTALL)
    text = "\n".join((MARKS[0], *rows, MARKS[1]))
    PAGE.write_text(pattern.sub(lambda _: text, page), encoding="utf-8")


if __name__ == "__main__":
    main()
