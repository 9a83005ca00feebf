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
    return zscore(values, zscore_statistics(values, percentiles, float(values.mean())))


def zscore_statistics(
    values: torch.Tensor, percentiles: tuple[float, float], threshold: float
) -> tuple[float, float, float, float]:
    """Clip (low, high), mean and standard deviation of the values above ``threshold``.

    The mean of a scan is the threshold: above it is, in MR and PET, roughly the body. Only the
    upper percentile is the body's; the lower one is that of all values, or else everything
    dark inside the body would be clipped away.
    """
    body = values[values > threshold]
    if body.numel() < 2:
        return -float("inf"), float("inf"), float(values.mean()), 1.0
    low, high = _percentile(values, percentiles[0]), _percentile(body, percentiles[1])
    clipped = body.clamp(low, high)
    return low, high, float(clipped.mean()), max(float(clipped.std()), 1e-6)


def _percentile(values: torch.Tensor, percentile: float) -> float:
    """quantile() has a size limit; a regular subsample is enough for a clip."""
    flat = values.flatten()
    return float(flat[:: max(1, flat.numel() // 1_000_000)].float().quantile(percentile / 100))


def zscore(values: torch.Tensor, statistics: tuple[float, float, float, float]) -> torch.Tensor:
    """Clip and standardise by :func:`zscore_statistics`."""
    low, high, mean, deviation = statistics
    return (values.clamp(low, high) - mean) / deviation
