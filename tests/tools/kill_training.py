"""Kill -9 a training run at random moments, continue it each time, and check how it ends.

    python tests/tools/kill_training.py --run RUN --steps 60 -- \\
        textseg3d train 4 3d_fullres 0 --steps 60 --network nano --no-validation \\
            --checkpoint-seconds 5

The command is run as it stands, then again with ``--continue`` after each kill, until it was
killed ``--kills`` times and ended by itself. RUN is the run folder (for a dataset
``…/PromptTrainer__nnUNetPlans__3d_fullres/fold_0``). Checked are: the checkpoint has all steps and
only finite numbers, log.csv counts each step once, and its losses are finite. The exit code is 0
if all of that holds. The moments should fit the run: ``--min-seconds``, ``--max-seconds``.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

CHECKPOINT, LOG = "checkpoint.safetensors", "log.csv"


def finished_steps(run: Path) -> int:
    """Steps of the checkpoint in a run folder; 0 without one."""
    from safetensors import safe_open

    path = run / CHECKPOINT
    if not path.is_file():
        return 0
    with safe_open(path, framework="pt") as file:
        return int(file.metadata()["step"])


def start(command: list[str], run: Path) -> subprocess.Popen[bytes]:
    """The command in a process group of its own, continued where there is a checkpoint."""
    more = ["--continue"] if (run / CHECKPOINT).is_file() else []
    return subprocess.Popen([*command, *more], start_new_session=True)


def kill_and_continue(command: list[str], run: Path, kills: int, moments: tuple[float, float],
                      seed: int) -> list[int]:  # fmt: skip
    """Kill the command ``kills`` times, then let it end; the steps that were kept each time."""
    draw, kept = random.Random(seed), []
    while True:
        process = start(command, run)
        if len(kept) == kills:
            if process.wait() != 0:
                raise SystemExit(f"the last run ended with exit code {process.returncode}")
            return kept
        try:
            if process.wait(timeout=draw.uniform(*moments)) != 0:
                raise SystemExit(f"a run ended by itself with exit code {process.returncode}")
            raise SystemExit(f"the run ended after {len(kept)} of {kills} kills; give more steps")
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its loader processes too
            process.wait()
        time.sleep(0.2)
        kept.append(finished_steps(run))
        print(f"killed {len(kept)} of {kills}: the checkpoint has {kept[-1]} steps", flush=True)


def faults_of(run: Path, steps: int) -> list[str]:
    """What is wrong with a finished run; empty if nothing is."""
    from safetensors.torch import load_file

    faults = []
    if finished_steps(run) != steps:
        faults.append(f"the checkpoint has {finished_steps(run)} steps, expected {steps}")
    broken = [k for k, v in load_file(run / CHECKPOINT).items() if not v.isfinite().all()]
    if broken:
        faults.append(f"{len(broken)} tensors are not finite, first {broken[0]}")
    with (run / LOG).open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = [int(row["step"]) for row in rows]
    if found != sorted(set(found)):
        faults.append("log.csv counts steps twice, or backwards")
    if not rows or found[-1] != steps:
        faults.append(f"log.csv ends with step {found[-1] if found else 0}, expected {steps}")
    if not all(math.isfinite(float(row["loss"])) for row in rows):
        faults.append("log.csv has losses that are not finite")
    if leftovers := [path.name for path in run.glob(".*")]:
        faults.append(f"left behind: {', '.join(leftovers)}")
    return faults


def main() -> int:
    """Run the tool."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="run folder of the command")
    parser.add_argument("--steps", type=int, required=True, help="that the command trains")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--min-seconds", type=float, default=5.0, help="of a run before the kill")
    parser.add_argument("--max-seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    args = parser.parse_args()
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        parser.error("give the command after --")
    moments = (args.min_seconds, args.max_seconds)
    kill_and_continue(command, args.run, args.kills, moments, args.seed)
    faults = faults_of(args.run, args.steps)
    for fault in faults:
        print(f"fault: {fault}")
    print(f"{args.kills} kills, {args.steps} steps, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
