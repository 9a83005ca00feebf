"""A structured description of what was found: one entry per instance, with a sentence.

Everything is measured on masks and scan; nothing is a diagnosis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.inference.masks import Box, PackedMask
from textseg3d.inference.measure import axial_diameter_mm
from textseg3d.inference.result import Prediction, PromptResult
from textseg3d.io import Volume

if TYPE_CHECKING:
    from textseg3d.inference.prompts import Vocabulary

MAX_DESCRIBED = 20
MIDLINE_MM = 10.0
INSIDE_SHARE = 0.5
# Upper ends of ranges of mean HU. Where ranges of tissues overlap, the name stays wide.
_DENSITIES = (
    (-850.0, "air"),
    (-200.0, "aerated"),
    (-30.0, "fat"),
    (20.0, "fluid"),
    (100.0, "soft tissue"),
    (300.0, "calcium or contrast"),
    (2000.0, "bone or dense contrast"),
    (float("inf"), "metal"),
)


@dataclass(frozen=True)
class Description:
    """One instance of a mask, in numbers.

    Attributes:
        type: what was asked.
        side: "left", "right" or "midline" of the body; None where the midline is not known.
        containers: structures that more than half of it lies in, the smallest first.
        size_mm: extent from left to right, from front to back, from bottom to top.
        longest_axial_diameter_mm: as in reports.
        volume_ml: of the instance.
        mean_hu: mean scan value.
        density: class of the mean HU; None if the scan is no CT.
        touches: other structures with a voxel next to it, most contact first.
    """

    type: str
    side: str | None
    containers: tuple[str, ...]
    size_mm: tuple[float, float, float]
    longest_axial_diameter_mm: float
    volume_ml: float
    mean_hu: float
    density: str | None
    touches: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The object of `<case>.json`, with the sentence."""
        return {
            "type": self.type,
            "side": self.side,
            "containers": list(self.containers),
            "size_mm": [round(s, 1) for s in self.size_mm],
            "longest_axial_diameter_mm": round(self.longest_axial_diameter_mm, 1),
            "volume_ml": round(self.volume_ml, 3),
            "mean_hu": round(self.mean_hu, 1),
            "density": self.density,
            "touches": list(self.touches),
            "sentence": self.sentence,
        }

    @property
    def sentence(self) -> str:
        """The description in words."""
        size = " x ".join(f"{s:.0f}" for s in self.size_mm)
        head = self.type[:1].upper() + self.type[1:]
        place = f" in {self.containers[0]}" if self.containers else ""
        if not place and self.side is not None and self.side not in self.type.split():
            place = " in the midline" if self.side == "midline" else f" on the {self.side}"
        hu = f"mean {self.mean_hu:.0f} HU ({self.density})" if self.density else ""
        parts = [f"{head}{place}: {size} mm, {_volume(self.volume_ml)}", *([hu] if hu else [])]
        if self.touches:
            parts.append(f"touches {', '.join(self.touches)}")
        return f"{', '.join(parts)}."


def context_names(vocabulary: Vocabulary, prompts: Sequence[str]) -> tuple[str, ...]:
    """Anatomy that a model knows and that descriptions name, without what is asked itself.

    A pair is left out where its two sides are known ("lungs" beside "left lung").
    """
    asked = {part.name for text in prompts for part in vocabulary.understand(text).parts}
    names = []
    for name in vocabulary.names:
        found = vocabulary.tree.lookup(name)[:1]
        if not found or found[0][0].kind != "anatomy" or name in asked:
            continue
        concept, side = found[0]
        pair = concept.side_rule == "paired" and side in (None, "both")
        sides = {f"left {concept.name}", f"right {concept.name}"}
        if not (pair and sides <= set(vocabulary.names)):
            names.append(name)
    return tuple(names)


def describe(prediction: Prediction, prompts: Sequence[str], *, ct: bool = True) -> Prediction:
    """The prediction of ``prompts`` alone, described with the help of all its other masks.

    Args:
        prediction: of the prompts and of the structures around them.
        prompts: what was asked.
        ct: whether the scan's values are HU.
    """
    context = {
        text: result.packed
        for text, result in prediction.items()
        if result.packed is not None and result.voxels
    }
    results = {}
    for text in dict.fromkeys(prompts):
        result = prediction[text]
        others = {name: mask for name, mask in context.items() if name != text}
        found = describe_result(result, others, prediction.midline, ct=ct)
        results[text] = replace(result, findings=tuple(d.to_json() for d in found))
    return replace(prediction, results=results)


def describe_result(
    result: PromptResult,
    context: Mapping[str, PackedMask],
    midline: NDArray[np.float64] | None,
    *,
    ct: bool = True,
) -> list[Description]:
    """Describe the instances of one mask, largest first, at most 20.

    Args:
        result: of a prompt.
        context: masks of structures around it, by name, on the same grid.
        midline: x of the body's midline in voxels per slice [D]; None if it is not known.
        ct: whether the scan's values are HU.
    """
    import cc3d

    if result.packed is None or not result.voxels:
        return []
    volume, box = result.volume, result.packed.box
    labels = cc3d.connected_components(result.packed.crop(), connectivity=26)
    statistics = cc3d.statistics(labels)
    sizes = np.asarray(statistics["voxel_counts"][1:], dtype=np.int64)
    described = []
    for label in np.argsort(-sizes, kind="stable")[:MAX_DESCRIBED] + 1:
        inner = statistics["bounding_boxes"][label]
        mine = labels[inner] == label
        place = tuple(slice(s.start + b.start, s.stop + b.start) for s, b in zip(inner, box))
        where: Box = (place[0], place[1], place[2])
        described.append(_describe_one(result.text, mine, where, volume, context, midline, ct=ct))
    return described


def density_class(mean_hu: float) -> str:
    """A name for a mean HU: "air", "fat", "fluid", "soft tissue", ..."""
    return next(name for limit, name in _DENSITIES if mean_hu < limit)


def _describe_one(
    text: str,
    mine: NDArray[np.bool_],
    where: Box,
    volume: Volume,
    context: Mapping[str, PackedMask],
    midline: NDArray[np.float64] | None,
    *,
    ct: bool,
) -> Description:
    containers, touches = _surroundings(mine, where, context)
    mean = float(volume.array[0][where][mine].mean())
    dz, dy, dx = (n * s for n, s in zip(mine.shape, volume.spacing_mm))
    return Description(
        type=text,
        side=_side(mine, where, volume, midline),
        containers=containers,
        size_mm=(dx, dy, dz),
        longest_axial_diameter_mm=axial_diameter_mm(mine, volume.spacing_mm),
        volume_ml=float(mine.sum() * np.prod(volume.spacing_mm)) / 1000,
        mean_hu=mean,
        density=density_class(mean) if ct else None,
        touches=touches,
    )


def _surroundings(
    mine: NDArray[np.bool_], where: Box, context: Mapping[str, PackedMask]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of what the instance lies in, and of what it touches."""
    from scipy.ndimage import binary_dilation

    padded = np.pad(mine, 1)
    near = binary_dilation(padded, np.ones((3, 3, 3), dtype=bool)) & ~padded
    total = int(mine.sum())
    inside: list[tuple[int, str]] = []
    contacts: list[tuple[int, str]] = []
    for name, mask in context.items():
        other = _window(mask, where)
        shared = int((other[1:-1, 1:-1, 1:-1] & mine).sum())
        contact = int((other & near).sum())
        if shared > INSIDE_SHARE * total:
            inside.append((mask.voxels, name))
        elif contact:
            contacts.append((-contact, name))
    return tuple(n for _, n in sorted(inside)), tuple(n for _, n in sorted(contacts))


def _window(mask: PackedMask, where: Box) -> NDArray[np.bool_]:
    """``where`` and one voxel around it of a packed mask; False outside the scan."""
    window = np.zeros([s.stop - s.start + 2 for s in where], dtype=bool)
    ends = [(max(m.start, s.start - 1), min(m.stop, s.stop + 1)) for m, s in zip(mask.box, where)]
    if all(low < high for low, high in ends):
        to = tuple(slice(a - s.start + 1, b - s.start + 1) for (a, b), s in zip(ends, where))
        source = tuple(slice(a - m.start, b - m.start) for (a, b), m in zip(ends, mask.box))
        window[to] = mask.crop()[source]
    return window


def _side(
    mine: NDArray[np.bool_], where: Box, volume: Volume, midline: NDArray[np.float64] | None
) -> str | None:
    """The side of the centroid, "midline" within 10 mm of it."""
    if midline is None:
        return None
    z, _, x = (index.mean() for index in np.nonzero(mine))
    line = float(np.interp(where[0].start + z, np.arange(len(midline)), midline))
    off = (where[2].start + x - line) * volume.spacing_mm[2]
    if abs(off) < MIDLINE_MM:
        return "midline"
    return "left" if off > 0 else "right"


def _volume(ml: float) -> str:
    return f"{ml:.0f} ml" if ml >= 10 else f"{ml:.2g} ml"
