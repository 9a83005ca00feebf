"""PNG pictures: truth outlined, prediction filled, over three planes of the scan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.io.atomic import atomic_path
from textseg3d.io.volume import Volume

WINDOW_HU = (-400.0, 500.0)
_PLANES = ("axial", "coronal", "sagittal")


@dataclass(frozen=True)
class PlaneSet:
    """Three slices: axial [y, x], coronal [z, x], sagittal [z, y].

    Attributes:
        image: values of the first channel per plane.
        truth: label index per plane, 0 for none.
        prediction: the same.
        names: of the labels 1..N.
        spacing_mm: (rows, columns) per plane.
        positions: slice index per plane.
        window: values shown as black and white.
    """

    image: tuple[NDArray[Any], ...]
    truth: tuple[NDArray[Any], ...]
    prediction: tuple[NDArray[Any], ...]
    names: tuple[str, ...]
    spacing_mm: tuple[tuple[float, float], ...]
    positions: tuple[int, int, int]
    window: tuple[float, float] = WINDOW_HU

    def answers_only(self) -> PlaneSet:
        """The same without any voxel of scan or truth, whose licences may forbid to show them."""
        low = self.window[0]
        return replace(
            self,
            image=tuple(np.full_like(plane, low) for plane in self.image),
            truth=tuple(np.zeros_like(plane) for plane in self.truth),
        )


def capture_planes(
    image: Volume, truth: NDArray[np.bool_], prediction: NDArray[np.bool_], name: str = "mask"
) -> PlaneSet | None:
    """The slices in which truth and prediction differ most; None if both are empty.

    Args:
        image: the scan.
        truth: bool [D, H, W].
        prediction: bool [D, H, W].
        name: of the mask.
    """
    where = truth ^ prediction
    if not where.any():
        where = truth
    if not where.any():
        return None
    positions = tuple(
        int(np.argmax(np.count_nonzero(where, axis=tuple(a for a in range(3) if a != axis))))
        for axis in range(3)
    )
    return _cut(image, truth, prediction, (name,), positions)  # type: ignore[arg-type]


class OverviewBuilder:
    """Collects masks of one scan into two label maps, and cuts them where most concepts are.

    Args:
        image: the scan.
    """

    def __init__(self, image: Volume) -> None:
        self._image = image
        self._truth = np.zeros(image.shape, dtype=np.uint16)
        self._prediction = np.zeros(image.shape, dtype=np.uint16)
        self._names: list[str] = []
        self._hits = [np.zeros(n) for n in image.shape]

    def add(self, name: str, truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> None:
        """Add one concept; where concepts overlap, the one added first is shown.

        A union of concepts that are there already adds nothing.
        """
        if not (truth & (self._truth == 0)).any():
            return
        self._names.append(name)
        index = len(self._names)
        self._truth[truth & (self._truth == 0)] = index
        self._prediction[prediction & (self._prediction == 0)] = index
        for axis in range(3):
            line = np.count_nonzero(truth, axis=tuple(a for a in range(3) if a != axis))
            if line.any():
                self._hits[axis] += line / line.max()

    def planes(self) -> PlaneSet | None:
        """The slices through most of the concepts; None if there are none."""
        if not self._names:
            return None
        z, y, x = (int(np.argmax(hits)) for hits in self._hits)
        return _cut(self._image, self._truth, self._prediction, tuple(self._names), (z, y, x))


def save_picture(planes: PlaneSet, title: str, path: Path) -> None:
    """Write one PNG; truth as a solid outline, prediction as a tint of the same colour.

    Args:
        planes: what to show.
        title: above the slices.
        path: of the PNG; written atomically.
    """
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(12, 4.6), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    single = len(planes.names) == 1
    both = any(plane.any() for plane in planes.truth)
    low, high = planes.window
    palette = colormaps["tab20"].colors  # type: ignore[attr-defined]
    for axis, kind in enumerate(_PLANES):
        axes = figure.add_subplot(1, 3, axis + 1)
        rows, columns = planes.spacing_mm[axis]
        flip = "lower" if kind != "axial" else "upper"
        shared: dict[str, Any] = {"origin": flip, "aspect": rows / columns}
        axes.imshow(planes.image[axis], cmap="gray", vmin=low, vmax=high, **shared)
        for index in np.unique(np.concatenate([planes.truth[axis], planes.prediction[axis]])):
            if index == 0:
                continue
            colour = (1.0, 0.25, 0.2) if single else palette[(int(index) - 1) % len(palette)]
            outline = (0.2, 0.95, 0.3) if single else colour
            predicted = planes.prediction[axis] == index
            tint = np.zeros((*predicted.shape, 4))
            tint[predicted] = (*colour[:3], 0.4 if both else 0.9)
            axes.imshow(tint, **shared)
            is_true = planes.truth[axis] == index
            if is_true.any() and not is_true.all():
                axes.contour(is_true, levels=[0.5], colors=[outline], linewidths=1.0)
        axes.set_title(f"{kind}, slice {planes.positions[axis]}", fontsize=8)
        axes.set_axis_off()
    if not single:
        handles = [
            Patch(color=palette[index % len(palette)], label=name)
            for index, name in enumerate(planes.names)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=7)
    shown = "outline: truth, tint: prediction" if both else "tint: prediction"
    note = f"{shown}; the image's left is the patient's right"
    figure.suptitle(f"{title}\n{note}", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _cut(
    image: Volume,
    truth: NDArray[Any],
    prediction: NDArray[Any],
    names: tuple[str, ...],
    positions: tuple[int, int, int],
) -> PlaneSet:
    z, y, x = positions

    def planes(array: NDArray[Any], kind: Any) -> tuple[NDArray[Any], ...]:
        cut = (array[z], array[:, y], array[:, :, x])
        return tuple(np.ascontiguousarray(c).astype(kind) for c in cut)

    dz, dy, dx = image.spacing_mm
    return PlaneSet(
        image=planes(image.array[0], np.float32),
        truth=planes(truth, np.uint16),
        prediction=planes(prediction, np.uint16),
        names=names,
        spacing_mm=((dy, dx), (dz, dx), (dz, dy)),
        positions=positions,
        window=_window(image.array[0]),
    )


def _window(values: NDArray[Any]) -> tuple[float, float]:
    """Soft tissue and lung for HU; the middle 98 % of anything else, such as MR."""
    if values.min() < WINDOW_HU[0]:
        return WINDOW_HU
    low, high = np.percentile(values[::2, ::2, ::2], (1, 99))
    return float(low), float(max(high, low + 1e-6))
