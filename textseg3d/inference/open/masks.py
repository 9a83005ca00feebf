"""From planes on the network's grid to one bit-packed mask per text on the scan's grid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.inference.accumulate import OUTSIDE_LOGIT
from textseg3d.inference.closed.labels import interpolate_block, operator_pieces
from textseg3d.inference.masks import PackedMask

if TYPE_CHECKING:
    from torch import Tensor


class MaskGrid:
    """Masks [a, b, c] of several texts, eight voxels a byte.

    Args:
        shape: of the scan, axes as the network has them.
        texts: how many.
        keep: also keep the values.
    """

    def __init__(self, shape: Sequence[int], texts: int, *, keep: bool) -> None:
        self.shape = tuple(shape)
        size = (texts, self.shape[0], self.shape[1], (self.shape[2] + 7) // 8)
        self._bits = np.zeros(size, dtype=np.uint8)
        self.values: list[NDArray[np.float32]] = [
            np.full(self.shape, OUTSIDE_LOGIT, np.float32) for _ in range(texts if keep else 0)
        ]

    def put(self, place: Sequence[slice], values: NDArray[np.float32]) -> None:
        """Where ``values`` [texts, …] of a block are above 0; blocks of a row never overlap.

        ``place`` may start anywhere; bits that other blocks wrote stay.
        """
        z, y, x = place
        if self.values:
            for kept, value in zip(self.values, values):
                kept[z, y, x] = value
        found = values > 0
        if not found.any():
            return
        lead = x.start % 8
        if lead:
            found = np.concatenate([np.zeros((*found.shape[:3], lead), bool), found], axis=3)
        packed = np.packbits(found, axis=3)
        first = x.start // 8
        self._bits[:, z, y, first : first + packed.shape[3]] |= packed

    def mask(self, text: int) -> NDArray[np.bool_]:
        """One text's mask, unpacked."""
        return np.unpackbits(self._bits[text], axis=2, count=self.shape[2]).view(bool)


def fill_masks(
    planes: Iterable[Tensor],
    operators: Sequence[NDArray[np.float64]],
    crop: Sequence[slice],
    grid: MaskGrid,
) -> list[float]:
    """Bring planes to the scan's grid, block by block, and keep where they are above 0.

    Args:
        planes: [texts, b, c] of the network's grid, first axis in order.
        operators: per axis the matrix [scan, network].
        crop: part of the scan that they cover.
        grid: the masks.

    Returns:
        Each text's largest value on the network's grid.
    """
    import torch

    bands, *across = (operator_pieces(m) for m in operators)
    blocks = list(product(*across))
    source = enumerate(planes)
    near: dict[int, Tensor] = {}
    newest = -1
    best: Tensor | None = None

    def look(plane: Tensor) -> None:
        nonlocal best
        here = plane.amax(dim=(1, 2))
        best = here if best is None else best.maximum(here)

    for band in bands:
        near = {z: plane for z, plane in near.items() if z >= band.columns.start}
        while newest < band.columns.stop - 1:
            newest, plane = next(source)
            look(plane)
            if newest >= band.columns.start:
                near[newest] = plane
        slab = torch.stack([near[z] for z in range(band.columns.start, band.columns.stop)], dim=1)
        for second, third in blocks:
            block = slab[:, :, second.columns, third.columns]
            if not grid.values and not bool((block > 0).any()):
                continue
            fine = interpolate_block(block, [band.weights, second.weights, third.weights])
            place = [
                slice(c.start + p.rows.start, c.start + p.rows.stop)
                for c, p in zip(crop, (band, second, third))
            ]
            grid.put(place, fine.cpu().numpy())
    for _, plane in source:
        look(plane)
    return [] if best is None else [float(value) for value in best]


def pack(mask: NDArray[np.bool_]) -> PackedMask:
    """A mask [D, H, W] inside its bounding box."""
    z, y, x = mask.shape
    box: list[slice] = []
    for axis in range(3):
        hit: Any = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if not hit.size:
            return PackedMask.empty((z, y, x))
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return PackedMask.pack((z, y, x), (box[0], box[1], box[2]), mask[tuple(box)])
