"""Stages of a cascade: fine networks that look only into what the coarse one has found.

A stage answers some targets instead of the model's main network. It takes the masks of the targets
that it looks into from that one, cuts their box out of the scan, and runs there at its own spacing,
with an :class:`Engine` of its own. Its masks are cut to the surroundings of what it looked into.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from textseg3d.inference.accumulate import OUTSIDE_LOGIT, AccumulatorFactory
from textseg3d.inference.engine import Answer, Engine, PromptImage, WindowFeatures
from textseg3d.inference.masks import Box, PackedMask
from textseg3d.inference.places import REACH_MM, near, reached, solid
from textseg3d.inference.presence import PRESENT
from textseg3d.inference.progress import Progress
from textseg3d.inference.regrid import logits_on_grid, logits_to_mask
from textseg3d.inference.result import StageRun
from textseg3d.inference.windows import Triple, WindowPolicy
from textseg3d.io import Volume

if TYPE_CHECKING:
    from textseg3d.inference.device import Runtime
    from textseg3d.inference.model import StageFiles
    from textseg3d.plans.schema import Configuration
    from textseg3d.text.types import TextFeatures

MARGIN_MM = 20.0
"""Around the box of what a stage looks into; training cases are cut in the same way."""


class Stage:
    """A stage of a model, without any state of a scan; its network is loaded when first needed.

    Args:
        files: name, configuration and weights.
        runtime, window_policy, accumulator: of :class:`Engine`.
    """

    def __init__(
        self,
        files: StageFiles,
        runtime: Runtime,
        window_policy: WindowPolicy,
        accumulator: AccumulatorFactory,
    ) -> None:
        self.files = files
        self.label = f"network ({files.name})"
        self._arguments = runtime, window_policy, accumulator, self.label
        self._engine: Engine | None = None
        self._lock = threading.Lock()

    @property
    def configuration(self) -> Configuration:
        """Spacing, patch and intensities, what it looks into and what it answers."""
        return self.files.configuration

    def engine(self, max_memory_bytes: int | None) -> Engine:
        """Runs the network, within a limit of memory."""
        with self._lock:
            if self._engine is None:
                self._engine = Engine(self.files.load(), self.configuration, *self._arguments)
        if max_memory_bytes is None:
            return self._engine
        return self._engine.limited(max_memory_bytes)


@dataclass(frozen=True)
class StageImage:
    """The part of a scan that a stage looks at.

    Attributes:
        crop: which part.
        within: what it looks into, on the scan's grid, see :func:`solid`.
        image: the part on the network's grid.
    """

    crop: Box
    within: PackedMask
    image: PromptImage


class ScanStages:
    """What the stages of a model make of one scan, each from when it is first needed.

    Args:
        stages: of the model.
        volume: the scan.
        exact: no shortcut is wanted.
        max_memory_bytes: see :class:`Runtime`.
        keep: features of windows, for later prompts.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        volume: Volume,
        *,
        exact: bool = False,
        max_memory_bytes: int | None = None,
        keep: bool = False,
    ) -> None:
        self._by_name = {name: s for s in stages for name in s.configuration.answers}
        self._volume, self._exact, self._keep = volume, exact, keep
        self._max_memory_bytes = max_memory_bytes
        self._images: dict[str, StageImage | None] = {}
        self._kept: dict[str, list[WindowFeatures]] = {}
        self._lock = threading.RLock()

    def needed(self, names: Iterable[str]) -> dict[Stage, list[str]]:
        """Stages that answer some of ``names``, with those."""
        found: dict[Stage, list[str]] = {}
        for name in names:
            if name in self._by_name:
                found.setdefault(self._by_name[name], []).append(name)
        return found

    def coarse(self, names: Sequence[str]) -> list[str]:
        """What the main network is asked: all other names, and what stages look into."""
        asked = [name for name in names if name not in self._by_name]
        for stage in self.needed(names):
            if stage.files.name not in self._images:
                asked += stage.configuration.within
        return list(dict.fromkeys(asked))

    @property
    def nbytes(self) -> int:
        """Memory that kept features take."""
        return sum(window.nbytes for kept in self._kept.values() for window in kept)

    def close(self) -> None:
        """Free the features."""
        self._kept.clear()
        self._images.clear()

    def answer(
        self,
        stage: Stage,
        prompts: Mapping[str, TextFeatures],
        coarse: Mapping[str, PackedMask],
        progress: Progress,
        *,
        keep_logits: bool,
    ) -> tuple[dict[str, Answer], StageRun]:
        """Answers of a stage on the scan's grid, logits included.

        Args:
            stage: which.
            prompts: its targets with their texts.
            coarse: masks of :meth:`coarse`, by name.
            progress: see :class:`Progress`.
            keep_logits: the logits are wanted.

        Raises:
            Cancelled: when the progress callback says so.
            MemoryBudgetError: if there is not enough memory.
        """
        begin = time.perf_counter()
        engine = stage.engine(self._max_memory_bytes)
        with self._lock:
            found = self._image(stage, engine, coarse)
            if found is None:
                answers = [self._nothing(keep_logits=keep_logits) for _ in prompts]
            else:
                windows = self._windows(stage, engine, found.image, progress)
                texts = list(prompts.values())
                made = engine.answer(found.image, windows, texts, keep_logits=keep_logits)
                answers = [self._placed(found, one, keep_logits=keep_logits) for one in made]
        run = _run(stage, tuple(prompts), found, time.perf_counter() - begin)
        return dict(zip(prompts, answers)), run

    def _image(
        self, stage: Stage, engine: Engine, coarse: Mapping[str, PackedMask]
    ) -> StageImage | None:
        """Where the stage looks; None if there is nothing to look into."""
        name = stage.files.name
        if name not in self._images:
            within = solid(PackedMask.union([coarse[n] for n in stage.configuration.within]))
            found = None
            if within.bits.size:
                found = prepare_stage(engine, self._volume, within, exact=self._exact)
                if self._keep:
                    found = replace(found, image=engine.keep_all(found.image))
            self._images[name] = found
        return self._images[name]

    def _windows(
        self, stage: Stage, engine: Engine, image: PromptImage, progress: Progress
    ) -> Iterable[WindowFeatures]:
        if not self._keep:
            return engine.windows(image, progress)
        name = stage.files.name
        if name in self._kept:
            return counted(self._kept[name], progress, stage.label)
        self._kept[name] = list(engine.windows(image, progress))
        return self._kept[name]

    def _placed(self, found: StageImage, answer: Answer, *, keep_logits: bool) -> Answer:
        """An answer on the crop's grid, on the scan's."""
        mask = answer.mask
        if mask is None:
            mask = PackedMask.empty(found.image.scan_shape)
            if answer.presence >= PRESENT:
                mask = logits_to_mask(answer.logits, found.image.scan_shape)
        shape, spacing = self._volume.shape, self._volume.spacing_mm
        placed = reached(mask.placed(shape, found.crop), found.within, spacing)
        logits = answer.logits
        if keep_logits:
            logits = np.full(shape, OUTSIDE_LOGIT, np.float32)
            inside = logits_on_grid(answer.logits, found.image.scan_shape)
            whole = np.ones(inside.shape, bool)
            around = near(PackedMask.pack(shape, found.crop, whole), found.within, spacing)
            kept = around.content(found.crop) | placed.content(found.crop)
            logits[found.crop] = np.where(kept, inside, OUTSIDE_LOGIT)
        there = placed.bits.size > 0 or answer.presence < PRESENT  # else it was found elsewhere
        presence = answer.presence if there else 0.0
        return replace(answer, mask=placed, logits=logits, presence=presence)

    def _nothing(self, *, keep_logits: bool) -> Answer:
        shape = self._volume.shape
        logits = np.full(shape if keep_logits else (0, 0, 0), OUTSIDE_LOGIT, np.float32)
        return Answer(logits, 0.0, PackedMask.empty(shape))


def counted(
    windows: Sequence[WindowFeatures], progress: Progress, label: str
) -> Iterator[WindowFeatures]:
    """Kept windows, with progress.

    Raises:
        Cancelled: when the progress callback says so.
    """
    for done, window in enumerate(windows):
        progress.step(label, done, len(windows))
        yield window
    progress.step(label, len(windows), len(windows))


def prepare_stage(engine: Engine, volume: Volume, within: PackedMask, *, exact: bool) -> StageImage:
    """Cut a scan to what a stage looks into, resample that, and choose the windows.

    Args:
        engine: of the stage.
        volume: the scan.
        within: what the stage looks into, in its smallest box; not empty.
        exact: windows at half-patch steps over the whole part; without it only those over the
            surroundings of ``within``, and only those that hold something of them.

    Raises:
        MemoryBudgetError: if the part cannot be done in the memory that may be used.
    """
    spacing = volume.spacing_mm
    crop = _grown(within.box, spacing, MARGIN_MM, volume.shape)
    _, x, outside = engine.on_grid(volume.array[(slice(None), *crop)], spacing, exact=exact)
    shape = (x.shape[1], x.shape[2], x.shape[3])
    size = (
        crop[0].stop - crop[0].start,
        crop[1].stop - crop[1].start,
        crop[2].stop - crop[2].start,
    )
    scale = [n / m for n, m in zip(shape, size)]  # voxels of the network's grid per voxel
    faces = np.array(
        [
            ((b.start - c.start) * f, (b.stop - c.start) * f)
            for b, c, f in zip(within.box, crop, scale)
        ]
    )
    box = faces - (0.0, 1.0)  # first and last voxel
    reach = np.array([[REACH_MM * f / s] for f, s in zip(scale, spacing)])
    grid = engine.grid(shape, box + reach * (-1.0, 1.0), exact=exact)
    if not exact:
        inside = within.content(crop)
        reasons = {}
        for start in grid:
            part = []
            for s, p, n, f, mm in zip(start, grid.size, size, scale, spacing):
                first, last = s / f - REACH_MM / mm, (s + p) / f + REACH_MM / mm
                part.append(slice(max(0, math.floor(first)), min(n, max(0, math.ceil(last)))))
            if not inside[tuple(part)].any():
                names = " + ".join(engine.configuration.within)
                reasons[start] = f"nothing of {names} within {REACH_MM:.0f} mm"
        grid = grid.without(reasons)
    image = PromptImage(x, outside, box, None, grid, size, exact=exact)
    return StageImage(crop, within, engine.planned(image))


def _grown(box: Box, spacing_mm: Sequence[float], margin_mm: float, shape: Triple) -> Box:
    z, y, x = (
        slice(
            max(0, s.start - math.ceil(margin_mm / mm)), min(n, s.stop + math.ceil(margin_mm / mm))
        )
        for s, mm, n in zip(box, spacing_mm, shape)
    )
    return z, y, x


def _run(
    stage: Stage, answered: tuple[str, ...], found: StageImage | None, seconds: float
) -> StageRun:
    image = None if found is None else found.image
    plan: dict[str, Any] | None = None
    if image is not None and image.plan is not None:
        plan = image.plan.to_json()
    return StageRun(
        name=stage.files.name,
        sha256=stage.files.sha256,
        within=stage.configuration.within,
        answered=answered,
        box=None if found is None else tuple((s.start, s.stop) for s in found.crop),
        windows_run=0 if image is None else len(image.grid),
        windows_total=0 if image is None else image.grid.total,
        windows=() if image is None else tuple(image.grid.audit()),
        seconds=seconds,
        memory=plan,
    )
