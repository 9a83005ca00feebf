"""Sums of windows, slab by slab along z, and masks that grow with them.

A slab is a run of planes whose windows have all run. Prompts go through it a few at a time, so
memory depends on the slab and on the windows in play, not on the number of prompts; per prompt
and window only queries and coarse logits are kept (about 20 kB).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from time import perf_counter
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import MemoryBudgetError
from textseg3d.inference.accumulate import OUTSIDE_LOGIT
from textseg3d.inference.blocks import Boxed, block_logits
from textseg3d.inference.head import add_window, chunk_size, prepare_rows
from textseg3d.inference.masks import PackedMask
from textseg3d.inference.memory import give_back, is_out_of_memory
from textseg3d.inference.parallel import Background, in_order, single_threaded, workers
from textseg3d.inference.regrid import AxisMap, mask_of_planes
from textseg3d.inference.windows import PLANES, Triple, WindowGrid, shares

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from textseg3d.inference.engine import WindowFeatures
    from textseg3d.inference.presence import PresenceScores
    from textseg3d.networks.prompt_unet import PromptAnswer

log = logging.getLogger(__name__)
Rows = Sequence["Tensor | Boxed | None"]


@dataclass(frozen=True)
class Slab:
    """Planes ``start`` to ``stop`` of the volume, decided by the first ``windows`` windows."""

    start: int
    stop: int
    windows: int


def slabs(grid: WindowGrid, planes: int, *, by_rows: bool) -> list[Slab]:
    """Cut the covered planes where rows of windows begin, if wanted, and to a largest size.

    Args:
        grid: the windows.
        planes: of the largest slab.
        by_rows: cut so that windows can be forgotten as soon as possible.
    """
    z = grid.region[0]
    starts = [s for s, _, _ in grid]
    inner = [max(z.start, s) for s in grid.starts[0][1:]] if by_rows else []
    edges = [z.start, *inner, z.stop]
    result = []
    for first, last in pairwise(edges):
        for start in range(first, last, planes):
            stop = min(start + planes, last)
            result.append(Slab(start, stop, sum(s < stop for s in starts)))
    return result


class MaskBuilder:
    """The mask of one prompt, from planes of logits that come in order.

    Args:
        grid: windows and volume that the logits belong to.
        shape: (D, H, W) of the scan.
    """

    def __init__(self, grid: WindowGrid, shape: Triple) -> None:
        self._grid, self._shape = grid, shape
        self._maps = [AxisMap.between(n, m) for n, m in zip(grid.shape, shape)]
        self._parts: list[PackedMask] = []
        self._next = 0  # slice of the scan
        self._plane = grid.region[0].start
        # The last plane of before, where it is not far below: an array, on a GPU a tensor.
        self._carry: Any = None

    def add(self, logits: Tensor | Boxed | None, stop: int) -> None:
        """The next planes, up to plane ``stop`` of the volume.

        Args:
            logits: float32 [dz, h, w] of the whole covered region, or those of a box of it that
                are not far below the threshold; None if all are.
            stop: the plane after the last.
        """
        from textseg3d.networks.kernels import kernels_for

        start, self._plane = self._plane, stop
        if logits is None or isinstance(logits, Boxed):
            self._decide(logits, start, stop)
            return
        kernels = kernels_for(logits)
        if kernels is not None:
            self._add_by_kernel(kernels, logits, stop)
            return
        _, y, x = self._grid.region
        self._decide(Boxed((start, y.start, x.start), logits.cpu().numpy()), start, stop)

    def _decide(self, boxed: Boxed | None, start: int, stop: int) -> None:
        """Decide every slice of the scan that lies between these planes and the one before."""
        low, high = max(0, start - 1), stop
        if stop == self._grid.region[0].stop and stop < self._grid.shape[0]:
            high += 1  # a plane where no window ran
        out = self._reached(low, high)
        parts = [part for part in (self._carry, boxed) if part is not None]
        self._carry = None if boxed is None else boxed.last_plane(stop - 1)
        if not parts or out.start == out.stop:
            return
        limits = [(low, high), *((0, n) for n in self._grid.shape[1:])]
        box = []
        for axis, (least, most) in enumerate(limits):  # with one voxel around
            first = min(p.corner[axis] for p in parts) - 1
            last = max(p.corner[axis] + p.values.shape[axis] for p in parts) + 1
            box.append((max(least, first), min(most, last)))
        block = np.full([b - a for a, b in box], OUTSIDE_LOGIT, np.float32)
        for part in parts:
            corner = [c - b[0] for c, b in zip(part.corner, box)]
            block[tuple(slice(c, c + n) for c, n in zip(corner, part.values.shape))] = part.values
        maps = [self._maps[0].part(out), *self._maps[1:]]
        maps = [AxisMap(m.low - b[0], m.high - b[0], m.weight) for m, b in zip(maps, box)]
        found = mask_of_planes(block, maps, out.start, self._shape)
        if found.bits.size:
            self._parts.append(found)

    def _add_by_kernel(self, kernels: ModuleType, logits: Tensor, stop: int) -> None:
        """The same where the logits are, by the kernel K2."""
        import torch

        grid = self._grid
        first = stop - len(logits)
        carry = [] if first == 0 else [self._carry]
        if first and self._carry is None:
            carry = [self._outside(1)]
        block = torch.full((len(logits), *grid.shape[1:]), OUTSIDE_LOGIT, device=logits.device)
        block[(slice(None), *grid.region[1:])] = logits
        first -= len(carry)
        before = [c if isinstance(c, torch.Tensor) else torch.from_numpy(c) for c in carry]
        end = stop
        after = []
        if stop == grid.region[0].stop and stop < grid.shape[0]:
            after, end = [torch.full_like(block[:1], OUTSIDE_LOGIT)], stop + 1
        block = torch.cat([*(b.to(block.device) for b in before), block, *after])
        out = self._reached(first, end)
        if out.start == out.stop:
            self._carry = block[-1:].clone()
            return
        windows: list[dict[str, Any]] = [
            {"input_window": (first, end), "output_window": (out.start, out.stop)},
            {},
            {},
        ]
        axes = tuple(
            kernels.linear_operator(n, m, device=block.device, **w)
            for n, m, w in zip(grid.shape, self._shape, windows)
        )
        bits = kernels.export_pack(block[None], axes)[0].cpu().numpy()
        crop = np.unpackbits(bits, axis=-1, count=self._shape[2]).view(bool)
        if crop.any():
            box = (out, slice(0, self._shape[1]), slice(0, self._shape[2]))
            self._parts.append(PackedMask.pack(self._shape, box, crop).tight())
        self._carry = block[-1:].clone()

    def _reached(self, first: int, end: int) -> slice:
        """Slices that look at planes ``first`` to ``end`` alone and are undecided; marks them."""
        start = max(self._next, int(np.searchsorted(self._maps[0].low, first)))
        self._next = max(start, int(np.searchsorted(self._maps[0].high, end)))
        return slice(start, self._next)

    def _outside(self, planes: int) -> NDArray[np.float32]:
        return np.full((planes, *self._grid.shape[1:]), OUTSIDE_LOGIT, np.float32)

    def result(self) -> PackedMask:
        """The mask; slices that no plane reached are background."""
        if not self._parts:
            return PackedMask.empty(self._shape)
        return PackedMask.union(self._parts)


@dataclass
class Asked:
    """A window in play, and what all prompts made of it."""

    window: WindowFeatures
    answer: PromptAnswer


class SlabRun:
    """The work on some prompts; see :meth:`run`.

    Args:
        grid: the windows.
        cuts: of :func:`slabs`.
        shape: (D, H, W) of the scan.
        scores: presence of each prompt.
        device: where features live.
        keep_logits: keep every prompt's logits [d, h, w].
        margin: of :mod:`textseg3d.inference.blocks`, where its shortcut may be taken.
    """

    def __init__(
        self,
        grid: WindowGrid,
        cuts: Sequence[Slab],
        shape: Triple,
        scores: PresenceScores,
        device: torch.device,
        *,
        keep_logits: bool,
        margin: float | None = None,
    ) -> None:
        import torch

        self.margin = margin
        self.grid, self.cuts, self.device, self.scores = grid, cuts, device, scores
        count = len(scores)
        self.builders = [MaskBuilder(grid, shape) for _ in range(count)]
        self.logits: list[NDArray[np.float32]] = []
        if keep_logits:
            self.logits = [np.full(grid.shape, OUTSIDE_LOGIT, np.float32) for _ in range(count)]
        self.export_seconds = 0.0
        self._axes = [
            {s: torch.from_numpy(w).to(device) for s, w in zip(starts, shares(starts, size))}
            for starts, size in zip(grid.starts, grid.size)
        ]
        self._active: list[Asked] = []

    def run(self, asked: Iterable[Asked]) -> None:
        """Take the windows as they come, in the grid's order, and finish slab after slab."""
        source = iter(asked)
        taken = 0
        for number, slab in enumerate(self.cuts):
            while taken < slab.windows:
                found = next(source)
                self._active.append(found)
                self.scores.hear(found.answer.presence)
                taken += 1
            final = taken == len(self.grid)
            wanted = np.arange(len(self.scores))
            if final and number == 0 and not self.logits:
                wanted = self.scores.possible()  # no mask is made of what is absent
            size = chunk_size(self.device)
            self._all(slab, [wanted[i : i + size].tolist() for i in range(0, len(wanted), size)])
            self._active = [a for a in self._active if self._end(a) > slab.stop]
        for _ in source:  # lets the source report that it is done
            raise AssertionError("more windows than the grid has")

    def _all(self, slab: Slab, groups: Sequence[list[int]]) -> None:
        """A slab of all prompts.

        Where there are two threads, each computes and exports the blocks of a group of its own.
        Else the masks of a group are made in threads while the logits of the next one are
        computed: more groups at once would hold more than the memory plan knows of.
        """
        count = workers() if self.device.type == "cpu" else 1
        if self.margin is not None and count == 2 <= len(groups):
            with single_threaded(), Background(1) as at_once:
                alone = partial(self._sum, slab.start, slab.stop, exports=at_once)
                spent = sum(in_order(alone, groups, count))
            self.export_seconds += spent / count
            return
        with Background(count) as exports:
            for group in groups:
                self.export_seconds += self._sum(slab.start, slab.stop, group, exports=exports)
            self.export_seconds += _wait(exports)

    def _end(self, asked: Asked) -> int:
        return asked.window.start[0] + self.grid.size[0]

    def _sum(self, start: int, stop: int, prompts: list[int], *, exports: Background) -> float:
        """Planes of some prompts; with less at once where memory runs out.

        Returns:
            Seconds that export took, or was waited for.
        """
        found: tuple[Rows, Rows] | None
        try:
            found = self._sums(start, stop, prompts)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if stop - start <= PLANES:
                raise MemoryBudgetError(
                    f"out of memory at planes {start} to {stop} of {self.grid.shape[0]}, the "
                    "smallest piece of work there is; close other programs, or crop the scan"
                ) from None
            found = None
        if found is None:  # outside of the handler, which holds on to what filled the memory
            give_back(self.device)
            middle = start + max(PLANES, (stop - start) // 2)
            log.warning(
                "out of memory at planes %d to %d; going on with %d planes at a time",
                start, stop, middle - start,
            )  # fmt: skip
            spent = self._sum(start, middle, prompts, exports=exports) + _wait(exports)
            return spent + self._sum(middle, stop, prompts, exports=exports)
        sums, whole = found
        for row, prompt in zip(sums, prompts):
            self.scores.see(prompt, row.values if isinstance(row, Boxed) else row)
        begin = perf_counter()
        exports.wait()  # of two lots of logits at once one is in the making
        for row, prompt in zip(sums, prompts):
            exports.start(partial(self.builders[prompt].add, row, stop))
        spent = perf_counter() - begin
        if self.logits:
            for row, prompt in zip(whole, prompts):
                self._keep(row, prompt, start, stop)
        return spent

    def _keep(self, row: Tensor | Boxed | None, prompt: int, start: int, stop: int) -> None:
        """Planes of one prompt's logits."""
        if isinstance(row, Boxed):
            box = tuple(slice(c, c + n) for c, n in zip(row.corner, row.values.shape))
            self.logits[prompt][box] = row.values
        elif row is not None:
            inside = (slice(start, stop), *self.grid.region[1:])
            self.logits[prompt][inside] = row.cpu().numpy()

    def _sums(self, start: int, stop: int, prompts: list[int]) -> tuple[Rows, Rows]:
        """Logits of the covered region: as masks need them, and (to be kept) all of them."""
        import torch

        with torch.inference_mode():
            if self.margin is not None:
                reaching = [(asked, weights) for asked, _, weights in self._reaching(start, stop)]
                whole = bool(self.logits)
                planes = (start, stop)
                return block_logits(self.grid, reaching, prompts, planes, self.margin, whole=whole)
            _, y, x = self.grid.region
            shape = (stop - start, y.stop - y.start, x.stop - x.start)
            sums = torch.zeros((len(prompts), *shape), device=self.device)
            for asked, offset, weights in self._reaching(start, stop):
                window = asked.window.to(self.device)
                rows = prepare_rows(window, asked.answer, prompts)
                add_window(window, rows, weights, sums, offset)
            if self.grid.skipped:
                self._divide(sums, start, stop)
        return list(sums), list(sums)

    def _divide(self, sums: Tensor, start: int, stop: int) -> None:
        """Where windows were left out, the weights of the others no longer sum to one."""
        import torch

        cover = torch.zeros(sums.shape[1:], device=sums.device)
        for _, offset, weights in self._reaching(start, stop):
            inside, target = [], []
            for n, shift, limit in zip(self.grid.size, offset, cover.shape):
                first, last = max(0, -shift), min(n, limit - shift)
                inside.append(slice(first, last))
                target.append(slice(first + shift, last + shift))
            z, y, x = (w[i] for w, i in zip(weights, inside))
            cover[tuple(target)] += z[:, None, None] * (y[:, None] * x)
        covered = cover > 0
        sums /= torch.where(covered, cover, 1.0)
        sums.masked_fill_(~covered, OUTSIDE_LOGIT)

    def _reaching(self, start: int, stop: int) -> Iterator[tuple[Asked, Triple, Any]]:
        """Windows that reach into some planes, where they begin there, and their weights."""
        _, y, x = self.grid.region
        for asked in self._active:
            first = asked.window.start
            if first[0] < stop and self._end(asked) > start:
                offset = (first[0] - start, first[1] - y.start, first[2] - x.start)
                yield asked, offset, tuple(axis[s] for axis, s in zip(self._axes, first))


def _wait(exports: Background) -> float:
    """Seconds until all exports are done."""
    begin = perf_counter()
    exports.wait()
    return perf_counter() - begin
