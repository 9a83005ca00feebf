"""Runs the network: a scan becomes windows, windows become features, prompts become logits.

The image side of a window runs once and its features are kept in the runtime's precision; both
routes, all at once and prompt by prompt on kept features, go through the same functions in the
same shapes. Prompts run one at a time: in a batch a row's last bits depend on the batch size,
and a batch was not faster (36 ms alone, 32 ms per prompt in a batch of 8, for a 128³ window on
2 cores), so an answer does not depend on what else was asked, to the bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import InputError
from textseg3d.inference.accumulate import AccumulatorFactory
from textseg3d.inference.progress import Progress
from textseg3d.inference.windows import Triple, WindowGrid, WindowPolicy

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from textseg3d.inference.device import Runtime
    from textseg3d.inference.masks import PackedMask
    from textseg3d.io import Volume
    from textseg3d.networks.prompt_unet import ImageFeatures
    from textseg3d.plans.schema import Configuration
    from textseg3d.text.types import TextFeatures

_MARGIN_MM = 12.0  # the body box is known to about one of its cells
_TISSUE_HU = -300.0


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
class WindowFeatures:
    """What prompts need of one window: the image side's result, and full-resolution features."""

    start: Triple
    features: ImageFeatures
    fine: Tensor

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        kept = (self.fine, self.features.half, self.features.quarter, self.features.tokens)
        return sum(t.numel() * t.element_size() for t in kept)


@dataclass(frozen=True)
class Answer:
    """What the model says about one prompt on the network's grid.

    Attributes:
        logits: float32 [d, h, w].
        presence: largest over the windows, 0 to 1.
        mask: on the scan's grid, where the model itself decides between its classes; None where
            the logits decide.
    """

    logits: NDArray[np.float32]
    presence: float
    mask: PackedMask | None = None


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
    """

    def __init__(
        self,
        network: torch.nn.Module,
        configuration: Configuration,
        runtime: Runtime,
        window_policy: WindowPolicy,
        accumulator: AccumulatorFactory,
    ) -> None:
        import torch

        self.configuration = configuration
        self.runtime = runtime
        self.window_policy = window_policy
        self.accumulator = accumulator
        network = network.to(device=runtime.device).to(memory_format=torch.channels_last_3d)
        self.network: Any = network.eval().requires_grad_(False)

    def prepare(self, volume: Volume, *, exact: bool) -> PreparedImage:
        """Resample, find the body, normalise, and choose the windows.

        Raises:
            InputError: if the scan has another number of channels than the model.
        """
        import torch

        from textseg3d.preprocessing import body_box, normalise, resample, target_shape

        schemes = self.configuration.intensity
        if volume.array.shape[0] != len(schemes):
            raise InputError(
                f"the scan has {volume.array.shape[0]} channels, the model was trained on "
                f"{len(schemes)}; give a scan with {len(schemes)}"
            )
        spacing = self.configuration.spacing
        shape = target_shape(volume.shape, volume.spacing_mm, spacing)
        with torch.inference_mode():
            scan = resample(native_order(volume.array), shape)
            x = normalise(scan, schemes)
        box, midline = np.array([[0.0, n - 1.0] for n in shape]), None
        if schemes[0].scheme == "windows":  # values are HU: body and air differ
            values = scan[0].numpy()
            box = body_box(values, spacing)
            midline = body_midline(values, box)
            with torch.inference_mode():
                fill = [torch.full((1, 1, 1), s.outside) for s in schemes]
                outside = normalise(torch.stack(fill), schemes).flatten().tolist()
        else:
            outside = x.flatten(1).amin(dim=1).tolist()
        margin = np.array([_MARGIN_MM / s for s in spacing])[:, None] * (-1.0, 1.0)
        grid = self.window_policy(
            shape,
            self.configuration.patch_size,
            self.configuration.window_step,
            box + margin,
            exact,
        )
        return PreparedImage(x, tuple(outside), box, midline, grid)

    def windows(self, image: PreparedImage, progress: Progress) -> Iterator[WindowFeatures]:
        """Run the image side window by window; only the caller keeps what it needs.

        Raises:
            Cancelled: when the progress callback says so.
        """
        import torch

        total = len(image.grid)
        for done, start in enumerate(image.grid):
            progress.step("network", done, total)
            with torch.inference_mode(), autocast(self.runtime):
                x, position = self._window(image, start)
                features = self.network.encode_image(x, position)
                fine = self.network.fine_features(features.half, x)
            # Outside the block: a suspended generator must not leave its modes switched on.
            yield WindowFeatures(start, features, fine.to(self.runtime.feature_dtype))
            del features, fine
        progress.step("network", total, total)

    def answer(
        self,
        image: PreparedImage,
        windows: Iterable[WindowFeatures],
        prompts: Sequence[TextFeatures],
        *,
        keep_logits: bool = True,
    ) -> list[Answer]:
        """Ask prompts (one text each) of all windows; memory is one volume per prompt.

        ``keep_logits`` changes nothing here: the logits are the answer.
        """
        import torch

        device = self.runtime.device
        sums = self.accumulator(image.grid, device, len(prompts))
        presence = [-float("inf")] * len(prompts)
        texts = [
            tuple(torch.from_numpy(a).to(device) for a in (p.tokens, p.mask, p.pooled))
            for p in prompts
        ]
        for window in windows:
            for index, text in enumerate(texts):
                logits, present = self._ask(window, *text)
                sums.add(index, window.start, logits)
                presence[index] = max(presence[index], present)
        return [
            Answer(sums.take(index).cpu().numpy(), float(torch.tensor(p).sigmoid()))
            for index, p in enumerate(presence)
        ]

    def _ask(
        self, window: WindowFeatures, tokens: Tensor, mask: Tensor, pooled: Tensor
    ) -> tuple[Tensor, float]:
        """One prompt on one window: logits [p, p, p] and the presence logit."""
        import torch

        from textseg3d.networks.prompt_unet import coarse_to_fine

        with torch.inference_mode(), autocast(self.runtime):
            answer = self.network.answer(window.features, tokens, mask, pooled)
            logits = coarse_to_fine(window.features, answer, window.fine)[-1]
        return logits[0], float(answer.presence[0])

    def _window(self, image: PreparedImage, start: Triple) -> tuple[Tensor, Tensor]:
        """Network input [1, C', p, p, p] and position [3, 2] of one window."""
        import torch

        from textseg3d.preprocessing import window_position

        size = image.grid.size
        fill = torch.tensor(image.outside)[:, None, None, None]
        x = fill.expand(-1, *size).clone()
        source, target = image.grid.clip(start)
        x[(slice(None), *target)] = image.x[(slice(None), *source)]
        x = x[None].to(self.runtime.device).contiguous(memory_format=torch.channels_last_3d)
        position = torch.from_numpy(window_position(image.box, start, size))
        return x, position.to(self.runtime.device)


def autocast(runtime: Runtime, *, exact: bool = False) -> AbstractContextManager[Any]:
    """Context of the runtime's precision; ``exact`` stays in float32."""
    import torch

    if runtime.autocast is None or exact:
        return nullcontext()
    return torch.autocast(runtime.device.type, dtype=runtime.autocast)


def native_order(array: NDArray[Any]) -> NDArray[Any]:
    """The array in a dtype and byte order that torch takes."""
    if array.dtype.byteorder not in ("=", "|"):
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        wider = np.int32 if array.dtype.itemsize == 2 else np.float32
        return array.astype(wider)
    return array.astype(np.uint8) if array.dtype == np.bool_ else array


def body_midline(hu: NDArray[np.float32], box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean x of tissue per slice, inside the body box."""
    first, last = box[:, 0].astype(int), box[:, 1].astype(int) + 1
    tissue = hu[:, first[1] : last[1], first[2] : last[2]] > _TISSUE_HU
    per_x = tissue.sum(axis=1, dtype=np.float64)
    x = np.arange(first[2], last[2])
    with np.errstate(invalid="ignore"):
        return (per_x * x).sum(axis=1) / per_x.sum(axis=1)
