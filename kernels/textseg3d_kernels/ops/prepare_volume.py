"""K3: stored intensities → clipped, scaled, resampled, padded network input, channels-last."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from textseg3d_kernels import dispatch
from textseg3d_kernels.operators import AxisOperator, identity_operator
from textseg3d_kernels.ops import checks
from textseg3d_kernels.reference import prepare_volume as reference

INPUTS = (torch.int16, *checks.FLOATS)
MAX_CHANNELS = 16
SINGLE_PASS_TAPS = 8
"""Up to this product of taps (trilinear) one pass is made; above it one per axis."""


def prepare_volume(
    volume: torch.Tensor,
    axes: tuple[AxisOperator, AxisOperator, AxisOperator],
    *,
    low: torch.Tensor,
    high: torch.Tensor,
    mean: torch.Tensor,
    std: torch.Tensor,
    pad_before: Sequence[int] = (0, 0, 0),
    pad_after: Sequence[int] = (0, 0, 0),
    fill: float = 0.0,
    channels_out: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Normalise and resample a volume into the network's layout.

    ::

        n[c, z, y, x]  = (min(max(volume, low[c]), high[c]) − mean[c]) / std[c]
        out[Z, Y, X, c] = Σ_{z,y,x} Mz[Z − bz, z] · My[Y − by, y] · Mx[X − bx, x] · n[c, z, y, x]

    inside the box that starts at ``pad_before``, ``fill`` in the padding, 0 in the channels from
    C to ``channels_out`` (for a stem that is padded to 8 input channels). Sums are float32, one
    rounding to ``dtype`` at the end. Error against float64: ≤ 2⁻²⁰ · Σ|weights| · max|n|.

    Cost per output voxel and channel with linear axes: 2 bytes read (int16, the eight loads hit
    the cache), 2 written (bf16), 24 FLOPs + 3 per load; the unfused chain moves about 30 bytes in
    five passes. Splines of K taps take three passes with float32 between them: 2 + 4·4 + 2
    bytes and 6·K FLOPs. On a CPU: clipping in place and three matrix products.

    Source of the method: resampling is linear and separable, so each axis is a matrix;
    z-score after clipping as in nnU-Net's CTNormalization (which also precedes resampling).

    Args:
        volume: int16, float32, fp16 or bf16 [C, d, h, w], any strides, C ≤ 16.
        axes: operators for (z, y, x) with ``size_in`` = (d, h, w).
        low: floating [C], lower clip bound in stored units (HU for CT); −inf for none.
        high: floating [C], upper clip bound; +inf for none.
        mean: floating [C], subtracted after clipping.
        std: floating [C], divisor.
        pad_before: voxels (z, y, x) added before the resampled box.
        pad_after: voxels (z, y, x) added after it.
        fill: value of the padding, in normalised units.
        channels_out: channels of the result; None means C.
        dtype: float32, fp16 or bf16.

    Returns:
        ``dtype`` [D, H, W, channels_out], contiguous; ``permute(3, 0, 1, 2)[None]`` is a
        channels_last_3d network input.

    Raises:
        ValueError: for shapes that do not fit.
        TypeError: for dtypes outside those named.
    """
    channels = volume.shape[0] if volume.ndim else 0
    channels_out = channels if channels_out is None else int(channels_out)
    columns = {"low": low, "high": high, "mean": mean, "std": std}
    _check(volume, axes, columns, channels_out, dtype)
    before, after = (tuple(int(each) for each in pad) for pad in (pad_before, pad_after))
    if len(before) != 3 or len(after) != 3 or min(*before, *after) < 0:
        raise ValueError(f"padding {before}, {after}: need three non-negative numbers each")
    device = volume.device
    axes = tuple(operator.to(device) for operator in axes)
    tables = [each.float().to(device).contiguous() for each in columns.values()]
    if dispatch.selected(volume) == "reference" or volume.numel() == 0:
        return reference.prepare_volume(
            volume,
            axes,
            low=tables[0],
            high=tables[1],
            mean=tables[2],
            std=tables[3],
            pad_before=before,
            pad_after=after,
            fill=fill,
            channels_out=channels_out,
            dtype=dtype,
        )
    tables[3] = tables[3].reciprocal()
    sizes = [b + operator.size_out + a for b, operator, a in zip(before, axes, after)]
    prepared = torch.empty(*sizes, channels_out, dtype=dtype, device=device)
    if prepared.numel():
        with dispatch.device_guard(volume):
            _run_passes(volume, axes, tuple(tables), fill, before, prepared)
    return prepared


def _run_passes(
    volume: torch.Tensor,
    axes: tuple[AxisOperator, ...],
    normalisation: tuple[torch.Tensor, ...],
    fill: float,
    pad_before: tuple[int, ...],
    prepared: torch.Tensor,
) -> None:
    """One launch where the taps are few, otherwise one per axis through float32 buffers."""
    from textseg3d_kernels.triton.prepare_volume import launch_prepare_volume

    if axes[0].taps * axes[1].taps * axes[2].taps <= SINGLE_PASS_TAPS or 0 in (
        operator.size_out for operator in axes
    ):
        starts = tuple(operator.start for operator in axes)
        weights = tuple(operator.weights for operator in axes)
        launch_prepare_volume(
            volume, starts, weights, normalisation, fill, pad_before, prepared, normalise=True
        )
        return
    source = volume
    for axis, operator in enumerate(axes):
        sizes = list(source.shape[1:])
        sizes[axis] = operator.size_out
        tables = [identity_operator(length, volume.device) for length in source.shape[1:]]
        tables[axis] = operator
        last = axis == 2
        target = prepared
        if not last:
            target = torch.empty(*sizes, volume.shape[0], device=volume.device)
        launch_prepare_volume(
            source,
            tuple(table.start for table in tables),
            tuple(table.weights for table in tables),
            normalisation,
            fill,
            pad_before if last else (0, 0, 0),
            target,
            normalise=axis == 0,
        )
        source = target.permute(3, 0, 1, 2)


def _check(
    volume: torch.Tensor,
    axes: tuple[AxisOperator, ...],
    columns: dict[str, torch.Tensor],
    channels_out: int,
    dtype: torch.dtype,
) -> None:
    """Raise for dtypes and shapes that do not fit together."""
    checks.dtype("volume", volume, INPUTS)
    checks.dimensions("volume", volume, "CDHW")
    if dtype not in checks.FLOATS:
        raise TypeError(f"dtype {dtype} is not supported; use float32, float16 or bfloat16")
    channels = volume.shape[0]
    if not 1 <= channels <= channels_out <= MAX_CHANNELS:
        raise ValueError(
            f"{channels} channels in, {channels_out} out: need 1 <= in <= out <= {MAX_CHANNELS}"
        )
    for name, table in columns.items():
        checks.shape(name, table, (channels,))
    for name, operator, length in zip("zyx", axes, volume.shape[1:]):
        if operator.size_in != length:
            raise ValueError(
                f"operator {name} takes {operator.size_in} samples; the volume has {length}"
            )
