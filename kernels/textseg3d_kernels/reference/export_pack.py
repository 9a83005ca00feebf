"""PyTorch implementation of K2 (see ``ops/export_pack.py``)."""

from __future__ import annotations

import torch

from textseg3d_kernels.operators import AxisOperator

LIMIT = 1.0e30
_CHUNK_ELEMENTS = 1 << 18
"""Output voxels per chunk of planes: 1 MB in float32, so they stay in the cache of one core."""


def pack_first_axis(mask: torch.Tensor) -> torch.Tensor:
    """Pack the first axis of a bool tensor, 8 to a byte, first element in the highest bit.

    Args:
        mask: bool [W, ...].

    Returns:
        uint8 [ceil(W / 8), ...], equal to ``numpy.packbits(mask, axis=0)``.
    """
    packed = torch.zeros(-(-mask.shape[0] // 8), *mask.shape[1:], dtype=torch.uint8)
    packed = packed.to(mask.device)
    bits = mask.view(torch.uint8)
    for lane in range(8):
        part = bits[lane::8]
        packed[: part.shape[0]].add_(part, alpha=1 << (7 - lane))
    return packed


def _blend(field: torch.Tensor, axis: int, operator: AxisOperator, shift: int) -> torch.Tensor:
    """Apply an operator of at most two taps along one axis of three.

    ``shift`` is the first input index that the field holds. The products and the sum are rounded
    one by one, as the kernel does it.
    """
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
        field = _blend(field, 1, along_y, iy0).permute(2, 0, 1).contiguous()
        bits = pack_first_axis(_blend(field, 0, along_x, ix0) > 0)
        packed[z:end, y0:y1, x0 // 8 : -(-x1 // 8)] = bits.permute(1, 2, 0)


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
