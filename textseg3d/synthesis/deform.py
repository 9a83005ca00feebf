"""Random shape change: one affine and elastic map, applied to a scan and its labels alike.

Left and right are never mirrored: scales are positive and rotations small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from textseg3d.synthesis.noise import Shape, smooth_noise, uniform

ORGAN_SIGMA_MM = (27.0, 54.0)  # reach of a local change
ORGAN_SCALE = (0.85, 1.2)


@dataclass(frozen=True)
class DeformSettings:
    """Ranges of the random map.

    Attributes:
        scale: range of the isotropic factor (bigger patient above 1).
        anisotropy: each axis is scaled by a further factor in 1 ± anisotropy.
        rotation_degrees: half-range about x, y, z.
        elastic_mm: largest standard deviation of the elastic displacement.
        period_mm: length over which it varies.
    """

    scale: tuple[float, float] = (0.85, 1.15)
    anisotropy: float = 0.12
    rotation_degrees: tuple[float, float, float] = (8.0, 6.0, 10.0)
    elastic_mm: float = 9.0
    period_mm: float = 84.0


def random_map(
    rng: torch.Generator,
    shape: Shape,
    source_centre: Tensor,
    settings: DeformSettings = DeformSettings(),
    voxel_mm: float = 3.0,
) -> Tensor:
    """Source voxel coordinates [D, H, W, 3] (z, y, x) for an output grid of ``shape``.

    Args:
        source_centre: source coordinate [3] (z, y, x) that the grid's centre comes from.
        voxel_mm: side of the voxels of both grids.
    """
    matrix = _random_matrix(rng, settings)
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in shape]
    amount = uniform(rng, 0.0, settings.elastic_mm) / voxel_mm
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    columns = []
    for i in range(3):
        c = z * matrix[i, 0]
        c += y * matrix[i, 1]
        c += x * matrix[i, 2]
        c += source_centre[i]
        if amount > 0.2:
            c += smooth_noise(rng, shape, settings.period_mm / voxel_mm) * amount
        columns.append(c)
    return torch.stack(columns, dim=-1)


def move_organ(
    rng: torch.Generator, coordinates: Tensor, centre: Tensor, voxel_mm: float = 3.0
) -> None:
    """Shift and scale what lies around ``centre``, in place: a low kidney, a big spleen.

    The change fades as a Gaussian; the shift stays below its width, so that the map stays
    one-to-one (it folds when the shift exceeds ``sigma * exp(0.5)``).

    Args:
        coordinates: source coordinates [D, H, W, 3] (z, y, x) as from :func:`random_map`.
        centre: of the organ, in source coordinates [3] (z, y, x).
        voxel_mm: side of a voxel.
    """
    sigma = uniform(rng, *ORGAN_SIGMA_MM) / voxel_mm
    size = 1 / uniform(rng, *ORGAN_SCALE) - 1
    # Organs hang: they differ most in height.
    shift = [sigma * uniform(rng, -a, a) for a in (0.9, 0.35, 0.35)]
    offset = coordinates - centre
    weight = torch.exp(offset.square().sum(-1).mul_(-0.5 / sigma**2))
    for axis in range(3):
        coordinates[..., axis] += weight * (offset[..., axis] * size + shift[axis])


def sample(source: Tensor, coordinates: Tensor, mode: str, outside: float) -> Tensor:
    """Read ``source`` [D, H, W] at ``coordinates`` [d, h, w, 3] (z, y, x voxels).

    Args:
        mode: "bilinear" for intensities, "nearest" for labels.
        outside: value beyond the source grid.
    """
    size = torch.tensor(source.shape, dtype=torch.float32)
    grid = (coordinates * 2 + 1) / size - 1
    values = nn.functional.grid_sample(
        (source.float() - outside)[None, None],
        grid.flip(-1)[None],
        mode=mode,
        padding_mode="zeros",
        align_corners=False,
    )[0, 0]
    return values + outside


def _random_matrix(rng: torch.Generator, settings: DeformSettings) -> Tensor:
    """[3, 3]: output offset (z, y, x) to source offset; the inverse of the patient's change."""
    size = uniform(rng, *settings.scale)
    stretch = [size * (1 + uniform(rng, -1, 1) * settings.anisotropy) for _ in range(3)]
    angles = [math.radians(uniform(rng, -d, d)) for d in settings.rotation_degrees]
    matrix = torch.diag(1 / torch.tensor(stretch))
    # Rotation about x turns (z, y), about y turns (z, x), about z turns (y, x).
    for angle, (i, j) in zip(angles, ((0, 1), (0, 2), (1, 2)), strict=True):
        rotation = torch.eye(3)
        rotation[i, i] = rotation[j, j] = math.cos(angle)
        rotation[i, j], rotation[j, i] = -math.sin(angle), math.sin(angle)
        matrix = matrix @ rotation
    return matrix
