"""From a window's features and what prompts made of them to weighted logits at full resolution.

A logit is a dot product with the full-resolution features plus the upsampled logits of stride 2,
which are made likewise of strides 4 and 8. Upsampling is linear, so it runs once per axis: a
small product along x, two blends along y and z. Products of prompts with features always have
the same number of rows (:func:`chunk_size`), empty ones included, and planes come in blocks that
are aligned to the window, so the bits of an answer depend neither on the other prompts nor on
how a volume was cut into slabs. On a GPU the product, the weights and the sum are one kernel (K1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from textseg3d.inference.windows import PLANES

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from textseg3d.inference.engine import WindowFeatures
    from textseg3d.networks.prompt_unet import PromptAnswer

_CPU_CHUNK, _GPU_CHUNK = 8, 32

Weights = tuple["Tensor", "Tensor", "Tensor"]


def chunk_size(device: torch.device) -> int:
    """Rows of every product of prompts with features: on a CPU eight cost about what one costs."""
    return _GPU_CHUNK if device.type == "cuda" else _CPU_CHUNK


@dataclass
class Rows:
    """Some prompts' answers on one window, padded to a whole chunk.

    Attributes:
        fine: [n, C] queries of the full-resolution features, in their dtype.
        half: float32 [n, D/2, H/2, W/2] logits of stride 2 with the finest bias; constants pass
            through upsampling unchanged.
        count: rows that are prompts.
    """

    fine: Tensor
    half: Tensor
    count: int


def prepare_rows(window: WindowFeatures, answer: PromptAnswer, rows: Sequence[int]) -> Rows:
    """Everything below full resolution, for some rows of the answers on a window."""
    import torch

    n = chunk_size(window.fine.device)
    index = torch.tensor([*rows, *[rows[0]] * (n - len(rows))], device=window.fine.device)
    fine, half, quarter = (q[index] for q in answer.queries)
    logits = answer.coarse[index].float()
    for features, query in ((window.features.quarter, quarter), (window.features.half, half)):
        logits = _double(logits).add_(_dot(features, query))
    logits += fine[:, -1].float()[:, None, None, None]
    return Rows(fine[:, :-1].to(window.fine.dtype), logits, len(rows))


def add_window(
    window: WindowFeatures, rows: Rows, weights: Weights, sums: Tensor, offset: Sequence[int]
) -> None:
    """Add the weighted logits of one window to sums, as far as it reaches into them.

    Args:
        window: its ``fine`` features [1, C, D, H, W], channels last.
        rows: of :func:`prepare_rows`.
        weights: float32 [D], [H], [W] of the window's voxels.
        sums: float32 [P, dz, h, w], P the number of prompts in ``rows``.
        offset: where the window's first voxel lies in ``sums`` (z, y, x); may be negative.
    """
    import torch

    from textseg3d.networks.kernels import kernels_for

    size = window.fine.shape[2:]
    inside, target = [], []
    for n, shift, limit in zip(size, offset, sums.shape[1:]):
        first, last = max(0, -shift), min(n, limit - shift)
        if first >= last:
            return
        inside.append(slice(first, last))
        target.append(slice(first + shift, last + shift))
    in_plane = _double_in_plane(rows.half[: rows.count])
    kernels = kernels_for(sums, window.fine)
    if kernels is not None:
        weight = _product(weights, inside)
        doubled = _double_axis(in_plane, 1)[(slice(None), *inside)]
        sums[(slice(None), *target)].addcmul_(doubled, weight)
        features = window.fine[0].permute(1, 2, 3, 0)
        query = rows.fine[: rows.count]
        zero = torch.zeros(rows.count, device=sums.device)
        kernels.head_accumulate(features, query, zero, weights, sums, tuple(offset))
        return
    in_plane = torch.cat([in_plane[:, :1], in_plane, in_plane[:, -1:]], dim=1)
    features = window.fine[0].permute(1, 2, 3, 0)
    logits = torch.empty((PLANES, *size[1:]), device=sums.device)
    plane = (weights[1][inside[1]][:, None] * weights[2][inside[2]])[None]
    for block in range(inside[0].start // PLANES * PLANES, inside[0].stop, PLANES):
        values = features[block : block + PLANES].reshape(-1, features.shape[3])
        dots = (rows.fine @ values.T)[: rows.count].float().view(-1, PLANES, *size[1:])
        first, last = max(block, inside[0].start), min(block + PLANES, inside[0].stop)
        part = (slice(first - block, last - block), *inside[1:])
        into = (slice(first + offset[0], last + offset[0]), *target[1:])
        weight = weights[0][first:last, None, None] * plane
        for row in range(rows.count):
            _blend_planes(in_plane[row], block // 2, logits)
            logits += dots[row]
            sums[row][into] += logits[part] * weight  # two roundings, whatever the shape


def window_logits(window: WindowFeatures, rows: Rows) -> Tensor:
    """The logits of one window without weights, float32 [P, D, H, W]."""
    import torch

    size = window.fine.shape[2:]
    sums = torch.zeros((rows.count, *size), device=window.fine.device)
    ones = [torch.ones(n, device=sums.device) for n in size]
    add_window(window, rows, (ones[0], ones[1], ones[2]), sums, (0, 0, 0))
    return sums


def _product(weights: Weights, part: Sequence[slice]) -> Tensor:
    z, y, x = (w[p] for w, p in zip(weights, part))
    return z[:, None, None] * (y[:, None] * x)


def _dot(features: Tensor, query: Tensor) -> Tensor:
    """[1, C, D, H, W] · [n, C + 1] → float32 [n, D, H, W]; the last entry is the bias."""
    rows = features[0].permute(1, 2, 3, 0).reshape(-1, features.shape[1])
    logits = (query[:, :-1].to(rows.dtype) @ rows.T).float()
    return (logits + query[:, -1:].float()).unflatten(1, features.shape[2:])


def _double(x: Tensor) -> Tensor:
    """Trilinear upsampling of [n, d, h, w] by 2 (align_corners=False)."""
    return _double_axis(_double_in_plane(x), 1)


def _double_in_plane(x: Tensor) -> Tensor:
    return _double_axis(x @ _doubling(x.shape[3], x.device), 2)


@lru_cache(maxsize=64)
def _doubling(n: int, device: torch.device) -> Tensor:
    """Upsampling by 2 along a row, as a matrix [n, 2n]."""
    import torch

    with torch.inference_mode(False):
        matrix = torch.zeros(2 * n, n)
        each = torch.arange(n)
        matrix[2 * each, each] = matrix[2 * each + 1, each] = 0.75
        matrix[2 * each, (each - 1).clamp(min=0)] += 0.25
        matrix[2 * each + 1, (each + 1).clamp(max=n - 1)] += 0.25
        return matrix.T.contiguous().to(device)


def _double_axis(x: Tensor, axis: int) -> Tensor:
    """Linear upsampling by 2 along one axis that is not the last."""
    import torch

    n = x.shape[axis]
    shape = list(x.shape)
    shape.insert(axis + 1, 2)
    out = x.new_empty(shape)
    even, odd = out.select(axis + 1, 0), out.select(axis + 1, 1)
    low, high = x.narrow(axis, 0, n - 1), x.narrow(axis, 1, n - 1)
    even.select(axis, 0).copy_(x.select(axis, 0))
    odd.select(axis, n - 1).copy_(x.select(axis, n - 1))
    if n > 1:
        torch.lerp(low, high, 0.75, out=even.narrow(axis, 1, n - 1))
        torch.lerp(low, high, 0.25, out=odd.narrow(axis, 0, n - 1))
    return out.flatten(axis, axis + 1)


def _blend_planes(padded: Tensor, first: int, out: Tensor) -> None:
    """Planes 2·first … of the upsampling along z into ``out`` [PLANES, H, W].

    ``padded`` [d + 2, H, W] repeats its outer planes.
    """
    import torch

    n = out.shape[0] // 2
    centre = padded[first + 1 : first + 1 + n]
    torch.lerp(padded[first : first + n], centre, 0.75, out=out[0::2])
    torch.lerp(centre, padded[first + 2 : first + 2 + n], 0.25, out=out[1::2])
