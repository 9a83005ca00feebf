"""Labels on the scan's grid out of classes on the network's, cell by cell.

Interpolation of order 0 and 1 is a convex combination of the corners of a cell. Where all corners
have the same largest class, or the same regions, so has everything in between: it is copied. In
the other cells no class can win whose largest corner lies below the smallest corner of another
one; what is left, two or three classes as a rule, is interpolated and compared. The result is the
same voxel by voxel as that of interpolating everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.inference.accumulate import OUTSIDE_LOGIT
from textseg3d.inference.regrid import AxisCells, AxisMap

if TYPE_CHECKING:
    from torch import Tensor

    from textseg3d.inference.closed.network import LinearHead

_CORNER_VALUES = 2**21  # logits of corners that are looked at at once
_FINE_VALUES = 2**21  # interpolated at once
_FEW = (2, 3, 4, 6, 8, 16, 32, 64, 128, 256)  # classes of a cell, rounded up to one of these


def axis_map(operator: NDArray[np.float64]) -> AxisMap:
    """The two samples that each row of an operator [out, in] of order 0 or 1 lies between."""
    used = operator != 0
    low = used.argmax(axis=1)
    high = np.minimum(low + 1, operator.shape[1] - 1)
    weight = np.where(high > low, operator[np.arange(len(operator)), high], 0.0)
    return AxisMap(low, high, weight.astype(np.float32))


def class_codes(logits: Tensor, *, regions: bool) -> NDArray[Any]:
    """What each row of logits [n, heads] says, as a number.

    Returns:
        The head of the largest logit; with ``regions`` one more than the last positive head, 0
        where none is. uint8 or uint16 [n].
    """
    import torch

    dtype = np.uint8 if logits.shape[1] < 256 else np.uint16
    if regions:
        number = torch.arange(1, logits.shape[1] + 1, device=logits.device)
        return ((logits > 0) * number).amax(dim=1).cpu().numpy().astype(dtype)
    if logits.device.type == "cpu":  # numpy's is ten times as fast there
        return np.argmax(logits.numpy(), axis=1).astype(dtype)
    return logits.argmax(dim=1).cpu().numpy().astype(dtype)


@dataclass(frozen=True, eq=False)
class Slab:
    """Some planes of the network's grid.

    Attributes:
        features: [channels, n, b, c].
        codes: [n, b, c], of :func:`class_codes`.
        outside: bool [n, b, c], where no window ran; None if they ran everywhere.
        head: last layer, where features are not logits yet.
        regions: heads are regions, not classes.
    """

    features: Tensor
    codes: NDArray[Any]
    outside: NDArray[np.bool_] | None
    head: LinearHead | None
    regions: bool

    def logits(self, index: Tensor) -> Tensor:
        """Logits [heads, n] of voxels [n] of the flattened planes."""
        import torch

        found = self.features.flatten(1)[:, index]
        found = found if self.head is None else self.head(found)
        if self.outside is not None:
            nothing = torch.full((len(found), 1), OUTSIDE_LOGIT, device=found.device)
            if not self.regions:
                nothing[0] = -OUTSIDE_LOGIT
            where = torch.from_numpy(self.outside.ravel()).to(found.device)[index]
            found = torch.where(where, nothing, found)
        return found


def label_slab(target: NDArray[Any], slab: Slab, maps: Sequence[AxisMap]) -> None:
    """Write the codes of some slices of the scan.

    Args:
        target: [a', b', c'] to be filled.
        slab: the planes between which they lie.
        maps: per axis from ``target`` to ``slab``.
    """
    import torch

    cells = [AxisCells.of(m) for m in maps]
    least = most = slab.codes
    for axis, along in enumerate(cells):
        least = np.minimum(least.take(along.low, axis), least.take(along.high, axis))
        most = np.maximum(most.take(along.low, axis), most.take(along.high, axis))
    rough = slab.codes
    for axis in (2, 1, 0):  # rows and planes are copied whole
        rough = rough.take(maps[axis].low, axis)
    target[...] = rough
    where = np.nonzero(least != most)
    heads = len(slab.features) if slab.head is None else len(slab.head.bias)
    step = max(1, _CORNER_VALUES // (8 * heads))
    with torch.inference_mode():
        for first in range(0, len(where[0]), step):
            chosen = [w[first : first + step] for w in where]
            _decide(target, slab, cells, chosen)


def _decide(
    target: NDArray[Any],
    slab: Slab,
    cells: Sequence[AxisCells],
    chosen: Sequence[NDArray[np.int64]],
) -> None:
    """Interpolate in the cells ``chosen``, number by number of the classes that may win."""
    import torch

    _, b, c = slab.codes.shape
    z, y, x = ([k.low[i], k.high[i]] for k, i in zip(cells, chosen))
    corners = [(at_z * b + at_y) * c + at_x for at_z in z for at_y in y for at_x in x]
    index = torch.from_numpy(np.concatenate(corners)).to(slab.features.device)
    logits = slab.logits(index).view(-1, 8, len(chosen[0]))
    high = logits.amax(dim=1)
    possible = high > 0 if slab.regions else high >= logits.amin(dim=1).amax(dim=0)
    number = possible.sum(dim=0).cpu().numpy()
    heads, width, before = len(logits), len(chosen[0]), 0
    corner = torch.arange(8, device=logits.device)[:, None] * width
    for limit in (*(n for n in _FEW if n < heads), heads):
        group = np.flatnonzero((number > before) & (number <= limit))
        before = limit
        room = int(np.prod([k.out.shape[1] for k in cells])) * limit
        step = max(1, _FINE_VALUES // room)
        for first in range(0, len(group), step):
            part = group[first : first + step]
            at = torch.from_numpy(part).to(logits.device)
            table = _table(possible[:, at], limit)
            values = logits.take(table[:, None] * (8 * width) + corner + at)
            here = [i[part] for i in chosen]
            fine = _interpolated(values, [k.weight[i] for k, i in zip(cells, here)])
            codes = _winners(fine, table, regions=slab.regions)
            out_z, out_y, out_x = (k.out[i].T for k, i in zip(cells, here))
            target[out_z[:, None, None], out_y[:, None], out_x] = codes


def _table(possible: Tensor, size: int) -> Tensor:
    """Heads that may win [size, n], in order; the first one again where there are fewer."""
    import torch

    cell, head = possible.T.nonzero(as_tuple=True)
    count = possible.sum(dim=0)
    start = count.cumsum(0) - count
    table = head[start].expand(size, -1).clone()
    table[torch.arange(len(head), device=head.device) - start[cell], cell] = head
    return table


def _interpolated(values: Tensor, weights: Sequence[NDArray[np.float32]]) -> Tensor:
    """Corners [k, 8, n] → [k, z, y, x, n] by the weights [n, outputs] of the upper corners."""
    import torch

    z, y, x = (torch.from_numpy(w.T.copy()).to(values.device) for w in weights)
    k, _, n = values.shape
    block = values.view(k, 2, 2, 2, n)
    block = torch.lerp(block[:, :, :, 0, None], block[:, :, :, 1, None], x)
    block = torch.lerp(block[:, :, 0, None], block[:, :, 1, None], y[:, None])
    return torch.lerp(block[:, 0, None], block[:, 1, None], z[:, None, None])


def _winners(fine: Tensor, table: Tensor, *, regions: bool) -> NDArray[Any]:
    """Codes [z, y, x, n] of logits [k, z, y, x, n] whose heads are ``table`` [k, n]."""
    import torch

    numbers = table.to(torch.int16)
    if regions:
        codes = torch.zeros(fine.shape[1:], dtype=torch.int16, device=fine.device)
        for part, head in zip(fine, numbers):
            codes = torch.where(part > 0, head + 1, codes)
        return codes.cpu().numpy()
    best, codes = fine[0], numbers[0].expand(fine.shape[1:])
    for part, head in zip(fine[1:], numbers[1:]):
        codes = torch.where(part > best, head, codes)
        best = torch.maximum(best, part)
    return codes.cpu().numpy()
