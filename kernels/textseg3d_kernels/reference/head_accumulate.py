"""PyTorch implementation of K1 (see ``ops/head_accumulate.py``)."""

from __future__ import annotations

import torch

_CHUNK_ELEMENTS = 1 << 18
"""Features or logits per chunk of planes: 1 MB in float32, so they stay in a core's cache."""


def overlap(
    window: tuple[int, ...], slab: tuple[int, ...], offset: tuple[int, int, int]
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """First window voxel inside the slab and extent of the overlap (0 where there is none)."""
    begin = tuple(max(0, -shift) for shift in offset)
    end = [min(length, limit - shift) for length, limit, shift in zip(window, slab, offset)]
    size = tuple(max(0, stop - start) for start, stop in zip(begin, end))
    return begin, size  # type: ignore[return-value]


def head_accumulate(
    features: torch.Tensor,
    queries: torch.Tensor,
    bias: torch.Tensor,
    weights: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    slab: torch.Tensor,
    offset: tuple[int, int, int],
    *,
    flip: tuple[bool, bool, bool] = (False, False, False),
) -> torch.Tensor:
    """Same contract as :func:`textseg3d_kernels.ops.head_accumulate.head_accumulate`."""
    begin, size = overlap(features.shape[:3], slab.shape[1:], offset)
    if 0 in size or queries.shape[0] == 0:
        return slab
    mirrored = [axis for axis, flipped in enumerate(flip) if flipped]
    cut = tuple(slice(start, start + length) for start, length in zip(begin, size))
    features = (features.flip(mirrored) if mirrored else features)[cut]
    depth, height, width = size
    weight_z, weight_y, weight_x = (table[part] for table, part in zip(weights, cut))
    plane = (weight_y[:, None] * weight_x[None, :]).float()
    head = queries.to(features.dtype).float()
    target = slab[
        :,
        begin[0] + offset[0] : begin[0] + offset[0] + depth,
        begin[1] + offset[1] : begin[1] + offset[1] + height,
        begin[2] + offset[2] : begin[2] + offset[2] + width,
    ]
    prompts = head.shape[0]
    planes = max(1, _CHUNK_ELEMENTS // (max(head.shape) * height * width))
    for z in range(0, depth, planes):
        chunk = features[z : z + planes].float()
        count = chunk.shape[0]
        voxels = chunk.reshape(-1, chunk.shape[-1])
        logits = torch.addmm(bias.float()[:, None], head, voxels.t())
        weight = weight_z[z : z + planes].float()[:, None, None] * plane
        logits = logits.view(prompts, count, height, width)
        part = target[:, z : z + planes]
        if part.dtype == torch.float32:
            part.addcmul_(logits, weight)
        else:
            part.copy_(torch.addcmul(part.float(), logits, weight))
    return slab
