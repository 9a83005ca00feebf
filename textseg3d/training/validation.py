"""Dice of the averaged weights on fixed windows of cases held aside, while training goes on.

As nnU-Net's pseudo Dice: voxels are added up over all windows per target, then one Dice each.
It follows the run; the figures that count come from whole scans at the end.
"""

from __future__ import annotations

import copy
import csv
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from textseg3d.training.log import trim_rows
from textseg3d.training.prompts import PromptFeatures
from textseg3d.training.source import WindowSource

if TYPE_CHECKING:
    from textseg3d.training.loop import Machine

logger = logging.getLogger(__name__)

FILE_NAME = "validation.csv"
FIELDS = ("step", "dice")


class Validation:
    """Scores a network every ``every`` steps on the first ``windows`` samples of a source.

    Attributes:
        best: step of the best score, 0 before the first.
        waiting: scores since then.
    """

    def __init__(self, source: WindowSource, every: int, windows: int = 24) -> None:
        self.source, self.every, self.windows = source, every, windows
        self.best, self.waiting, self._score = 0, 0, -1.0
        self._path: Path | None = None
        self._network: nn.Module | None = None

    def begin(self, out: Path, first: int) -> None:
        """Take up the record of ``out`` after ``first`` finished steps; a new run drops it."""
        self._path = out / FILE_NAME
        if not first:
            self._path.unlink(missing_ok=True)
        if not self._path.is_file():
            return
        with self._path.open(newline="") as file:
            for row in csv.DictReader(file):
                if int(row["step"]) <= first:
                    self._note(int(row["step"]), float(row["dice"]))

    def due(self, step: int, steps: int) -> bool:
        """Whether to score after ``step``."""
        return step % self.every == 0 or step == steps

    def run(
        self,
        network: nn.Module,
        average: dict[str, Tensor],
        prompts: PromptFeatures,
        machine: Machine,
        step: int,
    ) -> float:
        """The mean Dice over targets, noted in ``validation.csv`` by the first process."""
        score = 0.0
        if machine.ranks.first:
            if self._network is None:
                self._network = copy.deepcopy(network)
            self._network.load_state_dict(average)
            score = self._dice(self._network, prompts, machine)
            assert self._path is not None
            trim_rows(self._path, FIELDS, step - 1)
            with self._path.open("a", newline="") as file:
                csv.writer(file).writerow([step, f"{score:.6g}"])
        score = machine.ranks.first_value(score, machine.device)
        self._note(step, score)
        logger.info("step %d: validation windows, mean Dice %.3f", step, score)
        return score

    def _note(self, step: int, score: float) -> None:
        self.waiting += 1
        if score > self._score:
            self.best, self.waiting, self._score = step, 0, score

    @torch.no_grad()
    def _dice(self, network: nn.Module, prompts: PromptFeatures, machine: Machine) -> float:
        from textseg3d.training.loop import logits, to_device

        count = torch.zeros((len(self.source.targets), 3), dtype=torch.float64)
        for index in range(self.windows):
            sample = to_device(self.source[index], machine.device)
            levels, _ = logits(network, prompts, sample, machine.autocast)  # type: ignore[arg-type]
            found, truth = levels[1] > 0, sample.fine_mask > 0
            if sample.known is not None:
                found, truth = found & (sample.known[0] > 0), truth & (sample.known[0] > 0)
            both, sizes = (found & truth).flatten(1).sum(1), found.flatten(1).sum(1)
            figures = torch.stack([both, sizes, truth.flatten(1).sum(1)], dim=1)
            count.index_add_(0, sample.prompts.cpu(), figures.double().cpu())
        there = count[:, 1:].sum(1) > 0
        dice = 2 * count[there, 0] / count[there, 1:].sum(1)
        return float(dice.mean()) if len(dice) else 0.0
