"""From planes on the network's grid to a label map on the scan's, as nnU-Net does.

Logits are interpolated and only then compared. That is done slab by slab, while planes come in,
so that the logits of all classes never exist on the scan's grid, nor on the network's; and only in
the cells where it can matter, see :mod:`textseg3d.inference.closed.cells`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.inference.accumulate import OUTSIDE_LOGIT
from textseg3d.inference.closed.cells import Slab, axis_map, class_codes, in_threads, label_slab
from textseg3d.inference.closed.network import LinearHead
from textseg3d.inference.closed.prepare import ClosedImage, thick_axis, to_canonical
from textseg3d.inference.closed.spec import ClosedSpec
from textseg3d.inference.masks import Box, PackedMask
from textseg3d.inference.regrid import AxisMap
from textseg3d.preprocessing.cubic import resample_image, spline_operator

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 32  # slices of the scan that are labelled at once
_LOOK_VALUES = 2**18  # logits that are looked at at once; they stay in the cache


@dataclass(frozen=True, eq=False)
class LabelMap:
    """What the network says about a scan.

    Attributes:
        values: [D, H, W] in canonical order.
        presence: per head, the largest probability of any voxel of the network's grid.
        logits: head → float32 [D, H, W], log odds against everything else, of heads kept.
    """

    values: NDArray[Any]
    presence: tuple[float, ...]
    logits: dict[int, NDArray[np.float32]]

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.values.nbytes + sum(kept.nbytes for kept in self.logits.values())

    def boxes(self) -> list[Box | None]:
        """Bounding box of each value from 1 on."""
        from scipy.ndimage import find_objects

        return list(find_objects(self.values))

    def mask(self, values: Sequence[int], boxes: Sequence[Box | None]) -> PackedMask:
        """Where the label map has any of ``values``; ``boxes`` are those of :meth:`boxes`."""
        shape = self.values.shape
        found = [boxes[v - 1] for v in values if 0 < v <= len(boxes)]
        inside = [box for box in found if box is not None]
        if not inside:
            return PackedMask.empty((shape[0], shape[1], shape[2]))
        z, y, x = (
            slice(min(b[a].start for b in inside), max(b[a].stop for b in inside)) for a in range(3)
        )
        crop = np.isin(self.values[z, y, x], list(values))
        return PackedMask.pack((shape[0], shape[1], shape[2]), (z, y, x), crop)


@dataclass(frozen=True)
class Piece:
    """Some rows of one axis's operator: rows of the scan, columns of the network's grid."""

    rows: slice
    columns: slice
    weights: NDArray[np.float64]


def axis_operators(spec: ClosedSpec, image: ClosedImage) -> list[NDArray[np.float64]]:
    """Per axis, the matrix [scan, network] that brings logits to the cropped scan's grid."""
    if image.operators is not None:
        return list(image.operators)
    rule = spec.logits_resampling
    apart = thick_axis(rule, spec.spacing, image.spacing_mm)
    shape = [s.stop - s.start for s in image.crop]
    operators: list[NDArray[np.float64]] = []
    for axis, (n, m) in enumerate(zip(image.inputs.shape[1:], shape)):
        if axis == apart:  # nearest slice
            unit = np.eye(n)[None, :, :, None]
            operators.append(resample_image(unit, (m, n, 1), order=0, axis=0)[0, :, :, 0].numpy())
        else:
            operators.append(spline_operator(n, m, rule.order))
    return operators


def label_scan(
    planes: Iterable[Tensor],
    spec: ClosedSpec,
    image: ClosedImage,
    keep: Iterable[int] = (),
    *,
    head: LinearHead | None = None,
) -> LabelMap:
    """Label every voxel of the scan.

    Args:
        planes: logits [heads, b, c] of the network's grid, first axis in order; with ``head``
            what it makes logits of.
        spec: the model.
        image: the scan.
        keep: heads whose log odds are wanted too.
        head: last layer of the network, where ``planes`` are what comes before it.
    """
    import torch

    table = np.array((0, *spec.labels) if spec.regions else spec.labels)
    table = table.astype(np.uint8 if max(spec.labels) < 256 else np.uint16)
    labels = np.zeros(image.shape, dtype=table.dtype)
    kept = {h: np.full(image.shape, OUTSIDE_LOGIT, np.float32) for h in dict.fromkeys(keep)}
    bands, *across = (operator_pieces(m) for m in axis_operators(spec, image))
    maps = [axis_map(m) for m in axis_operators(spec, image)]
    source = _Source(planes, head, spec, image.grid.region)
    for band in bands:
        slab = source.slab(band.columns)
        along, columns = maps[0].part(band.rows), band.columns
        high = np.minimum(along.high, columns.stop - 1)
        along = AxisMap(along.low - columns.start, high - columns.start, along.weight)
        start = image.crop[0].start
        rows = slice(start + band.rows.start, start + band.rows.stop)
        target = labels[(rows, *image.crop[1:])]
        label_slab(target, slab, [along, *maps[1:]])
        if not np.array_equal(table, np.arange(len(table))):
            target[...] = table[target]
        for second, third in product(*across) if kept else ():
            logits = _block(slab, second.columns, third.columns)
            place = (
                rows,
                *(
                    slice(c.start + p.rows.start, c.start + p.rows.stop)
                    for c, p in zip(image.crop[1:], (second, third))
                ),
            )
            every = interpolate_block(logits, [band.weights, second.weights, third.weights])
            for number, volume in kept.items():
                volume[place] = _odds(every, number, regions=spec.regions).cpu().numpy()
        del slab  # before the network goes on
    source.finish()
    best = torch.zeros(len(spec.labels)) if source.best is None else source.best
    return LabelMap(
        to_canonical(labels, image.volume, spec),
        tuple(best.tolist()),
        {number: to_canonical(v, image.volume, spec) for number, v in kept.items()},
    )


def _block(slab: Slab, rows: slice, columns: slice) -> Tensor:
    """Logits [heads, n, rows, columns] of a part of a slab."""
    import torch

    n, b, c = slab.codes.shape
    index = torch.arange(n * b * c, device=slab.features.device).view(n, b, c)[:, rows, columns]
    found = slab.logits(index.flatten())
    return found.view(-1, *index.shape)


def operator_pieces(operator: NDArray[np.float64]) -> list[Piece]:
    """The rows of an operator in runs of :data:`BLOCK`, each with the columns that it needs."""
    pieces = []
    for first in range(0, len(operator), BLOCK):
        rows = slice(first, min(first + BLOCK, len(operator)))
        used = np.flatnonzero(operator[rows].any(axis=0))
        columns = slice(int(used[0]), int(used[-1]) + 1)
        pieces.append(Piece(rows, columns, operator[rows, columns]))
    return pieces


class _Source:
    """Planes as they come, the few that are still needed, and the largest probabilities."""

    def __init__(
        self,
        planes: Iterable[Tensor],
        head: LinearHead | None,
        spec: ClosedSpec,
        covered: tuple[slice, slice, slice],
    ) -> None:
        self.best: Tensor | None = None
        self._planes: Iterator[Tensor] = iter(planes)
        self._head, self._regions, self._covered = head, spec.regions, covered
        self._near: dict[int, tuple[Tensor, NDArray[Any]]] = {}
        self._next = 0

    def slab(self, columns: slice) -> Slab:
        """Planes ``columns``; earlier ones are forgotten."""
        import torch

        self._near = {z: seen for z, seen in self._near.items() if z >= columns.start}
        first = self._next
        fresh = list(islice(self._planes, max(0, columns.stop - first)))
        for number, seen in enumerate(self._look(fresh), start=first):
            if number >= columns.start:
                self._near[number] = seen
        del fresh
        planes = [self._near[n] for n in range(columns.start, columns.stop)]
        features = torch.stack([plane for plane, _ in planes], dim=1)
        outside = np.ones(features.shape[1:], bool)
        z, y, x = self._covered
        inside = slice(max(0, z.start - columns.start), max(0, z.stop - columns.start))
        outside[inside, y, x] = False
        codes = np.stack([codes for _, codes in planes])
        nowhere = outside if outside.any() else None
        return Slab(features, codes, nowhere, self._head, self._regions)

    def finish(self) -> None:
        """Look at the planes that no voxel of the scan needed."""
        while fresh := list(islice(self._planes, BLOCK)):
            self._look(fresh)

    def _look(self, planes: Sequence[Tensor]) -> list[tuple[Tensor, NDArray[Any]]]:
        """The next planes with their codes [b, c]; background where no window ran."""
        if not planes:
            return []
        z, y, x = self._covered
        first, self._next = self._next, self._next + len(planes)
        seen = [
            plane[:, y, x] if z.start <= number < z.stop else plane[:, :0, :0]
            for number, plane in enumerate(planes, start=first)
        ]
        found = []
        for plane, part, looked in zip(
            planes, seen, in_threads(self._codes, seen, planes[0].device)
        ):
            codes = np.zeros(plane.shape[1:], np.uint8)
            if looked is not None:
                here, best = looked
                codes = codes.astype(here.dtype)
                codes[y, x] = here.reshape(part.shape[1:])
                self.best = best if self.best is None else best.maximum(self.best)
            found.append((plane, codes))
        return found

    def _codes(self, seen: Tensor) -> tuple[NDArray[Any], Tensor] | None:
        """Codes [n] of a part of a plane [channels, b, c], and the largest probabilities there."""
        import torch

        if not seen.numel():
            return None
        every = seen.flatten(1).T
        head, best = self._head, []
        codes = []
        heads = every.shape[1] if head is None else len(head.bias)
        with torch.inference_mode():
            for logits in every.split(max(1, _LOOK_VALUES // heads)):
                if head is not None:
                    logits = torch.addmm(head.bias, logits, head.weight.T)
                logits = logits.contiguous()
                if self._regions:
                    best.append(logits.amax(dim=0).sigmoid())
                else:
                    best.append(logits.sub(logits.logsumexp(dim=1, keepdim=True)).amax(dim=0).exp())
                codes.append(class_codes(logits, regions=self._regions))
            return np.concatenate(codes), torch.stack(best).amax(dim=0)


def interpolate_block(block: Tensor, pieces: Sequence[NDArray[np.float64]]) -> Tensor:
    """[k, a, b, c] → [k, a', b', c'], the axis that grows least first."""
    import torch

    for axis in sorted(range(3), key=lambda a: pieces[a].shape[0] / pieces[a].shape[1]):
        matrix = pieces[axis]
        if matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.eye(len(matrix))):
            continue
        weights = torch.tensor(matrix, dtype=block.dtype, device=block.device)
        if axis == 0:
            k, _, b, c = block.shape
            block = (weights @ block.flatten(2)).view(k, -1, b, c)
        elif axis == 1:
            block = weights @ block
        else:
            block = torch.nn.functional.linear(block, weights)
    return block


def _odds(logits: Tensor, head: int, *, regions: bool) -> Tensor:
    """Log odds of one head against all others together."""
    import torch

    if regions or len(logits) == 1:
        return logits[head]
    others = torch.cat([logits[:head], logits[head + 1 :]])
    return logits[head] - others.logsumexp(dim=0)
