"""What a labelled volume shows: every lesion measured on the labels, with place, side and kind."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import PromptError
from textseg3d.synthesis.findings import FINDINGS, InsertedFinding, Kind, Spacing
from textseg3d.text.knowledge import KnowledgeTree, Target

Targets = Mapping[str, Sequence[int]]
INSIDE_SHARE = 0.5  # of a lesion's voxels: from here on it lies in a place
_LOBE = re.compile(r"(\w+ lobe) of (left|right) lung")


@dataclass(frozen=True)
class Place:
    """Anatomy of a volume that findings can lie in.

    Attributes:
        name: canonical ("lower lobe of left lung").
        words: as in a sentence ("left lower lobe").
        concept: of the knowledge tree.
        side: "left", "right" or None.
        ids: its label ids.
        voxels: how many it has.
    """

    name: str
    words: str
    concept: str
    side: str | None
    ids: frozenset[int]
    voxels: int


@dataclass(frozen=True)
class Lesion:
    """One connected piece (26 neighbours) of a finding.

    Attributes:
        number: from 1; its value in the map of lesions.
        finding: target that it is a piece of ("pulmonary nodule").
        kind: as drawn; None for one that people drew, or if several kinds touch.
        side: of the smallest place that it lies in.
        places: names of what at least half of it lies in, the smallest first.
        touched: names of every place that it has a voxel in.
        diameter_mm: longest axial diameter: the largest distance of two voxel centres in an
            axial slice, and one voxel.
        volume_ml: voxels times voxel volume.
        centroid_mm: (x, y, z) from the centre of the first voxel; x grows to the left, y to
            the back, z upwards.
        drawn_mm: diameter of the sphere that was asked for; None for one that people drew, or
            if several touch.
    """

    number: int
    finding: str
    kind: Kind | None
    side: str | None
    places: tuple[str, ...]
    touched: tuple[str, ...]
    diameter_mm: float
    volume_ml: float
    centroid_mm: tuple[float, float, float]
    drawn_mm: float | None

    def to_json(self) -> dict[str, Any]:
        """The object of ``sentences.json``."""
        return {
            "id": self.number,
            "type": self.finding,
            "kind": self.kind,
            "side": self.side,
            "places": list(self.places),
            "touches": [name for name in self.touched if name not in self.places],
            "diameter_mm": round(self.diameter_mm, 2),
            "volume_ml": round(self.volume_ml, 4),
            "centroid_mm": [round(c, 2) for c in self.centroid_mm],
            "drawn_mm": None if self.drawn_mm is None else round(self.drawn_mm, 2),
        }


def find_places(
    finding: str, targets: Targets, labels: NDArray[np.uint8], tree: KnowledgeTree
) -> tuple[Place, ...]:
    """Places of a volume that a finding can lie in, the smallest first.

    Args:
        finding: concept of the tree.
        targets: target → label ids.
        labels: [D, H, W].
        tree: says what a finding's organ is, and what its parts are.
    """
    organs = set(tree.concept(finding).containers)
    counts = np.bincount(labels.ravel(), minlength=256)
    places = []
    for name, ids in targets.items():
        try:
            target = tree.resolve_label(name)
        except PromptError:
            continue
        around = {target.concept, *(whole.concept for whole in tree.ancestors(target))}
        voxels = int(counts[list(set(ids))].sum())
        if voxels and organs & around:
            places.append(_place(target, frozenset(ids), voxels, tree))
    return tuple(sorted(places, key=lambda p: (p.voxels, len(p.ids), p.name)))


def measure_lesions(
    labels: NDArray[np.uint8],
    targets: Targets,
    places: Mapping[str, Sequence[Place]],
    drawn: Sequence[InsertedFinding],
    spacing_mm: Spacing,
) -> tuple[list[Lesion], NDArray[np.uint16]]:
    """Every lesion of a volume, the largest of each finding first, and the map of them.

    Args:
        labels: [D, H, W].
        targets: target → label ids; findings are those of :data:`FINDINGS`.
        places: of each finding, as from :func:`find_places`.
        drawn: what is known to have been drawn.
        spacing_mm: (z, y, x).

    Returns:
        The lesions, and uint16 [D, H, W] with their numbers; 0 elsewhere.
    """
    import cc3d

    lesions: list[Lesion] = []
    numbers = np.zeros(labels.shape, np.uint16)
    for finding in (name for name in FINDINGS if targets.get(name)):
        mask = np.isin(labels, list(targets[finding]))
        own = [d for d in drawn if d.target == finding]
        origin = np.zeros(labels.shape, np.uint8)
        for n, one in enumerate(own, 1):
            origin[one.finding.box][one.mask.numpy()] = n
        pieces = cc3d.connected_components(mask, connectivity=26)
        sizes = np.bincount(pieces.ravel())[1:]
        for piece in np.argsort(-sizes, kind="stable") + 1:
            mine = pieces == piece
            made_by = np.unique(origin[mine])
            makers = [own[n - 1] for n in made_by] if made_by.all() else []
            number = len(lesions) + 1
            numbers[mine] = number
            lesions.append(
                _lesion(number, finding, mine, labels, places[finding], makers, spacing_mm)
            )
    return lesions, numbers


def axial_diameter_mm(mask: NDArray[np.bool_], spacing_mm: Spacing) -> float:
    """See :attr:`Lesion.diameter_mm`; ``mask`` is bool [D, H, W] with at least one voxel."""
    _, dy, dx = spacing_mm
    longest = 0.0
    for plane in mask:
        rows = np.flatnonzero(plane.any(axis=1))
        if not rows.size:
            continue
        # The two voxels that are farthest apart are each the first or last of their row.
        first = plane[rows].argmax(axis=1)
        last = plane.shape[1] - 1 - plane[rows, ::-1].argmax(axis=1)
        ends = np.concatenate([np.stack([rows, column], 1) for column in (first, last)])
        offset = (ends[:, None] - ends[None]) * (dy, dx)
        longest = max(longest, float(np.sqrt((offset**2).sum(-1)).max()))
    return longest + (dy + dx) / 2


def _lesion(
    number: int,
    finding: str,
    mine: NDArray[np.bool_],
    labels: NDArray[np.uint8],
    places: Sequence[Place],
    makers: Sequence[InsertedFinding],
    spacing_mm: Spacing,
) -> Lesion:
    under = np.bincount(labels[mine], minlength=256)
    total = int(under.sum())
    share = {place: int(under[list(place.ids)].sum()) / total for place in places}
    inside = [place for place in places if share[place] >= INSIDE_SHARE]
    kinds = {maker.finding.kind for maker in makers}
    index = np.nonzero(mine)
    z, y, x = (float(i.mean()) * s for i, s in zip(index, spacing_mm, strict=True))
    box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in index)
    return Lesion(
        number=number,
        finding=finding,
        kind=kinds.pop() if len(kinds) == 1 else None,
        side=inside[0].side if inside else None,
        places=tuple(place.name for place in inside),
        touched=tuple(place.name for place in places if share[place]),
        diameter_mm=axial_diameter_mm(mine[box], spacing_mm),
        volume_ml=total * float(np.prod(spacing_mm)) / 1000,
        centroid_mm=(x, y, z),
        drawn_mm=makers[0].finding.diameter_mm if len(makers) == 1 else None,
    )


def _place(target: Target, ids: frozenset[int], voxels: int, tree: KnowledgeTree) -> Place:
    name = tree.canonical_name(target)
    lobe = _LOBE.fullmatch(name)
    words = f"{lobe.group(2)} {lobe.group(1)}" if lobe else name
    side = target.side if target.side in ("left", "right") else None
    return Place(name, words, target.concept, side, ids, voxels)
