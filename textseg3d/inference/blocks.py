"""Logits at full resolution only where a prompt's surface can be.

Windows of a default grid start whole blocks of 8×8×8 voxels apart. Of every window and prompt the
logits of stride 2 are made everywhere; the full-resolution features only correct them. A block is
looked at no closer where these logits, in the block and one cell around it, are all at least
:data:`MARGIN` below the threshold, or all that far above it, in every window that covers the
block: there the answer is their sign. All other blocks are computed as without any shortcut, in
products of one fixed shape, so that their bits do not depend on what else is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.inference.accumulate import OUTSIDE_LOGIT
from textseg3d.inference.head import Weights, prepare_rows
from textseg3d.inference.windows import BLOCK, Triple, WindowGrid

if TYPE_CHECKING:
    from torch import Tensor

    from textseg3d.inference.slabs import Asked

MARGIN = 3.0
"""In logits. See docs/performance.md for how many voxels this changes."""
_HALF = BLOCK // 2
_TOGETHER = 64  # blocks of one product
_ROW = 2  # voxels of a row that one product takes at once
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Boxed:
    """Logits of one prompt in a box of the volume; far below the threshold around it.

    Attributes:
        corner: first voxel of the box (z, y, x).
        values: float32 [z, y, x].
    """

    corner: Triple
    values: NDArray[np.float32]

    def last_plane(self, plane: int) -> Boxed | None:
        """The part in one plane of the volume, if that is the last of the box."""
        z, y, x = self.corner
        if z + len(self.values) != plane + 1:
            return None
        return Boxed((plane, y, x), self.values[-1:].copy())


@dataclass(frozen=True)
class _Window:
    """One window with the blocks of it that count: layers ``first`` to ``end`` along z.

    Attributes:
        asked: the window and all answers.
        place: its first block on the grid of blocks, of which layer 0 is the first that counts.
        layers: blocks along z of the window that count.
        half: float32 [P, D/2 + 2, H/2 + 2, W/2 + 2], logits of stride 2, edges repeated.
        query: [n, C] of the full-resolution features, a whole chunk.
        weights: float32 [D], [H], [W].
        alone: no other window overlaps it, so that all weights are 1.
    """

    asked: Asked
    place: Triple
    layers: slice
    half: Tensor
    query: Tensor
    weights: Weights
    alone: bool


def block_logits(
    grid: WindowGrid,
    reaching: Sequence[tuple[Asked, Weights]],
    prompts: Sequence[int],
    planes: tuple[int, int],
    margin: float | None,
    *,
    whole: bool = False,
) -> tuple[list[Boxed | None], list[Boxed | None]]:
    """Logits of some prompts on planes whose windows are all there.

    Args:
        grid: aligned windows.
        reaching: windows that reach into the planes, in order, and their weights.
        prompts: rows of the answers, a chunk of them at most.
        planes: first, and the one after the last.
        margin: see :data:`MARGIN`; None computes everything.
        whole: all logits are wanted, too.

    Returns:
        For each prompt the smallest box of blocks that are not far below the threshold, cut to
        planes and volume, None if there are none; and, if wanted, boxes of all logits.
    """
    start, stop = planes
    origin = [s[0] for s in grid.starts]
    first, end = (start - origin[0]) // BLOCK, -(-(stop - origin[0]) // BLOCK)
    counts = [(s[-1] - s[0] + n) // BLOCK for s, n in zip(grid.starts, grid.size)]
    shape = (end - first, counts[1], counts[2])
    windows = [_window(grid, asked, weights, prompts, first, end) for asked, weights in reaching]
    state = _states(windows, len(prompts), shape, margin)
    everything = np.where(state == _UNCOVERED, _UNCOVERED, _OPEN).astype(np.int8)
    looked_at = (everything if whole else state) == _OPEN
    *blocks, rows = np.nonzero(looked_at.transpose(1, 2, 3, 0))  # block by block
    jobs = (rows, *blocks)
    sums = _evaluate(windows, jobs, divide=bool(grid.skipped)).numpy()
    limits = [(start, stop), *((s.start, s.stop) for s in grid.region[1:])]
    corner = (origin[0] + first * BLOCK, origin[1], origin[2])

    def boxes(states: NDArray[np.int8]) -> list[Boxed | None]:
        wanted = states[jobs] == _OPEN
        found = []
        for prompt, known in enumerate(states):
            own = np.flatnonzero(wanted & (jobs[0] == prompt))
            blocks = [axis[own] for axis in jobs[1:]]
            found.append(_boxed(known, blocks, sums[own], corner, limits))
        return found

    return boxes(state), boxes(everything) if whole else []


_BELOW, _OPEN, _ABOVE, _UNCOVERED = -1, 0, 1, -2


def _window(
    grid: WindowGrid,
    asked: Asked,
    weights: Weights,
    prompts: Sequence[int],
    first: int,
    end: int,
) -> _Window:
    from torch.nn.functional import pad

    rows = prepare_rows(asked.window, asked.answer, prompts)
    half = pad(rows.half[: rows.count, None], (1,) * 6, mode="replicate")[:, 0]
    z, y, x = ((s - o[0]) // BLOCK for s, o in zip(asked.window.start, grid.starts))
    layers = slice(max(0, first - z), min(grid.size[0] // BLOCK, end - z))
    alone = all(len(starts) == 1 for starts in grid.starts)
    return _Window(asked, (z - first, y, x), layers, half, rows.fine, weights, alone)


def _states(
    windows: Sequence[_Window], prompts: int, shape: Triple, margin: float | None
) -> NDArray[np.int8]:
    """What is known of each block [P, *shape]: uncovered, far below, far above, or open."""
    covered = np.zeros(shape, bool)
    below, above = np.ones((2, prompts, *shape), bool)
    for window in windows:
        target = _target(window)
        covered[target] = True
        if margin is not None:
            low, high = _extremes(window.half, window.layers)
            below[(slice(None), *target)] &= high < -margin
            above[(slice(None), *target)] &= low > margin
    state = np.full((prompts, *shape), _OPEN, np.int8)
    if margin is not None:
        state[below] = _BELOW
        state[above] = _ABOVE
    state[:, ~covered] = _UNCOVERED
    return state


def _target(window: _Window) -> tuple[slice, slice, slice]:
    """Blocks of a window on the grid of blocks."""
    z, y, x = window.place
    height, width = (n // _HALF for n in window.half.shape[2:])
    layers = slice(window.layers.start + z, window.layers.stop + z)
    return layers, slice(y, y + height), slice(x, x + width)


def _extremes(half: Tensor, layers: slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Smallest and largest logit of stride 2 of each block and one cell around it, [P, z, y, x]."""
    import torch

    cut = half[:, layers.start * _HALF : layers.stop * _HALF + 2]
    found = []
    for choose in (torch.minimum, torch.maximum):
        values = cut
        for axis in (1, 2, 3):
            blocks = (values.shape[axis] - 2) // _HALF
            parts = [
                values[(slice(None),) * axis + (slice(i, i + (blocks - 1) * _HALF + 1, _HALF),)]
                for i in range(_HALF + 2)
            ]
            result = choose(parts[0], parts[1])
            for part in parts[2:]:
                choose(result, part, out=result)
            values = result
        found.append(values.numpy())
    return found[0], found[1]


def _evaluate(windows: Sequence[_Window], jobs: tuple[Any, ...], *, divide: bool) -> Tensor:
    """Weighted sums over the windows, float32 [N, 512], of N blocks (prompt, z, y, x)."""
    import torch

    sums = torch.zeros((len(jobs[0]), BLOCK**3))
    cover = torch.zeros_like(sums) if divide else None
    for window in windows:
        target = _target(window)
        inside = np.ones(len(sums), bool)
        for axis, part in zip(jobs[1:], target):
            inside &= (axis >= part.start) & (axis < part.stop)
        chosen = np.flatnonzero(inside)
        prompt = jobs[0][chosen]
        block = [axis[chosen] - place for axis, place in zip(jobs[1:], window.place)]
        values = _fine(window, prompt, block)
        for begin in range(0, len(chosen), _TOGETHER):
            part = slice(begin, begin + _TOGETHER)
            count = len(chosen[part])
            at = [torch.from_numpy(np.resize(a[part], _TOGETHER)) for a in (prompt, *block)]
            into = torch.from_numpy(chosen[part])
            logits = _add_coarse(window, at, values[part])
            if not window.alone:
                weight = _weights(window, at[1:])[:count]
                logits *= weight
                if cover is not None:
                    cover.index_add_(0, into, weight.reshape(count, -1))
            sums.index_add_(0, into, logits.view(count, -1))
    return sums if cover is None else sums.div_(cover)


def _fine(window: _Window, prompt: NDArray[np.int64], block: Sequence[NDArray[np.int64]]) -> Tensor:
    """Products of queries with full-resolution features, [n, 8, 64], in blocks of a window.

    Features of a block are taken once for all prompts; a product has :data:`_TOGETHER` blocks and
    a chunk of prompts. The blocks come in order.
    """
    import torch

    fine = window.asked.window.fine
    channels, depth, height, width = fine.shape[1:]
    across = width // BLOCK
    table = fine[0].permute(1, 2, 3, 0).reshape(-1, BLOCK * channels)
    found = torch.empty((len(prompt), BLOCK**3))
    size, matrix = len(window.query), _by_rows(window.query)
    at = np.ravel_multi_index(tuple(block), (depth // BLOCK, height // BLOCK, across))
    blocks, first, rank = np.unique(at, return_index=True, return_inverse=True)
    z, y, x = np.unravel_index(blocks, (depth // BLOCK, height // BLOCK, across))
    begins = (z * BLOCK * height + y * BLOCK) * across + x
    parts = BLOCK**3 // _ROW
    voxels = size * torch.arange(parts)
    for tile, (begin, end) in enumerate(pairwise([*first[::_TOGETHER].tolist(), len(prompt)])):
        own = np.resize(begins[tile * _TOGETHER : (tile + 1) * _TOGETHER], _TOGETHER)
        rows = torch.from_numpy(own)[:, None] + _row_offsets(height, across)
        taken = table.index_select(0, rows.view(-1)).view(-1, _ROW * channels)
        product = (taken @ matrix).view(-1, _ROW)
        row = (rank[begin:end] - tile * _TOGETHER) * parts * size + prompt[begin:end]
        places = torch.from_numpy(row)[:, None] + voxels
        found[begin:end] = product.index_select(0, places.view(-1)).view(end - begin, -1)
    return found.view(len(prompt), BLOCK, BLOCK**2)


def _by_rows(queries: Tensor) -> Tensor:
    """The products of queries [n, C] with each voxel of a part of a row, as a matrix."""
    import torch

    count, channels = queries.shape
    matrix = queries.new_zeros((_ROW, channels, count, _ROW))
    each = torch.arange(_ROW)
    matrix[each, :, :, each] = queries.T
    return matrix.view(_ROW * channels, count * _ROW)


def _add_coarse(window: _Window, at: Sequence[Tensor], logits: Tensor) -> Tensor:
    """Add upsampled logits of stride 2 of prompts and blocks (z, y, x), each [n], to [m, 8, 64]."""
    cells = window.half.unfold(1, _HALF + 2, _HALF).unfold(2, _HALF + 2, _HALF)
    patches = cells.unfold(3, _HALF + 2, _HALF)[tuple(at)]
    planes = patches.reshape(-1, (_HALF + 2) ** 2) @ _doubling()
    planes = planes.view(-1, _HALF + 2, BLOCK**2)[: len(logits)]
    centre = planes[:, 1:-1] * 0.75
    logits[:, 0::2] += centre + planes[:, :-2] * 0.25
    logits[:, 1::2] += centre + planes[:, 2:] * 0.25
    return logits


def _weights(window: _Window, at: Sequence[Tensor]) -> Tensor:
    """Weights [n, 8, 64] of the voxels of blocks."""
    along = [w.view(-1, BLOCK)[i] for w, i in zip(window.weights, at)]
    plane = (along[1][:, :, None] * along[2][:, None]).flatten(1)
    return along[0][:, :, None] * plane[:, None]


@lru_cache(maxsize=16)
def _row_offsets(height: int, across: int) -> Tensor:
    """Rows of one block in a table of rows of eight voxels, from its first [64]."""
    import torch

    with torch.inference_mode(False):
        each = torch.arange(BLOCK)
        return (each[:, None] * height * across + each * across).flatten()


@lru_cache(maxsize=1)
def _doubling() -> Tensor:
    """Upsampling by 2 of a plane of a block with its surroundings, [36, 64]."""
    import torch

    with torch.inference_mode(False):
        matrix = torch.zeros(_HALF + 2, BLOCK)
        each = torch.arange(_HALF)
        matrix[each + 1, 2 * each] = matrix[each + 1, 2 * each + 1] = 0.75
        matrix[each, 2 * each] = matrix[each + 2, 2 * each + 1] = 0.25
        return torch.kron(matrix, matrix)


def _boxed(
    state: NDArray[np.int8],
    blocks: Sequence[NDArray[np.int64]],
    sums: NDArray[np.float32],
    corner: Triple,
    limits: Sequence[tuple[int, int]],
) -> Boxed | None:
    """The box of blocks that are not far below, cut to the limits of each axis."""
    there = state >= _OPEN
    hits = [np.flatnonzero(there.any(axis=tuple({0, 1, 2} - {a}))) for a in range(3)]
    if not hits[0].size:
        return None
    box = [(int(hit[0]), int(hit[-1]) + 1) for hit in hits]
    part = state[tuple(slice(*b) for b in box)]
    z, y, x = part.shape
    voxels = np.full((z * BLOCK, y * BLOCK, x * BLOCK), OUTSIDE_LOGIT, np.float32)
    by_block = voxels.reshape(z, BLOCK, y, BLOCK, x, BLOCK).transpose(0, 2, 4, 1, 3, 5)
    by_block[part == _ABOVE] = -OUTSIDE_LOGIT
    place = tuple(axis - b[0] for axis, b in zip(blocks, box))
    by_block[place] = sums.reshape(-1, BLOCK, BLOCK, BLOCK)
    cut, begins = [], []
    for (low, high), first, b in zip(limits, corner, box):
        begin, end = first + b[0] * BLOCK, first + b[1] * BLOCK
        cut.append(slice(max(low - begin, 0), max(0, min(high, end) - begin)))
        begins.append(max(low, begin))
    if any(c.start >= c.stop for c in cut):
        return None
    return Boxed((begins[0], begins[1], begins[2]), voxels[tuple(cut)])
