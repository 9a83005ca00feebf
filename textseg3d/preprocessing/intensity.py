"""Scan intensities to network input, by the scheme that the plans name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textseg3d.errors import PlansError

if TYPE_CHECKING:
    import torch

    from textseg3d.plans.schema import Intensity


def normalise(scan: torch.Tensor, intensities: Sequence[Intensity]) -> torch.Tensor:
    """Apply one scheme per channel.

    Args:
        scan: float32 [C, D, H, W] in scan units (HU for CT).
        intensities: one per channel.

    Returns:
        float32 [C', D, H, W]; a CT channel becomes one channel per window, in [-1, 1].

    Raises:
        PlansError: if the number of schemes is not the number of channels.
    """
    import torch

    if len(intensities) != scan.shape[0]:
        raise PlansError(
            f"plans describe {len(intensities)} channels, the scan has {scan.shape[0]}"
        )
    channels = []
    for values, scheme in zip(scan, intensities, strict=True):
        if scheme.scheme == "windows":
            channels += [_window(values, low, high) for low, high in scheme.windows]
        else:
            channels.append(_zscore(values, scheme.percentiles))
    return torch.stack(channels)


def _window(values: torch.Tensor, low: float, high: float) -> torch.Tensor:
    return values.clamp(low, high).sub(low).mul_(2.0 / (high - low)).sub_(1.0)


def _zscore(values: torch.Tensor, percentiles: tuple[float, float]) -> torch.Tensor:
    """Z-score of the values above the mean, which in MR and PET is roughly the body."""
    body = values[values > values.mean()]
    if body.numel() < 2:
        return values - values.mean()
    # quantile() has a size limit; a regular subsample is enough for a clip.
    sample = body[:: max(1, body.numel() // 1_000_000)].float()
    low, high = (float(sample.quantile(p / 100)) for p in percentiles)
    clipped = body.clamp(low, high)
    return (values.clamp(low, high) - clipped.mean()) / clipped.std().clamp_min(1e-6)
