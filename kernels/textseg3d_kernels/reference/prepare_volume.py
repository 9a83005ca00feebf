"""PyTorch implementation of K3 (see ``ops/prepare_volume.py``)."""

from __future__ import annotations

import torch

from textseg3d_kernels.operators import AxisOperator


def apply_operator(field: torch.Tensor, axis: int, operator: AxisOperator) -> torch.Tensor:
    """Apply an operator along one of the last three axes of float32 [C, z, y, x].

    A dense matrix product is the fastest way on a CPU, for two taps as for a spline: gathers
    along the last axis take eight times as long (measured on one core).
    """
    if operator.is_identity:
        return field
    matrix = operator.matrix()
    channels, depth, height, width = field.shape
    if axis == 1:
        columns = field.reshape(channels, depth, height * width)
        return torch.matmul(matrix, columns).view(channels, -1, height, width)
    if axis == 2:
        return torch.matmul(matrix, field)
    return torch.matmul(field, matrix.t())


def prepare_volume(
    volume: torch.Tensor,
    axes: tuple[AxisOperator, AxisOperator, AxisOperator],
    *,
    low: torch.Tensor,
    high: torch.Tensor,
    mean: torch.Tensor,
    std: torch.Tensor,
    pad_before: tuple[int, int, int] = (0, 0, 0),
    pad_after: tuple[int, int, int] = (0, 0, 0),
    fill: float = 0.0,
    channels_out: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Same contract as :func:`textseg3d_kernels.ops.prepare_volume.prepare_volume`."""
    channels = volume.shape[0]
    column = (channels, 1, 1, 1)
    field = volume.to(torch.float32, copy=True)
    field = torch.maximum(field, low.float().view(column), out=field)
    field = torch.minimum(field, high.float().view(column), out=field)
    field.sub_(mean.float().view(column)).mul_(std.float().reciprocal().view(column))
    shrinking_first = sorted(
        range(3), key=lambda axis: axes[axis].size_out / max(1, axes[axis].size_in)
    )
    for axis in shrinking_first:
        field = apply_operator(field, axis + 1, axes[axis])
    sizes = [before + n + after for before, n, after in zip(pad_before, field.shape[1:], pad_after)]
    channels_out = channels if channels_out is None else channels_out
    padded = any(pad_before) or any(pad_after)
    prepared = torch.empty(*sizes, channels_out, dtype=dtype, device=volume.device)
    if padded:
        prepared[..., :channels] = fill
    prepared[..., channels:] = 0
    box = tuple(slice(before, before + n) for before, n in zip(pad_before, field.shape[1:]))
    prepared[box][..., :channels] = field.permute(1, 2, 3, 0)
    return prepared
