"""Random changes of a training window: where its voxels come from, and their intensities.

The usual ones of nnU-Net (rotation, scaling, noise, blur, brightness, contrast, coarser
resolution, gamma) with one difference: nothing is ever mirrored, because prompts name sides.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from textseg3d.synthesis.noise import blur, chance, smooth_noise, uniform

ROTATION_DEGREES = 20.0
SCALE = (0.75, 1.3)
ELASTIC_MM = 2.5
ELASTIC_PERIOD_MM = 24.0


def random_matrix(rng: torch.Generator, spacing_mm: tuple[float, float, float]) -> Tensor | None:
    """[3, 3] from output to source offsets in voxels (z, y, x), or None for no change.

    Rotations and stretches are those of millimetres, so that a grid with thick slices is
    rotated and not sheared.
    """
    turn, stretch = chance(rng, 0.4), chance(rng, 0.4)
    if not (turn or stretch):
        return None
    matrix = torch.eye(3)
    if stretch:
        size = math.exp(uniform(rng, math.log(SCALE[0]), math.log(SCALE[1])))
        factors = [size * (1 + uniform(rng, -0.12, 0.12)) for _ in range(3)]
        matrix = torch.diag(1 / torch.tensor(factors))
    if turn:
        for i, j in ((0, 1), (0, 2), (1, 2)):
            angle = math.radians(uniform(rng, -ROTATION_DEGREES, ROTATION_DEGREES))
            rotation = torch.eye(3)
            rotation[i, i] = rotation[j, j] = math.cos(angle)
            rotation[i, j], rotation[j, i] = -math.sin(angle), math.sin(angle)
            matrix = matrix @ rotation
    mm = torch.tensor(spacing_mm)
    return matrix * mm[None, :] / mm[:, None]


def source_coordinates(
    rng: torch.Generator,
    size: tuple[int, int, int],
    centre: Tensor,
    matrix: Tensor,
    spacing_mm: tuple[float, float, float],
) -> Tensor:
    """Source voxel coordinates [D, H, W, 3] (z, y, x) of a window, some with an elastic part.

    Args:
        size: of the window.
        centre: source coordinate of its centre [3].
        matrix: of :func:`random_matrix`.
    """
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in size]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    coordinates = grid @ matrix.T + centre
    if chance(rng, 0.3):
        amount = uniform(rng, 0.3, ELASTIC_MM)
        for axis, mm in enumerate(spacing_mm):
            period = ELASTIC_PERIOD_MM / mm
            coordinates[..., axis] += smooth_noise(rng, size, period) * (amount / mm)
    return coordinates


def change_intensities(rng: torch.Generator, x: Tensor) -> Tensor:
    """Noise, blur, brightness, contrast, coarser grid and gamma on one channel [D, H, W].

    Values should be of the order of one (standardised).
    """
    if chance(rng, 0.2):
        x = x + torch.randn(x.shape, generator=rng) * uniform(rng, 0, 0.25)
    if chance(rng, 0.2):
        sigma = uniform(rng, 0.4, 1.0)
        x = blur(x, (sigma, sigma, sigma))
    if chance(rng, 0.2):
        x = x * uniform(rng, 0.75, 1.25)
    if chance(rng, 0.2):
        mean, low, high = x.mean(), x.min(), x.max()
        x = ((x - mean) * uniform(rng, 0.7, 1.3) + mean).clamp(low, high)
    if chance(rng, 0.2):
        shape = x.shape
        coarse = [max(2, round(n * uniform(rng, 0.5, 1.0))) for n in shape]
        y = nn.functional.interpolate(x[None, None], size=coarse, mode="nearest")
        x = nn.functional.interpolate(y, size=shape, mode="trilinear")[0, 0]
    if chance(rng, 0.3):
        inverted = chance(rng, 0.25)
        x = -x if inverted else x
        mean, deviation, low = x.mean(), x.std(), x.min()
        span = (x.max() - low).clamp_min(1e-6)
        x = ((x - low) / span) ** uniform(rng, 0.7, 1.5)
        x = (x - x.mean()) / x.std().clamp_min(1e-6) * deviation + mean
        x = -x if inverted else x
    return x
