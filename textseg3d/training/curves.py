"""Loss curves as a PNG, from `log.csv`."""

from __future__ import annotations

import csv
from pathlib import Path


def plot_curves(out: Path) -> Path | None:
    """Draw ``progress.png`` beside ``log.csv``; None when there is nothing to draw yet."""
    with (out / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    if not rows:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    steps = [int(row["step"]) for row in rows]
    for key in ("loss", "stride1", "stride2", "stride4", "stride8", "presence"):
        top.plot(steps, [float(row[key]) for row in rows], label=key)
    top.set_ylabel("loss")
    top.set_ylim(bottom=0)
    top.legend(ncols=3)
    bottom.plot(steps, [float(row["lr"]) for row in rows])
    bottom.set_ylabel("learning rate")
    bottom.set_xlabel("step")
    path = out / "progress.png"
    figure.savefig(path, dpi=110)
    return path
