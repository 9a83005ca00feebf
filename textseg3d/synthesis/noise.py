"""Random fields [D, H, W] from a seeded generator: the raw material of texture and shape."""

from __future__ import annotations

import torch
from torch import Tensor, nn

Shape = tuple[int, ...]


def uniform(rng: torch.Generator, low: float, high: float) -> float:
    """One number, uniform in [low, high)."""
    return low + (high - low) * float(torch.rand((), generator=rng))


def chance(rng: torch.Generator, probability: float) -> bool:
    """True with the given probability."""
    return float(torch.rand((), generator=rng)) < probability


def smooth_noise(rng: torch.Generator, shape: Shape, period: float) -> Tensor:
    """Noise of unit variance at its nodes that varies over about ``period`` voxels."""
    nodes = [max(2, round(n / period) + 1) for n in shape]
    coarse = torch.randn((1, 1, *nodes), generator=rng)
    return nn.functional.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)[0, 0]


def tubes(rng: torch.Generator, shape: Shape, period: float, radius: float) -> Tensor:
    """Bool mask of winding tubes, such as vessels.

    Two smooth fields are both near zero along curves (the crossing of two surfaces); the
    tube's half-width grows with ``radius`` (in units of the fields).
    """
    a, b = smooth_noise(rng, shape, period), smooth_noise(rng, shape, period)
    return a.square_().add_(b.square_()) < radius**2


def blur(x: Tensor, sigma: tuple[float, float, float]) -> Tensor:
    """Gaussian blur of [D, H, W] with ``sigma`` voxels along z, y, x (0 leaves an axis alone)."""
    y = x[None, None]
    for axis, s in enumerate(sigma):
        if s <= 0.05:
            continue
        half = max(1, round(3 * s))
        taps = torch.exp(-0.5 * (torch.arange(-half, half + 1) / s) ** 2)
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = -1
        pad = [0] * 6
        pad[2 * (2 - axis)] = pad[2 * (2 - axis) + 1] = half
        y = nn.functional.conv3d(
            nn.functional.pad(y, pad, mode="replicate"), (taps / taps.sum()).view(shape)
        )
    return y[0, 0]
