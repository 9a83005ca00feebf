"""What a scanner and a patient's contrast do to a volume: re-lighting, blur, slices, noise."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from textseg3d.synthesis.noise import blur, chance, smooth_noise, uniform

THICK_SLICES = (1.2, 2.2)


def relight(rng: torch.Generator, hu: Tensor, labels: Tensor, strength: float = 40.0) -> Tensor:
    """Shift each labelled structure of a real scan by its own offset: another contrast phase.

    Args:
        hu: [D, H, W]; labels: [D, H, W] integer ids < 256, 0 is left alone.
        strength: standard deviation of the offsets in HU.
    """
    offset = torch.randn(256, generator=rng) * uniform(rng, 0, strength)
    offset[0] = 0
    change = nn.functional.avg_pool3d(offset[labels.long()][None, None], 3, 1, 1)[0, 0]
    # Gas and bone take no contrast medium.
    return hu + change * ((hu > -150) & (hu < 400))


def remap(rng: torch.Generator, hu: Tensor) -> Tensor:
    """Small global changes: calibration, tube voltage, window of an already clipped export."""
    gain, shift = uniform(rng, 0.88, 1.12), uniform(rng, -15, 15)
    hu = 40 + (hu - 40) * gain + shift
    if chance(rng, 0.1):
        hu = hu.clamp(uniform(rng, -1024, -200), uniform(rng, 250, 1500))
    return hu


def average_slices(volume: Tensor, count: int, axis: int = 0) -> Tensor:
    """A volume [D, H, W] seen as ``count`` slices along an axis, on its own grid again."""
    depth, height, width = (count if i == axis else n for i, n in enumerate(volume.shape))
    layers = nn.functional.adaptive_avg_pool3d(volume[None, None], (depth, height, width))
    size = tuple(volume.shape)
    return nn.functional.interpolate(layers, size=size, mode="trilinear")[0, 0]


def acquire(rng: torch.Generator, hu: Tensor, thick: tuple[float, float] = THICK_SLICES) -> Tensor:
    """Kernel blur, thick slices, correlated noise and slow shading; [D, H, W] in HU.

    Args:
        rng: random numbers.
        hu: [D, H, W].
        thick: range of a thick slice's height, in voxels.
    """
    shape = tuple(hu.shape)
    sigma = uniform(rng, 0, 0.7)
    hu = blur(hu, (sigma, sigma, sigma))
    if chance(rng, 0.4):
        slices = max(4, round(shape[0] / uniform(rng, *thick)))
        hu = average_slices(hu, slices)
    level = uniform(rng, 0, 35) if chance(rng, 0.85) else uniform(rng, 30, 70)
    noise = torch.randn(shape, generator=rng)
    if chance(rng, 0.5):
        noise = blur(noise, (0.4, 0.6, 0.6)) * 1.8
    hu = hu + noise * level
    if chance(rng, 0.2):
        hu = hu + smooth_noise(rng, shape, 60.0) * uniform(rng, 0, 12)
    return hu
