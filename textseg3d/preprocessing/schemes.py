"""nnU-Net's normalisation schemes, by the names that plans give them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import InputError, PlansError
from textseg3d.suggest import did_you_mean

Values = NDArray[np.float32]
Scheme = Callable[[Values, NDArray[np.bool_] | None, dict[str, float]], Values]
EPSILON = 1e-8


def _ct(values: Values, mask: NDArray[np.bool_] | None, statistics: dict[str, float]) -> Values:
    clipped = values.clip(statistics["percentile_00_5"], statistics["percentile_99_5"])
    scaled = (clipped - statistics["mean"]) / max(statistics["std"], EPSILON)
    return scaled.astype(np.float32, copy=False)


def _zscore(values: Values, mask: NDArray[np.bool_] | None, statistics: dict[str, float]) -> Values:
    if mask is None:
        return (values - values.mean()) / max(values.std(), EPSILON)
    result, inside = values.copy(), values[mask]
    result[mask] = (inside - inside.mean()) / max(inside.std(), EPSILON)
    return result


def _none(values: Values, mask: NDArray[np.bool_] | None, statistics: dict[str, float]) -> Values:
    return values


def _to_01(values: Values, mask: NDArray[np.bool_] | None, statistics: dict[str, float]) -> Values:
    shifted = values - values.min()
    return shifted / max(shifted.max(), EPSILON)


def _rgb(values: Values, mask: NDArray[np.bool_] | None, statistics: dict[str, float]) -> Values:
    if values.min() < 0 or values.max() > 255:
        raise InputError(
            f"RGB channel has values from {values.min():g} to {values.max():g}, expected 0 to 255"
        )
    return values / 255.0


SCHEMES: dict[str, Scheme] = {
    "CTNormalization": _ct,
    "ZScoreNormalization": _zscore,
    "NoNormalization": _none,
    "RescaleTo01Normalization": _to_01,
    "RGBTo01Normalization": _rgb,
}


def normalise_channels(
    image: Values,
    schemes: Sequence[str],
    statistics: dict[str, dict[str, float]],
    inside: NDArray[np.bool_] | None,
    use_mask: Sequence[bool],
) -> Values:
    """Normalise each channel by its scheme.

    Args:
        image: float32 [C, D, H, W] in scan units.
        schemes: class names of nnU-Net's, one per channel.
        statistics: channel ("0" …) → foreground statistics of the dataset (CT needs them).
        inside: bool [D, H, W], where the scan is; needed if ``use_mask`` says so.
        use_mask: per channel, whether z-score looks inside only and leaves the rest as it is.

    Returns:
        float32 [C, D, H, W].

    Raises:
        PlansError: for an unknown scheme or another number of channels than the scan's.
        InputError: for values that a scheme does not allow.
    """
    if len(schemes) != len(image) or len(use_mask) != len(image):
        raise PlansError(
            f"plans have {len(schemes)} normalization_schemes and {len(use_mask)} "
            f"use_mask_for_norm, the scan {len(image)} channels"
        )
    result = np.empty(image.shape, np.float32)
    for number, (values, name, masked) in enumerate(zip(image, schemes, use_mask, strict=True)):
        scheme = SCHEMES.get(name)
        if scheme is None:
            known = ", ".join(SCHEMES)
            raise PlansError(
                f"unknown normalisation {name!r}{did_you_mean(name, SCHEMES)} (known: {known})"
            )
        mask = inside if masked else None
        result[number] = scheme(values, mask, statistics.get(str(number), {}))
    return result
