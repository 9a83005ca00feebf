"""Labels on the scan's grid out of classes on the network's, cell by cell.

Interpolation of order 0 and 1 is a convex combination of the corners of a cell. Where all corners
have the same largest class, or the same regions, so has everything in between: it is copied. In
the other cells no class can win whose largest corner lies below the smallest corner of another
one; what is left, two or three classes as a rule, is interpolated and compared. The result is the
same voxel by voxel as that of interpolating everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from textseg3d.inference.accumulate import OUTSIDE_LOGIT
from textseg3d.inference.parallel import in_order, single_threaded, workers
from textseg3d.inference.regrid import AxisCells, AxisMap

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from textseg3d.inference.closed.network import LinearHead

Item = TypeVar("Item")
Result = TypeVar("Result")
_CORNER_VALUES = 2**19  # logits of corners that are looked at at once; they stay in the cache
_FINE_VALUES = 2**18  # interpolated at once
_PART_CELLS = 2**14  # that one thread decides before the next part
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

    @property
    def heads(self) -> int:
        """Classes or regions."""
        return len(self.features) if self.head is None else len(self.head.bias)

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
    parts = [
        [w[first : first + _PART_CELLS] for w in where]
        for first in range(0, len(where[0]), _PART_CELLS)
    ]

    def decide(chosen: Sequence[NDArray[np.int64]]) -> None:
        with torch.inference_mode():
            _decide(target, slab, cells, chosen)

    in_threads(decide, parts, slab.features.device)


def in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], device: torch.device
) -> list[Result]:
    """Results in order; on a CPU in as many threads as torch may use, of one thread each."""
    several = workers() if device.type == "cpu" else 1
    if min(several, len(items)) < 2:
        return [function(item) for item in items]
    with single_threaded():
        return list(in_order(function, items, several))


def _decide(
    target: NDArray[Any],
    slab: Slab,
    cells: Sequence[AxisCells],
    chosen: Sequence[NDArray[np.int64]],
) -> None:
    """Interpolate in the cells ``chosen``, number by number of the classes that may win."""
    import torch

    number, head, corners = _possible(slab, cells, chosen)
    start = number.cumsum(0) - number
    device, before = head.device, 0
    heads = slab.heads
    for limit in (*(n for n in _FEW if n < heads), heads):
        group = ((number > before) & (number <= limit)).nonzero()[:, 0]
        before = limit
        room = int(np.prod([k.out.shape[1] for k in cells])) * limit
        count = torch.arange(limit, device=device)[:, None]
        for part in group.split(max(1, _FINE_VALUES // room)):
            at = start[part] + count * (count < number[part])  # the first again behind the last
            table = head[at]
            here = [i[part.cpu().numpy()] for i in chosen]
            values = corners[at].transpose(1, 2).contiguous()
            fine = _interpolated(values, [k.weight[i] for k, i in zip(cells, here)])
            codes = _winners(fine, table, regions=slab.regions)
            out_z, out_y, out_x = (k.out[i].T for k, i in zip(cells, here))
            target[out_z[:, None, None], out_y[:, None], out_x] = codes


def _possible(
    slab: Slab, cells: Sequence[AxisCells], chosen: Sequence[NDArray[np.int64]]
) -> tuple[Tensor, Tensor, Tensor]:
    """The heads that may win in the cells ``chosen``.

    Returns:
        How many they are per cell [n]; they, cell by cell and in order [m]; and their logits at
        the corners [m, 8].
    """
    import torch

    _, b, c = slab.codes.shape
    numbers, heads, values = [], [], []
    step = max(1, _CORNER_VALUES // (8 * slab.heads))
    for first in range(0, len(chosen[0]), step):
        here = [i[first : first + step] for i in chosen]
        width = len(here[0])
        z, y, x = ([k.low[i], k.high[i]] for k, i in zip(cells, here))
        corners = [(at_z * b + at_y) * c + at_x for at_z in z for at_y in y for at_x in x]
        index = torch.from_numpy(np.concatenate(corners)).to(slab.features.device)
        logits = slab.logits(index).view(-1, 8, width)
        high = logits.amax(dim=1)
        possible = high > 0 if slab.regions else high >= logits.amin(dim=1).amax(dim=0)
        cell, head = possible.T.contiguous().nonzero(as_tuple=True)
        numbers.append(torch.bincount(cell, minlength=width))
        heads.append(head)
        values.append(logits[head, :, cell])
    return torch.cat(numbers), torch.cat(heads), torch.cat(values)


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
