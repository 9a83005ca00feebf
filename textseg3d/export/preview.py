"""A picture by which a person sees at a glance whether the masks are right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.export.colours import COLOURS
from textseg3d.inference.result import Prediction, PromptResult

_ALPHA = 0.4
_MAX_LEGEND = 24


def write_preview(path: Path, prediction: Prediction) -> None:
    """Write a PNG: axial, coronal and sagittal slice with coloured masks, letters and a legend.

    Radiological convention: the patient's right is at the left of the picture, anterior at the
    top of the axial slice. Each plane is the one that cuts most of the masks, and among those
    the one nearest to their common centre; without any mask the middle of the scan.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [r for r in prediction.values() if r.voxels]
    volume = prediction.volume
    point = best_planes(shown, volume.shape)
    low, high = display_window(volume.array[0], shown)
    sz, sy, sx = volume.spacing_mm
    figure = Figure(figsize=(13.5, 5.6), facecolor="black")
    canvas = FigureCanvasAgg(figure)
    panels: list[tuple[str, int, float, tuple[str, str, str, str]]] = [
        ("axial", 0, sy / sx, ("R", "L", "A", "P")),
        ("coronal", 1, sz / sx, ("R", "L", "S", "I")),
        ("sagittal", 2, sz / sy, ("A", "P", "S", "I")),
    ]
    for position, (name, axis, aspect, letters) in enumerate(panels):
        axes = figure.add_axes((0.005 + position * 0.333, 0.17, 0.323, 0.77))
        plane = display_plane(np.take(volume.array[0], point[axis], axis=axis), axis)
        axes.imshow(plane, cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation="nearest")
        for index, result in enumerate(shown):
            _overlay(axes, result, axis, point[axis], COLOURS[index % len(COLOURS)], aspect)
        _letters(axes, letters)
        axes.set_title(f"{name} {point[axis] + 1} of {volume.shape[axis]}", color="white", size=10)
        axes.set_axis_off()
    _legend(figure, shown, list(prediction.values()))
    canvas.print_figure(str(path), dpi=100, format="png", metadata={"Software": "textseg3d"})


def best_planes(results: list[PromptResult], shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The z, y and x index of the three planes, see :func:`write_preview`."""
    if not results:
        return shape[0] // 2, shape[1] // 2, shape[2] // 2
    point = []
    crops = [(r.packed.crop(), r.packed.box) for r in results if r.packed is not None]
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        cut, voxels = np.zeros(shape[axis], dtype=int), np.zeros(shape[axis])
        for crop, box in crops:
            along = crop.sum(axis=others)
            cut[box[axis]] += along > 0
            voxels[box[axis]] += along
        centre = (voxels * np.arange(shape[axis])).sum() / voxels.sum()
        candidates = np.flatnonzero(cut == cut.max())
        point.append(int(candidates[np.abs(candidates - centre).argmin()]))
    return point[0], point[1], point[2]


def display_window(array: NDArray[Any], results: list[PromptResult]) -> tuple[float, float]:
    """Grey levels: wide if a mask is mostly air, else soft tissue; percentiles if not HU."""
    sample = array[:: max(1, array.shape[0] // 40), ::4, ::4]
    if sample.min() > -500:
        low, high = np.percentile(sample, (1, 99))
        return float(low), float(max(high, low + 1))
    airy = any(r.instances and r.instances[0].mean_hu < -300 for r in results)
    return (-1150.0, 350.0) if airy else (-160.0, 240.0)


def display_plane(plane: NDArray[Any], axis: int) -> NDArray[Any]:
    """A slice of a canonical array as it is shown, first row at the top.

    Axial rows (y) grow to posterior already; in the other planes rows are z, which grows up.
    Columns are x (to the patient's Left) or, in the sagittal plane, y (to posterior).
    """
    return plane if axis == 0 else plane[::-1]


def _overlay(
    axes: Any, result: PromptResult, axis: int, index: int, colour: str, aspect: float
) -> None:
    from matplotlib.colors import to_rgb

    assert result.packed is not None
    box, crop = result.packed.box, result.packed.crop()
    if not box[axis].start <= index < box[axis].stop:
        return
    shape = [n for a, n in enumerate(result.packed.shape) if a != axis]
    mask = np.zeros(shape, dtype=bool)
    rest = [s for a, s in enumerate(box) if a != axis]
    mask[rest[0], rest[1]] = np.take(crop, index - box[axis].start, axis=axis)
    mask = display_plane(mask, axis)
    rgba = np.zeros((*mask.shape, 4))
    rgba[mask] = (*to_rgb(colour), _ALPHA)
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    rgba[mask & ~inner, 3] = 1.0
    axes.imshow(rgba, aspect=aspect, interpolation="nearest")


def _letters(axes: Any, letters: tuple[str, str, str, str]) -> None:
    """Left, right, top, bottom."""
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.97), (0.5, 0.03))
    sides = ("left", "right", "center", "center")
    for letter, (x, y), side in zip(letters, places, sides):
        axes.text(
            x, y, letter, transform=axes.transAxes, color="white", size=13, weight="bold",
            ha=side, va="center",
        )  # fmt: skip


def _legend(figure: Any, shown: list[PromptResult], results: list[PromptResult]) -> None:
    """Colour, prompt and volume of what is shown; the others by name."""
    for index, result in enumerate(shown[:_MAX_LEGEND]):
        column, row = index % 6, index // 6
        x, y = 0.01 + column * 0.165, 0.13 - row * 0.03
        figure.text(x, y, "■", color=COLOURS[index % len(COLOURS)], size=12, va="center")
        text = f"{_short(result.text)}  {result.volume_ml:.4g} ml"
        figure.text(x + 0.013, y, text, color="white", size=9, va="center", parse_math=False)
    rest = [f"{_short(r.text)} ({r.status})" for r in results if not r.voxels]
    rest += [f"and {len(shown) - _MAX_LEGEND} more"] if len(shown) > _MAX_LEGEND else []
    note = f"not shown: {', '.join(rest[:8])}{' …' if len(rest) > 8 else ''}   " if rest else ""
    note += "Research use only, not a medical device."
    figure.text(0.01, 0.015, note, color="#aaaaaa", size=8, va="center", parse_math=False)


def _short(text: str) -> str:
    """At most 28 printable characters."""
    clean = "".join(c if c.isprintable() else " " for c in text)
    return clean if len(clean) <= 28 else clean[:27] + "…"
