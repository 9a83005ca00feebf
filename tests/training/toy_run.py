"""A toy run in a process of its own: `python -m tests.training.toy_run MODE FOLDER STEPS`.

Modes: ``run`` (alone, or under torchrun; continues where there is a checkpoint), ``die`` (the
process of rank 1 is killed after its second step), ``kills`` (ten children in turn, each killed at
a random moment, then one that may finish).
"""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from tests.training.toy import ToyEncoder, configuration
from textseg3d.training.cases import TrainingSet
from textseg3d.training.checkpoint import NAME
from textseg3d.training.loop import Machine, TrainSettings, train
from textseg3d.training.ranks import joined
from textseg3d.training.sampling import WindowDataset


def run(folder: Path, steps: int, *, batch: int = 1, die: bool = False) -> None:
    data, out = folder / "data", folder / "run"
    source = WindowDataset(data, TrainingSet.load(data), configuration(), seed=0, prompts=4)
    settings = TrainSettings(
        steps=steps, batch=batch, loaders=0, log_every=1, prompts=4, warmup=5, learning_rate=3e-3,
        checkpoint_seconds=0.0,
    )  # fmt: skip
    with joined("cpu") as (ranks, device):

        def on_progress(stage: str, done: int, total: int) -> None:
            if die and ranks.rank == 1 and done == 2:
                os.kill(os.getpid(), signal.SIGKILL)

        train(
            source, ToyEncoder(), out, settings, resume=(out / NAME).is_file(),
            machine=Machine(torch.device(device), None, ranks),
            on_progress=on_progress,
        )  # fmt: skip


def kills(folder: Path, steps: int) -> None:
    rng = random.Random(0)
    for attempt in range(11):
        child = os.fork()
        if child == 0:
            run(folder, steps)
            os._exit(0)
        if attempt < 10:
            time.sleep(rng.uniform(0.05, 0.6))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    mode, where, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    if mode == "kills":
        kills(where, count)
    else:
        run(where, count, die=mode == "die")
