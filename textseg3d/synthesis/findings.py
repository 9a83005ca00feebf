"""Findings made on purpose: nodules in lungs, lesions in livers, cysts in kidneys.

Each is drawn into a volume in HU with a blended border, and its exact mask comes with it. Sizes
are in mm, so that the same code serves the coarse grid of training and a scan's own grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from textseg3d.synthesis.noise import blur, chance, smooth_noise, uniform

Spacing = tuple[float, float, float]
Kind = Literal[
    "solid nodule", "part-solid nodule", "ground-glass nodule", "calcified nodule",
    "hypodense lesion", "hyperdense lesion", "cyst",
]  # fmt: skip
# Mean HU, or for the two kinds of lesion the difference to the organ around.
# Nodules: Hansell et al., Fleischner Society glossary, Radiology 246, 2008; calcified above 200 HU.
HU: dict[Kind, tuple[float, float]] = {
    "solid nodule": (0, 90),
    "part-solid nodule": (0, 80),  # of the core; the rim is ground glass
    "ground-glass nodule": (-650, -350),
    "calcified nodule": (200, 700),
    "hypodense lesion": (-70, -20),
    "hyperdense lesion": (25, 80),
    "cyst": (-5, 20),
}
GROUND_GLASS = HU["ground-glass nodule"]
AERATED_HU = -500.0  # a nodule's centre lies in lung below this, not in a vessel


@dataclass(frozen=True)
class Rule:
    """What a finding looks like: diameters in mm, its kinds and their odds."""

    diameter_mm: tuple[float, float]
    odds: dict[Kind, float]

    def kind(self, rng: torch.Generator) -> Kind:
        """Draw one."""
        return list(self.odds)[
            int(torch.multinomial(torch.tensor(list(self.odds.values())), 1, generator=rng))
        ]

    def diameter(self, rng: torch.Generator) -> float:
        """In mm, log-uniform: small findings are the many."""
        low, high = self.diameter_mm
        return float(low * (high / low) ** uniform(rng, 0, 1))


# Concept of the tree → what it looks like. Rarer kinds come more often than in life.
FINDINGS = {
    "pulmonary nodule": Rule(
        (5.0, 30.0),
        {
            "solid nodule": 0.65,
            "part-solid nodule": 0.13,
            "ground-glass nodule": 0.12,
            "calcified nodule": 0.1,
        },
    ),
    "liver lesion": Rule(
        (9.0, 60.0), {"hypodense lesion": 0.6, "cyst": 0.25, "hyperdense lesion": 0.15}
    ),
    "renal cyst": Rule((9.0, 50.0), {"cyst": 1.0}),
}


@dataclass(frozen=True)
class Finding:
    """What was inserted, and where.

    Attributes:
        kind: key of :data:`HU`.
        centre: voxel (z, y, x).
        diameter_mm: of the sphere with the same volume, before shape noise.
        box: slices of the volume that hold all of it.
        mask: bool, of the box's shape.
    """

    kind: Kind
    centre: tuple[int, int, int]
    diameter_mm: float
    box: tuple[slice, slice, slice]
    mask: Tensor


@dataclass(frozen=True)
class InsertedFinding:
    """One finding of a labelled volume.

    Attributes:
        target: what it is called, a key of :data:`FINDINGS`.
        finding: as drawn.
        mask: bool, of the shape of the finding's box: the voxels whose label it changed, which
            are all of it but those of an earlier finding.
    """

    target: str
    finding: Finding
    mask: Tensor


def insert(
    rng: torch.Generator,
    hu: Tensor,
    organ: Tensor,
    spacing_mm: Spacing,
    kind: Kind,
    diameter_mm: float,
    centre: tuple[int, int, int],
) -> Finding | None:
    """Draw one finding into ``hu``, in place.

    Args:
        rng: random numbers.
        hu: float [D, H, W].
        organ: bool [D, H, W]; nothing outside it changes.
        spacing_mm: (z, y, x).
        kind: key of :data:`HU`.
        diameter_mm: of a sphere of the same volume.
        centre: voxel (z, y, x) inside the organ.

    Returns:
        What was drawn; None if less than half of it would have lain inside the organ, or none
        of its mask on a voxel centre.
    """
    radius = diameter_mm / 2
    reach = [int(1.6 * radius / s) + 2 for s in spacing_mm]
    box = tuple(
        slice(max(0, c - r), min(n, c + r + 1))
        for c, r, n in zip(centre, reach, hu.shape, strict=True)
    )
    z, y, x = box
    inside = organ[z, y, x]
    distance = _distance(rng, centre, (z, y, x), spacing_mm, radius)
    border = max(0.4, 0.35 * min(spacing_mm)) / radius  # of a scanner's blur, relative
    share = torch.sigmoid((1 - distance) / border * 2)
    mask = (share > 0.5) & inside
    if int(mask.sum()) == 0 or int(mask.sum()) < 0.5 * int((share > 0.5).sum()):
        return None
    share = (
        share * blur(inside.float(), (0.5, 0.5, 0.5))
        if kind.endswith("nodule")
        else (share * inside)
    )
    old = hu[z, y, x]
    drawn = old * (1 - share) + share * _content(rng, kind, old, mask, distance)
    hu[z, y, x] = torch.maximum(old, drawn) if kind.endswith("nodule") else drawn
    return Finding(kind, centre, diameter_mm, (z, y, x), mask)


def draw_centre(
    rng: torch.Generator, organ: Tensor, hu: Tensor | None = None
) -> tuple[int, int, int] | None:
    """A random voxel (z, y, x) of the organ; of aerated lung if ``hu`` is given; None if none."""
    where = organ if hu is None else organ & (hu < AERATED_HU)
    flat = torch.nonzero(where.flatten())[:, 0]
    if not len(flat):
        return None
    i = int(flat[int(torch.randint(0, len(flat), (), generator=rng))])
    _, height, width = organ.shape
    return i // (height * width), i // width % height, i % width


def _distance(
    rng: torch.Generator,
    centre: tuple[int, int, int],
    box: tuple[slice, slice, slice],
    spacing_mm: Spacing,
    radius: float,
) -> Tensor:
    """Distance to the centre over the box; 1 at the border of a lumpy ellipsoid."""
    stretch = torch.tensor([uniform(rng, 0.8, 1.25) for _ in range(3)])
    stretch /= stretch.prod() ** (1 / 3)
    axes = [
        (torch.arange(b.start, b.stop) - c) * s / (radius * float(f))
        for b, c, s, f in zip(box, centre, spacing_mm, stretch, strict=True)
    ]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    distance = (z.square() + y.square() + x.square()).sqrt()
    shape = tuple(distance.shape)
    period = max(2.0, uniform(rng, 0.5, 1.2) * radius / min(spacing_mm))
    return distance + smooth_noise(rng, shape, period) * uniform(rng, 0.0, 0.14)


def _content(
    rng: torch.Generator, kind: Kind, old: Tensor, mask: Tensor, distance: Tensor
) -> Tensor:
    """HU inside the finding, over its box."""
    level = uniform(rng, *HU[kind])
    texture = smooth_noise(rng, tuple(old.shape), 3.0)
    if kind == "part-solid nodule":
        core = distance < uniform(rng, 0.4, 0.7)
        rim = torch.full_like(old, uniform(rng, *GROUND_GLASS))
        return torch.where(core, level + 15 * texture, rim + 40 * texture)
    if kind == "ground-glass nodule":
        return level + 40 * texture
    if kind.endswith("lesion"):
        around = old[mask].median()
        edge = uniform(rng, 0, 30) if chance(rng, 0.3) else 0.0  # a brighter edge, as metastases
        ring = torch.exp(-0.5 * ((distance - 0.85) / 0.15).square()) * edge
        return around + level + 6 * texture + ring
    return level + (6 if kind == "cyst" else 15) * texture
