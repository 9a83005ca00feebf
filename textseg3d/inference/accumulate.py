"""Adds up what overlapping windows say about each prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from textseg3d.inference.windows import Triple, WindowGrid, shares

if TYPE_CHECKING:
    import torch

OUTSIDE_LOGIT = -30.0
"""Logit where no window ran: background, finite so that it can be interpolated."""


class Accumulator(Protocol):
    """Logits of some prompts on the network's grid, built window by window."""

    def add(self, prompt: int, start: Triple, logits: torch.Tensor) -> None:
        """Add the logits [p, p, p] of the window at ``start``; each window comes once."""
        ...

    def take(self, prompt: int) -> torch.Tensor:
        """Hand out, and forget, the sum of one prompt.

        float32 [d, h, w] on the grid of the volume, :data:`OUTSIDE_LOGIT` where no window ran.
        """
        ...


class AccumulatorFactory(Protocol):
    """Makes the accumulator of one image; an argument of the segmenter."""

    def __call__(self, grid: WindowGrid, device: torch.device, prompts: int) -> Accumulator:
        """An empty accumulator for a number of prompts."""
        ...


class SharesAccumulator:
    """Float32 sums with normalised separable Gaussian weights, over the covered region only.

    The weights of all windows sum to one at each voxel, so there is no count map and no
    division; every window of the grid must be added.

    Args:
        grid: the windows.
        device: where the sums live.
        prompts: how many.
    """

    def __init__(self, grid: WindowGrid, device: torch.device, prompts: int) -> None:
        import torch

        self.grid = grid
        self._axes = [
            {s: torch.from_numpy(w).to(device) for s, w in zip(starts, shares(starts, size))}
            for starts, size in zip(grid.starts, grid.size)
        ]
        self._weights: tuple[Triple, torch.Tensor] | None = None
        self._origin = [s.start for s in grid.region]
        shape = [s.stop - s.start for s in grid.region]
        self._sums = {p: torch.zeros(shape, device=device) for p in range(prompts)}

    def add(self, prompt: int, start: Triple, logits: torch.Tensor) -> None:
        """See :class:`Accumulator`."""
        volume, window = self.grid.clip(start)
        target = tuple(slice(s.start - o, s.stop - o) for s, o in zip(volume, self._origin))
        self._sums[prompt][target] += (logits.float() * self._weight(start))[window]

    def take(self, prompt: int) -> torch.Tensor:
        """See :class:`Accumulator`."""
        import torch

        total = self._sums.pop(prompt)
        full = torch.full(self.grid.shape, OUTSIDE_LOGIT, device=total.device)
        full[self.grid.region] = total
        return full

    def _weight(self, start: Triple) -> torch.Tensor:
        """float32 [p, p, p]; kept for the prompts that follow on the same window."""
        if self._weights is None or self._weights[0] != start:
            z, y, x = (axis[s] for axis, s in zip(self._axes, start))
            self._weights = start, z[:, None, None] * (y[:, None] * x)
        return self._weights[1]
