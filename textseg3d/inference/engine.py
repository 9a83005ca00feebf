"""Runs the network: a scan becomes windows, windows become features, prompts become masks.

The image side of a window runs once and its features are kept in the runtime's precision; both
routes, all at once and prompt by prompt on kept features, go through the same functions in the
same shapes. Prompts run in chunks of a fixed number of rows, empty ones included: the last bits of
a product depend on its shape, so an answer does not depend on what else was asked, to the bit.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import InputError, MemoryBudgetError, UsageError
from textseg3d.inference.accumulate import AccumulatorFactory, SharesAccumulator
from textseg3d.inference.ask import ask
from textseg3d.inference.device import autocast, trim_memory
from textseg3d.inference.head import chunk_size
from textseg3d.inference.masks import PackedMask
from textseg3d.inference.memory import MemoryPlan, give_back, is_out_of_memory
from textseg3d.inference.planning import check_memory, plan_image, window_fits
from textseg3d.inference.presence import PRESENT, PresenceScores, SureMask
from textseg3d.inference.progress import Progress
from textseg3d.inference.resampling import native_order as native_order
from textseg3d.inference.resampling import resample_scan
from textseg3d.inference.spill import spill
from textseg3d.inference.windows import Triple, WindowGrid, WindowPolicy, tile

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from textseg3d.inference.device import Runtime
    from textseg3d.io import Volume
    from textseg3d.networks.prompt_attention import ImageProjections
    from textseg3d.networks.prompt_unet import ImageFeatures, PromptAnswer
    from textseg3d.plans.schema import Configuration
    from textseg3d.text.types import TextFeatures

log = logging.getLogger(__name__)
_MARGIN_MM = 12.0  # the body box is known to about one of its cells
_TISSUE_HU = -300.0
_AIR_HU = -500.0
_AIR_SHARE = 0.001  # a window with less tissue than this is air
_FINE_PLANES = 32  # of full-resolution features made at once


@dataclass(frozen=True)
class PreparedImage:
    """A scan on the network's grid.

    Attributes:
        x: float32 [C', d, h, w], normalised.
        outside: per channel, what stands for "no scan here".
        box: first and last voxel [3, 2] of the body.
        midline: for each z the x voxel of the body's middle, NaN where there is no body; None
            where the scan's values do not tell body from air.
        grid: the windows to run.
    """

    x: Tensor
    outside: tuple[float, ...]
    box: NDArray[np.float64]
    midline: NDArray[np.float64] | None
    grid: WindowGrid


@dataclass(frozen=True)
class PromptImage(PreparedImage):
    """A scan on the grid of a prompted network.

    Attributes:
        scan_shape: (D, H, W) of the scan.
        plan: of the memory.
        exact: no shortcut is wanted.
    """

    scan_shape: Triple
    plan: MemoryPlan | None = None
    exact: bool = False


@dataclass(frozen=True)
class WindowFeatures:
    """What prompts need of one window: the image side's result, and full-resolution features."""

    start: Triple
    features: ImageFeatures
    fine: Tensor
    projected: ImageProjections

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        kept = [self.fine, self.features.half, self.features.quarter, self.features.tokens]
        return sum(t.numel() * t.element_size() for t in kept + self.projected.tensors())

    def to(self, device: torch.device) -> WindowFeatures:
        """The features on a device; those of a GPU may have waited in a file."""
        if self.fine.device == device:
            return self
        half, quarter = (t.to(device) for t in (self.features.half, self.features.quarter))
        features = replace(self.features, half=half, quarter=quarter)
        return replace(self, features=features, fine=self.fine.to(device))


@dataclass(frozen=True)
class Answer:
    """What the model says about one prompt on the network's grid.

    Attributes:
        logits: float32 [d, h, w]; of no voxels where they were not to be kept.
        presence: largest over the windows, 0 to 1; of a stage, that of the most certain voxel.
        mask: on the scan's grid; None where the logits decide.
        export_seconds: spent on the mask while the windows ran.
    """

    logits: NDArray[np.float32]
    presence: float
    mask: PackedMask | None = None
    export_seconds: float = 0.0


class PromptEngine(Protocol):
    """What runs a network for prompts; :class:`Engine` says what the parts do.

    Windows and prompts are whatever the engine and its model agree on; windows have ``nbytes``.
    """

    runtime: Runtime

    @property
    def configuration(self) -> Any:
        """Spacing, patch and intensities."""

    def prepare(self, volume: Volume, *, exact: bool) -> PreparedImage:
        """A scan on the network's grid."""

    def windows(self, image: Any, progress: Progress) -> Iterator[Any]:
        """What prompts need of the scan; only the caller keeps it."""

    def answer(
        self, image: Any, windows: Iterable[Any], prompts: Sequence[Any], *, keep_logits: bool
    ) -> list[Answer]:
        """Answers of several prompts."""


class Engine:
    """Network, configuration and runtime, without any state of a scan.

    Args:
        network: with ``encode_image``, ``fine_features`` and ``answer`` as PromptUNet.
        configuration: spacing, patch and intensities.
        runtime: device and precision.
        window_policy: see :class:`WindowPolicy`.
        accumulator: makes what adds up the windows, once per call.
        label: what progress calls its work.
        sure: when a mask overrules its presence score; None if it never does.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        configuration: Configuration,
        runtime: Runtime,
        window_policy: WindowPolicy,
        accumulator: AccumulatorFactory,
        label: str = "network",
        sure: SureMask | None = None,
    ) -> None:
        import torch

        self.label, self.sure = label, sure
        self.configuration = configuration
        self.runtime = runtime
        self.window_policy = window_policy
        self.accumulator = accumulator
        # What a stage looks for can be smaller than the image tokens that presence is read from.
        self.by_voxels = configuration.cascade is not None
        if runtime.openvino is not None:
            from textseg3d.networks.openvino_unet import by_openvino

            network = by_openvino(network, int8=runtime.openvino == "int8" and not self.by_voxels)
        network = network.to(device=runtime.device).to(memory_format=torch.channels_last_3d)
        self.network: Any = network.eval().requires_grad_(False)

    def limited(self, max_memory_bytes: int) -> Engine:
        """The same engine, network included, that plans for less memory."""
        other = copy(self)
        other.runtime = replace(self.runtime, max_memory_bytes=max_memory_bytes)
        return other

    def prepare(self, volume: Volume, *, exact: bool) -> PromptImage:
        """Resample, find the body, normalise, choose the windows, and plan the memory.

        Raises:
            InputError: if the scan has another number of channels than the model.
            MemoryBudgetError: if the scan cannot be done in the memory that may be used.
        """
        from textseg3d.preprocessing import body_box

        schemes, spacing = self.configuration.intensity, self.configuration.spacing
        scan, x, outside = self.on_grid(volume.array, volume.spacing_mm, exact=exact)
        shape = (x.shape[1], x.shape[2], x.shape[3])
        values = None
        box, midline = np.array([[0.0, n - 1.0] for n in shape]), None
        if schemes[0].scheme == "windows":  # values are HU: body and air differ
            values = scan[0].cpu().numpy()
            box = body_box(values, spacing)
            midline = body_midline(values, box)
        margin = np.array([_MARGIN_MM / s for s in spacing])[:, None] * (-1.0, 1.0)
        grid = self.grid(shape, box + margin, exact=exact)
        if values is not None and not exact:
            grid = skip_air(grid, values)
        image = PromptImage(x, outside, box, midline, grid, volume.shape, exact=exact)
        return self.planned(image)

    def on_grid(
        self, array: NDArray[Any], spacing_mm: tuple[float, float, float], *, exact: bool
    ) -> tuple[Tensor, Tensor, tuple[float, ...]]:
        """A scan, or a part of one, on the network's grid.

        Args:
            array: [C, D, H, W].
            spacing_mm: (z, y, x).
            exact: no shortcut is wanted.

        Returns:
            Its values [C, d, h, w], the network's input [C', d, h, w], and what stands for "no
            scan here" in each channel of that.

        Raises:
            InputError: if it has another number of channels than the model.
            MemoryBudgetError: if it cannot be done in the memory that may be used.
        """
        import torch

        from textseg3d.preprocessing import normalise, target_shape

        schemes = self.configuration.intensity
        if array.shape[0] != len(schemes):
            raise InputError(
                f"the scan has {array.shape[0]} channels, the model was trained on "
                f"{len(schemes)}; give a scan with {len(schemes)}"
            )
        size = (array.shape[1], array.shape[2], array.shape[3])
        shape = target_shape(size, spacing_mm, self.configuration.spacing)
        check_memory(self.configuration, self._precise(exact), size, shape)
        with torch.inference_mode():
            scan = resample_scan(array, shape, self.runtime.device)
            x = normalise(scan, schemes)
            if schemes[0].scheme == "windows":
                fill = [torch.full((1, 1, 1), s.outside) for s in schemes]
                outside = normalise(torch.stack(fill), schemes).flatten().tolist()
            else:
                outside = x.flatten(1).amin(dim=1).tolist()
        return scan, x, tuple(outside)

    def grid(self, shape: Triple, box: NDArray[np.float64], *, exact: bool) -> WindowGrid:
        """Windows over a box [3, 2] of a volume on the network's grid."""
        configuration = self.configuration
        patch, step = configuration.patch_size, configuration.window_step
        grid = self.window_policy(shape, patch, step, box, exact)
        if exact or grid.size == tuple(patch):
            return grid
        fits = window_fits(configuration, self.runtime, shape, grid.size)
        return grid if fits else tile(shape, patch, step, box, exact)

    def planned(self, image: PromptImage) -> PromptImage:
        """The image with its memory planned.

        Raises:
            MemoryBudgetError: if there is not enough of it.
        """
        runtime = self._precise(image.exact)
        return replace(image, plan=plan_image(self.configuration, runtime, image))

    def keep_all(self, image: PromptImage) -> PromptImage:
        """The image with a plan that keeps the features of all windows for later prompts.

        Raises:
            MemoryBudgetError: if there is no room for them, not even on disk.
        """
        runtime = self._precise(image.exact)
        plan = plan_image(self.configuration, runtime, image, keep_all=True)
        return replace(image, plan=plan)

    def windows(self, image: PromptImage, progress: Progress) -> Iterator[WindowFeatures]:
        """Run the image side window by window; only the caller keeps what it needs.

        Raises:
            Cancelled: when the progress callback says so.
            MemoryBudgetError: if one window does not fit.
        """
        total = len(image.grid)
        to_disk = image.plan is not None and image.plan.kept == "disk"
        for done, start in enumerate(image.grid):
            progress.step(self.label, done, total)
            found = self._try_window(image, start)
            if found is None:  # memory ran out: once more, and from now on less is kept
                to_disk = True
                give_back(self.runtime.device)
                log.warning("out of memory at window %d of %d; features go to disk", done, total)
                found = self._try_window(image, start)
            if found is None:
                raise MemoryBudgetError(
                    f"out of memory at window {done} of {total}; close other programs, raise "
                    "--max-memory, or use another --device"
                )
            # Outside any torch mode: a suspended generator must not leave one switched on.
            yield spill(found) if to_disk else found
            del found
        progress.step(self.label, total, total)

    def _try_window(self, image: PromptImage, start: Triple) -> WindowFeatures | None:
        """The features of one window; None if memory ran out."""
        import torch

        try:
            runtime = self._precise(image.exact)
            with torch.inference_mode(), autocast(runtime):
                x, position = self._window(image, start)
                features = self.network.encode_image(x, position)
                trim_memory()
                fine = self._fine(features.half, x, runtime.feature_dtype)
                projected = self.network.project(features)
            return WindowFeatures(start, features, fine, projected)
        except (MemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                return None
            raise

    def _fine(self, half: Tensor, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Full-resolution features; on a CPU some planes at a time, which takes less memory."""
        import torch

        whole: Tensor = torch.empty(0)
        depth, memory = x.shape[2], torch.channels_last_3d
        if self.runtime.device.type != "cpu" or depth <= _FINE_PLANES:
            whole = self.network.fine_features(half, x).to(dtype, memory_format=memory)
            return whole
        for first in range(0, depth, _FINE_PLANES):
            last = min(first + _FINE_PLANES, depth)
            # Two convolutions look two planes further; one plane of stride 2.
            begin, end = max(0, first - 2), min(depth, last + 2)
            part = x[:, :, begin:end]
            found = self.network.fine_features(half[:, :, begin // 2 : end // 2], part)
            if not first:
                shape = (1, found.shape[1], *x.shape[2:])
                whole = torch.empty(shape, dtype=dtype, memory_format=memory)
            whole[:, :, first:last] = found[:, :, first - begin : last - begin]
        return whole

    def answer(
        self,
        image: PromptImage,
        windows: Iterable[WindowFeatures],
        prompts: Sequence[TextFeatures],
        *,
        keep_logits: bool = True,
    ) -> list[Answer]:
        """Ask prompts (one text each) of all windows.

        Memory does not depend on the number of prompts, but for about 20 kB per prompt and window,
        the packed masks, and the logits if they are kept.
        """
        from textseg3d.inference.slabs import Asked, SlabRun, slabs

        asked = (Asked(w, self._ask(w, prompts, exact=image.exact)) for w in windows)
        if self.accumulator is not SharesAccumulator:
            return self._answer_by(self.accumulator, image, asked, len(prompts))
        plan = image.plan
        planes = image.grid.shape[0] if plan is None else plan.planes
        cuts = slabs(image.grid, planes, by_rows=plan is not None and plan.kept == "rows")
        scores, device, margin = (
            self._scores(len(prompts)),
            self.runtime.device,
            self._margin(image),
        )
        run = SlabRun(
            image.grid, cuts, image.scan_shape, scores, device,
            keep_logits=keep_logits, margin=margin,
        )  # fmt: skip
        run.run(asked)
        presence = scores.result()
        nothing = np.zeros((0, 0, 0), np.float32)
        empty = PackedMask.empty(image.scan_shape)
        return [
            Answer(
                run.logits[i] if keep_logits else nothing,
                presence[i],
                builder.result() if presence[i] >= PRESENT else empty,
                run.export_seconds / len(prompts),
            )
            for i, builder in enumerate(run.builders)
        ]

    def _margin(self, image: PromptImage) -> float | None:
        """Of the shortcut in :mod:`textseg3d.inference.blocks`; None if it is not to be taken."""
        from textseg3d.inference.blocks import MARGIN
        from textseg3d.networks.kernels import kernels_for

        by_kernel = self.runtime.device.type != "cpu" or kernels_for(image.x) is not None
        return None if image.exact or by_kernel or not image.grid.aligned else MARGIN

    def _answer_by(
        self, factory: AccumulatorFactory, image: PromptImage, asked: Iterable[Any], count: int
    ) -> list[Answer]:
        """The same with a given accumulator; memory is what it takes for all prompts."""
        import torch

        from textseg3d.inference.head import prepare_rows, window_logits

        sums, scores = factory(image.grid, self.runtime.device, count), self._scores(count)
        size = chunk_size(self.runtime.device)
        for item in asked:
            scores.hear(item.answer.presence)
            for first in range(0, count, size):
                chosen = range(first, min(first + size, count))
                with torch.inference_mode():
                    rows = prepare_rows(item.window, item.answer, chosen)
                    logits = window_logits(item.window, rows)
                for prompt, row in zip(chosen, logits):
                    sums.add(prompt, item.window.start, row)
        found = [sums.take(prompt).cpu().numpy() for prompt in range(count)]
        for prompt, whole in enumerate(found):
            scores.see(prompt, whole)
        return [Answer(f, p) for f, p in zip(found, scores.result())]

    def _scores(self, count: int) -> PresenceScores:
        voxel_ml = math.prod(self.configuration.spacing) / 1000
        return PresenceScores(count, voxel_ml, by_voxels=self.by_voxels, sure=self.sure)

    def _ask(
        self, window: WindowFeatures, prompts: Sequence[TextFeatures], *, exact: bool = False
    ) -> PromptAnswer:
        """All prompts on one window."""
        return ask(self.network, self._precise(exact), window, prompts)

    def _precise(self, exact: bool) -> Runtime:
        """The runtime; where nothing may be cut short, in float32."""
        if exact and self.runtime.openvino == "int8":
            raise UsageError(
                "exact is float32, and device 'openvino:int8' is not; choose openvino or cpu"
            )
        return replace(self.runtime, autocast=None) if exact else self.runtime

    def _window(self, image: PreparedImage, start: Triple) -> tuple[Tensor, Tensor]:
        """Network input [1, C', p, p, p] and position [3, 2] of one window."""
        import torch

        from textseg3d.networks.kernels import kernels_for
        from textseg3d.preprocessing import window_position

        size, device = image.grid.size, self.runtime.device
        position = torch.from_numpy(window_position(image.box, start, size)).to(device)
        kernels = kernels_for(image.x) if len(set(image.outside)) == 1 else None
        if kernels is not None:
            begin = torch.tensor([start], device=image.x.device)
            cut = kernels.window_gather(image.x, begin, size, fill=image.outside[0])
            return cut.permute(0, 4, 1, 2, 3), position
        fill = torch.tensor(image.outside, device=image.x.device)[:, None, None, None]
        x = fill.expand(-1, *size).clone()
        source, target = image.grid.clip(start)
        x[(slice(None), *target)] = image.x[(slice(None), *source)]
        return x[None].to(device).contiguous(memory_format=torch.channels_last_3d), position


def body_midline(hu: NDArray[np.float32], box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean x of tissue per slice, inside the body box."""
    first, last = box[:, 0].astype(int), box[:, 1].astype(int) + 1
    tissue = hu[:, first[1] : last[1], first[2] : last[2]] > _TISSUE_HU
    per_x = tissue.sum(axis=1, dtype=np.float64)
    x = np.arange(first[2], last[2])
    with np.errstate(invalid="ignore"):
        return (per_x * x).sum(axis=1) / per_x.sum(axis=1)


def skip_air(grid: WindowGrid, hu: NDArray[np.float32]) -> WindowGrid:
    """Leave out windows that hold next to no tissue, unless that is all of them.

    Args:
        grid: the windows.
        hu: [d, h, w] on the grid's volume.
    """
    reasons: dict[Triple, str] = {}
    voxels = math.prod(grid.size)
    for start in grid:
        share = np.count_nonzero(hu[grid.clip(start)[0]] > _AIR_HU) / voxels
        if share < _AIR_SHARE:
            reasons[start] = f"air: {share:.3%} of its voxels are above {_AIR_HU:.0f} HU"
    return grid.without(reasons) if len(reasons) < len(grid) else grid
