"""What a prompt says beyond names, applied to the masks: place, side, size, order, exclusions.

All functions take bool or integer arrays [D, H, W] in canonical order (x grows to the patient's
Left, y to Posterior, z to Superior) and return new ones. Nothing here knows the network.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from textseg3d.inference.masks import Box, PackedMask
from textseg3d.inference.measure import axial_diameter_mm
from textseg3d.inference.places import REACH_MM, Area, clip_side, half_of, in_place
from textseg3d.io import Volume

Range = tuple[float | None, float | None]
Bools = NDArray[np.bool_]

DUST_VOXELS = 3
DUST_SHARE = 0.01
AGREEMENT_DICE = 0.8
_WORLD_AXIS = {
    "left": (0, 1),
    "right": (0, -1),
    "posterior": (1, 1),
    "anterior": (1, -1),
    "superior": (2, 1),
    "inferior": (2, -1),
}


@dataclass(frozen=True)
class Choice:
    """Which of several instances: see :class:`textseg3d.text.grammar.Order`."""

    by: str
    rank: int = 1
    count: int = 1


@dataclass(frozen=True)
class Recipe:
    """How the mask of one target is made from masks of the network.

    Attributes:
        target: what it is called in messages.
        parts: names whose union is the thing itself.
        finding: whether it is a finding: sides then pick instances, and do not cut them.
        within: names whose union is the place it must lie in; none for no such rule.
        areas: the same for several places: it must lie in one of them.
        side: the side of the body's midline to keep.
        size_mm: longest axial diameter of the instances to keep, ends included.
        volume_ml: the same for their volume.
        order: which of the instances.
        count: how many instances the text speaks of; it is checked, not enforced.
        without: what is subtracted.
    """

    target: str
    parts: tuple[str, ...]
    finding: bool = False
    within: tuple[str, ...] = ()
    areas: tuple[Area, ...] = ()
    side: Literal["left", "right"] | None = None
    size_mm: Range | None = None
    volume_ml: Range | None = None
    order: Choice | None = None
    count: tuple[int, int | None] | None = None
    without: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that the network must answer, each once."""
        places = [*self.within, *(name for area in self.areas for name in area.names)]
        return tuple(dict.fromkeys((*self.parts, *places, *self.without)))

    @property
    def plain(self) -> bool:
        """Whether the union of the parts is all there is to it."""
        extra = (self.side, self.size_mm, self.volume_ml, self.order, self.count)
        places = self.within or self.areas
        return not (places or self.without or any(e is not None for e in extra))


@dataclass(frozen=True)
class Composed:
    """A mask with what was done to get it.

    Attributes:
        mask: the result.
        steps: one object per operation that ran, of plain JSON types.
        warnings: one line each.
    """

    mask: PackedMask
    steps: tuple[dict[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Blob:
    """One instance: its label, and what filters look at.

    Attributes:
        label: its value in the label array.
        voxels: how many it has.
        volume_ml: their volume.
        world_mm: LPS (x, y, z) of its centroid.
        off_midline_mm: distance of the centroid from the body's midline, positive to the left.
        diameter_mm: longest axial diameter.
        mean: mean value of the scan.
    """

    label: int
    voxels: int
    volume_ml: float
    world_mm: tuple[float, float, float]
    off_midline_mm: float
    diameter_mm: float
    mean: float


@dataclass
class _Scene:
    """A crop of the scan while filters run."""

    mask: Bools
    box: Box
    volume: Volume
    middle: NDArray[np.float64]
    parts: Sequence[PackedMask]
    finding: bool
    steps: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def blobs(self) -> tuple[NDArray[np.int32], list[Blob]]:
        """Instances of the present mask; specks do not count."""
        labels = label_instances([part.content(self.box) & self.mask for part in self.parts])
        found = measure_blobs(labels, self.volume, self.box, self.middle)
        return labels, without_dust(found, finding=self.finding)

    def keep(self, labels: NDArray[np.int32], blobs: Sequence[Blob]) -> None:
        """Leave only these instances."""
        self.mask = np.isin(labels, [blob.label for blob in blobs])


def midline_voxels(
    midline: NDArray[np.float64] | None, low_width: int, shape: tuple[int, int, int]
) -> tuple[NDArray[np.float64], bool]:
    """The body's midline on the scan's grid: a straight line through the slices' middles.

    Args:
        midline: x of the body's middle per slice of the network's grid, NaN without body; or None.
        low_width: voxels of the network's grid along x.
        shape: of the scan.

    Returns:
        x in voxels for every slice [D]; and whether it was measured (otherwise it is the middle
        of the scan).
    """
    depth, _, width = shape
    finite = np.flatnonzero(np.isfinite(midline)) if midline is not None else np.zeros(0, int)
    if midline is None or not finite.size:
        return np.full(depth, (width - 1) / 2), False
    z = (finite + 0.5) * depth / len(midline) - 0.5
    x = (midline[finite] + 0.5) * width / low_width - 0.5
    if finite.size < 3:
        return np.full(depth, float(x.mean())), True
    slope, offset = np.polyfit(z - z.mean(), x - x.mean(), 1)
    return (np.arange(depth) - z.mean()) * slope + offset + x.mean(), True


def label_instances(parts: Sequence[Bools]) -> NDArray[np.int32]:
    """26-connected components, part by part: two parts that touch stay two instances."""
    import cc3d

    labels = np.zeros(parts[0].shape, dtype=np.int32)
    for part in parts:
        free = part & (labels == 0)
        if not free.any():
            continue
        found = cc3d.connected_components(free, connectivity=26)
        labels[free] = found[free].astype(np.int32) + int(labels.max())
    return labels


def measure_blobs(
    labels: NDArray[np.int32], volume: Volume, box: Box, middle: NDArray[np.float64]
) -> list[Blob]:
    """What filters need of each instance of a crop, in the order of their labels.

    Args:
        labels: of the content of ``box``; 0 is background.
        volume: the scan.
        box: where the crop lies in it.
        middle: x of the midline in voxels of the scan, per slice of the scan [D].
    """
    import cc3d

    if not labels.any():
        return []
    statistics = cc3d.statistics(labels.astype(np.uint32))
    values = volume.array[0][box]
    origin = np.array([s.start for s in box], dtype=np.float64)
    voxel_ml = float(np.prod(volume.spacing_mm)) / 1000
    blobs = []
    for label in range(1, len(statistics["voxel_counts"])):
        voxels = int(statistics["voxel_counts"][label])
        if not voxels:
            continue
        zyx = statistics["centroids"][label] + origin
        world = volume.affine_lps @ [*zyx[::-1], 1.0]
        line = float(np.interp(zyx[0], np.arange(len(middle)), middle))
        inner = statistics["bounding_boxes"][label]
        mine = labels[inner] == label
        blobs.append(
            Blob(
                label,
                voxels,
                voxels * voxel_ml,
                (float(world[0]), float(world[1]), float(world[2])),
                float(zyx[2] - line) * volume.spacing_mm[2],
                axial_diameter_mm(mine, volume.spacing_mm),
                float(values[inner][mine].mean()),
            )
        )
    return blobs


def without_dust(blobs: Sequence[Blob], *, finding: bool) -> list[Blob]:
    """Instances that count: of a finding from 3 voxels, of anatomy from 1 % of the largest."""
    if not blobs:
        return []
    largest = max(blob.voxels for blob in blobs)
    least = min(DUST_VOXELS, largest) if finding else DUST_SHARE * largest
    return [blob for blob in blobs if blob.voxels >= least]


def tolerance_mm(size_mm: Range) -> float:
    """How far a diameter may be off: an exact size by 2 mm or a fifth, a range not at all."""
    low, high = size_mm
    return max(2.0, 0.2 * low) if low is not None and low == high else 0.0


def in_range(value: float, limits: Range, tolerance: float = 0.0) -> bool:
    """Whether ``value`` lies between the ends (None is open), give or take the tolerance."""
    low, high = limits
    return (low is None or value >= low - tolerance) and (high is None or value <= high + tolerance)


def choose(blobs: Sequence[Blob], order: Choice) -> list[Blob]:
    """The instances that an order means, such as the second largest; fewer where there are none.

    Positions compare centroids along the patient's axes; "largest" compares volumes, "medial"
    distances from the midline, "densest" mean values.
    """

    def rank(blob: Blob) -> float:
        if order.by in _WORLD_AXIS:
            axis, sign = _WORLD_AXIS[order.by]
            return sign * blob.world_mm[axis]
        return {
            "largest": blob.volume_ml,
            "smallest": -blob.volume_ml,
            "medial": -abs(blob.off_midline_mm),
            "lateral": abs(blob.off_midline_mm),
            "densest": blob.mean,
            "darkest": -blob.mean,
        }[order.by]

    first = order.rank - 1
    return sorted(blobs, key=rank, reverse=True)[first : first + order.count]


def dice(a: PackedMask, b: PackedMask) -> float:
    """Dice of two masks on one grid; 1 if both are empty."""
    total = a.voxels + b.voxels
    if not total:
        return 1.0
    return 2 * a.shared(b) / total


def compose(
    recipe: Recipe,
    masks: Mapping[str, PackedMask],
    volume: Volume,
    middle: NDArray[np.float64],
    *,
    measured: bool = True,
    at_edges: Collection[str] = (),
) -> Composed:
    """Make the mask of one target.

    Args:
        recipe: what to do.
        masks: by name; every name of the recipe is there.
        volume: the scan.
        middle: x of the body's midline in voxels, per slice [D].
        measured: whether the midline was found; if not, using it is a warning.
        at_edges: names of findings that masks of places may leave out, see
            :mod:`textseg3d.inference.places`.
    """
    base = PackedMask.union([masks[name] for name in recipe.parts])
    if recipe.plain:
        return Composed(base)
    if recipe.side and not recipe.finding and replace(recipe, side=None).plain and base.bits.size:
        return _halved(recipe, base, middle, measured=measured)
    if not base.bits.size:
        step = {"operation": "nothing", "target": recipe.target, "why": "the thing is absent"}
        return Composed(base, (step,))
    parts = [masks[name] for name in recipe.parts]
    scene = _Scene(base.crop(), base.box, volume, middle, parts, recipe.finding)
    edges = recipe.finding and all(name in at_edges for name in recipe.parts)
    _take_away(scene, recipe, masks, edges=edges)
    if recipe.side is not None:
        _keep_side(scene, recipe)
    if not measured and (recipe.side or any(area.side for area in recipe.areas)):
        scene.warnings.append(_guessed(recipe))
    _keep_instances(scene, recipe)
    steps = tuple({**step, "target": recipe.target} for step in scene.steps)
    mask = PackedMask.pack(base.shape, base.box, scene.mask) if scene.mask.any() else None
    return Composed(mask or PackedMask.empty(base.shape), steps, tuple(scene.warnings))


def _halved(
    recipe: Recipe, base: PackedMask, middle: NDArray[np.float64], *, measured: bool
) -> Composed:
    """What :func:`compose` makes where a side is all that is asked of a thing."""
    half = half_of(base, middle, str(recipe.side))
    step = _step("side", base.voxels, half.voxels, by=[str(recipe.side)])
    warnings = () if measured else (_guessed(recipe),)
    mask = half if half.voxels else PackedMask.empty(base.shape)
    return Composed(mask, ({**step, "target": recipe.target},), warnings)


def _guessed(recipe: Recipe) -> str:
    return (
        f"the body's outline was not found; 'left' and 'right' of {recipe.target!r} are taken "
        "from the middle of the scan"
    )


def compare(
    text: str,
    mask: PackedMask,
    other: Recipe,
    masks: Mapping[str, PackedMask],
    volume: Volume,
    middle: NDArray[np.float64],
) -> tuple[dict[str, Any], str | None]:
    """Compare the network's own answer with the one composed in another way.

    Returns:
        The step for the record, and a warning if the two disagree.
    """
    agreement = dice(mask, compose(other, masks, volume, middle).mask)
    names = [*other.names, *([f"{other.side} of the midline"] if other.side else [])]
    step = {"operation": "compare", "target": text, "by": names, "dice": round(agreement, 4)}
    if agreement >= AGREEMENT_DICE:
        return step, None
    return step, (
        f"{text!r}: the network's own mask and the one composed from {', '.join(names)} disagree "
        f"(Dice {agreement:.2f}); look at both"
    )


def _take_away(
    scene: _Scene, recipe: Recipe, masks: Mapping[str, PackedMask], *, edges: bool
) -> None:
    """Exclusions, then the places; what is at their edges too, if wanted."""
    if recipe.without:
        before = int(np.count_nonzero(scene.mask))
        for name in recipe.without:
            scene.mask = scene.mask & ~masks[name].content(scene.box)
        after = int(np.count_nonzero(scene.mask))
        scene.steps.append(_step("without", before, after, by=list(recipe.without)))
    areas = recipe.areas or ((Area(recipe.within),) if recipe.within else ())
    if not areas:
        return
    before = int(np.count_nonzero(scene.mask))
    inside = np.zeros_like(scene.mask)
    for area in areas:  # each by itself, so that a small one is no speck of a large one
        if edges:
            place = area.mask(masks, scene.middle)
            inside |= in_place(scene.mask, scene.box, place, scene.volume.spacing_mm)
        else:
            inside |= scene.mask & area.content(scene.box, masks, scene.middle)
    scene.mask = inside
    after = int(np.count_nonzero(inside))
    by = list(recipe.within) or [str(area) for area in areas]
    reach = {"reach_mm": REACH_MM} if edges else {}
    scene.steps.append(_step("within", before, after, by=by, **reach))
    if before and not after:
        scene.warnings.append(
            f"{recipe.target!r} was found, but not in {' + '.join(by)}; the mask is empty"
        )


def _keep_side(scene: _Scene, recipe: Recipe) -> None:
    before = int(np.count_nonzero(scene.mask))
    start, stop = scene.box[0].start, scene.box[0].stop
    if recipe.finding:  # an instance lies where its centroid lies
        labels, blobs = scene.blobs()
        left = recipe.side == "left"
        scene.keep(
            labels, [b for b in blobs if b.off_midline_mm and (b.off_midline_mm > 0) == left]
        )
    else:
        middle = scene.middle[start:stop] - scene.box[2].start
        scene.mask = clip_side(scene.mask, middle, str(recipe.side))
    scene.steps.append(
        _step("side", before, int(np.count_nonzero(scene.mask)), by=[str(recipe.side)])
    )


def _keep_instances(scene: _Scene, recipe: Recipe) -> None:
    """Size, volume, order and count."""
    if not (recipe.size_mm or recipe.volume_ml or recipe.order or recipe.count):
        return
    labels, blobs = scene.blobs()
    for kind, before, kept, detail in _filters(recipe, blobs):
        scene.steps.append({"operation": kind, **detail, "of": len(before), "kept": len(kept)})
        if before and not kept:
            found = ", ".join(f"{blob.diameter_mm:.1f} mm" for blob in before[:5])
            scene.warnings.append(
                f"no {recipe.target!r} fits the {kind} asked for; {len(before)} of other kind were "
                f"found ({found}); the mask is empty"
            )
        if kind == "order" and not recipe.finding and len(kept) == len(before) == 1:
            scene.warnings.append(
                f"{recipe.target!r} is one connected piece here, so {recipe.order.by!r} had "  # type: ignore[union-attr]
                "nothing to choose from"
            )
        blobs = kept
    if recipe.size_mm or recipe.volume_ml or recipe.order:
        scene.keep(labels, blobs)
    if recipe.count is not None:
        low, high = recipe.count
        wanted = f"{low}" if low == high else f"{low} or more" if high is None else f"{low}-{high}"
        agrees = in_range(len(blobs), recipe.count)
        scene.steps.append(
            {"operation": "count", "count": list(recipe.count), "of": len(blobs), "agrees": agrees}
        )
        if not agrees:
            scene.warnings.append(
                f"the text speaks of {wanted} {recipe.target!r}, {len(blobs)} were found"
            )


def _filters(
    recipe: Recipe, blobs: list[Blob]
) -> Iterator[tuple[str, list[Blob], list[Blob], dict[str, Any]]]:
    """Kind, instances before and after, and details of each filter, one after the other."""
    if recipe.size_mm is not None:
        slack = tolerance_mm(recipe.size_mm)
        kept = [b for b in blobs if in_range(b.diameter_mm, recipe.size_mm, slack)]
        yield "size", blobs, kept, {"size_mm": list(recipe.size_mm), "tolerance_mm": slack}
        blobs = kept
    if recipe.volume_ml is not None:
        low, high = recipe.volume_ml
        slack = 0.3 * low if low is not None and low == high else 0.0
        kept = [b for b in blobs if in_range(b.volume_ml, recipe.volume_ml, slack)]
        yield "volume", blobs, kept, {"volume_ml": list(recipe.volume_ml), "tolerance_ml": slack}
        blobs = kept
    if recipe.order is not None:
        order = recipe.order
        detail = {"by": order.by, "rank": order.rank, "count": order.count}
        yield "order", blobs, choose(blobs, order), detail


def _step(kind: str, before: int, after: int, **detail: Any) -> dict[str, Any]:
    return {"operation": kind, **detail, "voxels_before": before, "voxels_after": after}
