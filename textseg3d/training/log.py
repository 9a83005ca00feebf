"""`log.csv`: means over some steps, also for TensorBoard."""

from __future__ import annotations

import csv
import logging
import os
from pathlib import Path
from typing import Any

from textseg3d.errors import MissingDependencyError

logger = logging.getLogger(__name__)

LOG = "log.csv"
FIELDS = ("step", "loss", "stride1", "stride2", "stride4", "stride8", "presence", "lr", "seconds")


class RunLog:
    """One row per some steps (means), and a line for a person.

    Args:
        out: run folder.
        first: finished steps; rows of later ones, of a run that was killed, are dropped.
        write: False keeps no file and says nothing (processes other than the first).
        tensorboard: also write event files to ``out/tensorboard``.

    Raises:
        MissingDependencyError: for ``tensorboard`` without the package.
    """

    def __init__(
        self, out: Path, first: int, *, write: bool = True, tensorboard: bool = False
    ) -> None:
        self.path, self.write = out / LOG, write
        self.rows: list[list[float]] = []
        self._board: Any = _board(out, first) if tensorboard and write else None
        if write:
            trim_rows(self.path, FIELDS, first)

    def add(self, step: int, figures: list[float], rate: float, seconds: float) -> None:
        """Keep one step's figures (loss, strides 1 to 8, presence) until the next flush."""
        self.rows.append([step, *figures, rate, seconds])

    def flush(self, steps: int) -> None:
        """Write the means since the last flush."""
        last = int(self.rows[-1][0])
        columns = list(zip(*self.rows, strict=True))[1:]
        means = dict(zip(FIELDS[1:], (sum(c) / len(c) for c in columns), strict=True))
        self.rows.clear()
        if not self.write:
            return
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow([last, *(f"{v:.6g}" for v in means.values())])
        for name, value in means.items():
            self.scalar(name, value, last)
        logger.info(
            "step %d/%d loss %.3f (%s) lr %.1e %.2f s/step",
            last,
            steps,
            means["loss"],
            " ".join(f"{k} {means[k]:.3f}" for k in FIELDS[2:7]),
            means["lr"],
            means["seconds"],
        )

    def scalar(self, name: str, value: float, step: int) -> None:
        """One figure for TensorBoard, if it was asked for."""
        if self._board is not None:
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Finish the event files."""
        if self._board is not None:
            self._board.close()


def trim_rows(path: Path, fields: tuple[str, ...], first: int) -> None:
    """Make a CSV with a header whose rows are those with ``step`` <= ``first``."""
    rows: list[list[str]] = []
    if first and path.is_file():
        with path.open(newline="") as file:
            found = list(csv.reader(file))
        if found and tuple(found[0]) == fields:
            rows = [r for r in found[1:] if len(r) == len(fields) and int(r[0]) <= first]
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", newline="") as file:
        csv.writer(file).writerows([list(fields), *rows])
    os.replace(temporary, path)


def _board(out: Path, first: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingDependencyError(
            "--tensorboard needs the package tensorboard; pip install 'textseg3d[tensorboard]'"
        ) from None
    return SummaryWriter(str(out / "tensorboard"), purge_step=first or None)
