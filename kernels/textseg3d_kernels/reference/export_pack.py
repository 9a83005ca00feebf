"""PyTorch implementation of K2 (see ``ops/export_pack.py``)."""

from __future__ import annotations

import torch

from textseg3d_kernels.operators import AxisOperator

LIMIT = 1.0e30
_CHUNK_ELEMENTS = 1 << 20
_PACK_FACTOR = -0x7FBFDFEFF7FBFDFF
"""0x8040201008040201 as a signed number: one multiplication moves the lowest bit of each of the
eight bytes of an int64 into its top byte, the first byte in memory to the highest bit."""


def pack_bits(mask: torch.Tensor) -> torch.Tensor:
    """Pack the last axis of a bool tensor, 8 to a byte, first element in the highest bit.

    Args:
        mask: bool [..., W].

    Returns:
        uint8 [..., ceil(W / 8)], equal to ``numpy.packbits(mask, axis=-1)``.
    """
    width = mask.shape[-1]
    row_bytes = -(-width // 8)
    if mask.numel() == 0:
        return torch.zeros(*mask.shape[:-1], row_bytes, dtype=torch.uint8, device=mask.device)
    if width % 8:
        mask = torch.nn.functional.pad(mask, (0, 8 * row_bytes - width))
    words = mask.contiguous().view(torch.uint8).view(torch.int64)
    return ((words * _PACK_FACTOR) >> 56).to(torch.uint8)


def _blend(field: torch.Tensor, axis: int, operator: AxisOperator, shift: int) -> torch.Tensor:
    """Apply a two-tap operator along one axis of [z, y, x]; ``shift`` is the crop's begin."""
    start = operator.start.long()
    last = operator.size_in - 1
    shape = [1, 1, 1]
    shape[axis] = -1
    lower = field.index_select(axis, start.clamp(0, last) - shift)
    lower *= operator.weights[:, 0].view(shape)
    if operator.taps == 2:
        upper = field.index_select(axis, (start + 1).clamp_(0, last) - shift)
        upper *= operator.weights[:, 1].view(shape)
        lower += upper
    return lower


def _bounds(positive: torch.Tensor, operator: AxisOperator) -> tuple[int, int, int, int] | None:
    """Output rows that can be positive along one axis and the input rows that they read.

    Args:
        positive: bool [size_in], input rows that hold a positive value.
        operator: the axis.

    Returns:
        (output begin, output end, input begin, input end), None where no output is touched.
    """
    last = operator.size_in - 1
    start = operator.start.long()
    lower, upper = start.clamp(0, last), (start + operator.taps - 1).clamp_(0, last)
    touched = torch.nonzero(positive[lower] | positive[upper]).flatten()
    if touched.numel() == 0:
        return None
    begin, end = int(touched[0]), int(touched[-1]) + 1
    return begin, end, int(lower[begin:end].min()), int(upper[begin:end].max()) + 1


def _export_one(
    logits: torch.Tensor,
    axes: tuple[AxisOperator, AxisOperator, AxisOperator],
    threshold: float,
    packed: torch.Tensor,
) -> None:
    """Write the bits of one prompt: ``logits`` [d, h, w] → ``packed`` [D, H, ceil(W / 8)]."""
    field = logits.float() - threshold
    positive = field > 0
    plane = positive.any(dim=0)
    rows = (positive.flatten(1).any(dim=1), plane.any(dim=1), plane.any(dim=0))
    boxes = [_bounds(row, operator) for row, operator in zip(rows, axes)]
    if any(box is None for box in boxes):
        return
    (z0, z1, iz0, iz1), (y0, y1, iy0, iy1), (x0, x1, ix0, ix1) = boxes  # type: ignore[misc]
    x0, x1 = x0 // 8 * 8, min(-(-x1 // 8) * 8, axes[2].size_out)
    start_x = axes[2].start[x0:x1].long()
    ix0 = int(start_x.clamp(0, axes[2].size_in - 1).min())
    ix1 = int((start_x + axes[2].taps - 1).clamp_(0, axes[2].size_in - 1).max()) + 1
    crop = field[iz0:iz1, iy0:iy1, ix0:ix1]
    crop = torch.where(crop > -LIMIT, crop, -LIMIT).clamp_(max=LIMIT)
    along_y, along_x = axes[1].window(y0, y1), axes[2].window(x0, x1)
    planes = max(1, _CHUNK_ELEMENTS // ((y1 - y0) * (x1 - x0)))
    for z in range(z0, z1, planes):
        end = min(z + planes, z1)
        field = _blend(crop, 0, axes[0].window(z, end), iz0)
        field = _blend(_blend(field, 1, along_y, iy0), 2, along_x, ix0)
        packed[z:end, y0:y1, x0 // 8 : -(-x1 // 8)] = pack_bits(field > 0)


def export_pack(
    logits: torch.Tensor,
    axes: tuple[AxisOperator, AxisOperator, AxisOperator],
    *,
    threshold: float = 0.0,
) -> torch.Tensor:
    """Same contract as :func:`textseg3d_kernels.ops.export_pack.export_pack`.

    Only the bounding box of the outputs that read a positive input is evaluated: weights are
    not negative, so all other outputs are exactly background.
    """
    depth, height, width = (operator.size_out for operator in axes)
    shape = (logits.shape[0], depth, height, -(-width // 8))
    packed = torch.zeros(shape, dtype=torch.uint8, device=logits.device)
    if packed.numel() == 0 or logits.numel() == 0:
        return packed
    for prompt in range(logits.shape[0]):
        _export_one(logits[prompt], axes, threshold, packed[prompt])
    return packed
