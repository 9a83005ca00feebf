"""Runs a closed-vocabulary ensemble; the interface is that of the engine for prompts.

The network answers for all its classes at once, so a scan is labelled once, whatever is asked,
and each prompt picks its classes from the label map.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import ModelError, UsageError
from textseg3d.inference.closed.cells import class_codes
from textseg3d.inference.closed.labels import LabelMap, label_scan
from textseg3d.inference.closed.network import (
    load_networks,
    outputs_of,
    speed_up,
    split_head,
)
from textseg3d.inference.closed.prepare import ClosedImage, prepare
from textseg3d.inference.closed.spec import SPEC_FILE, ClosedClass, ClosedSpec
from textseg3d.inference.closed.windows import PlaneSum, importance
from textseg3d.inference.device import autocast, trim_memory
from textseg3d.inference.engine import Answer
from textseg3d.inference.progress import Progress

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from textseg3d.inference.device import Runtime
    from textseg3d.io import Volume
    from textseg3d.zoo import ModelCard

log = logging.getLogger(__name__)
WEIGHTS_FILE = "model.safetensors"
BF16_DICE = 0.995
"""Of the classes in float32 with those in bf16; a network that has less is run in float32."""


def is_closed(folder: Path) -> bool:
    """Whether a model folder holds a closed-vocabulary network."""
    return (folder / SPEC_FILE).is_file()


@dataclass(frozen=True)
class ClosedModel:
    """A converted model, checked and loaded.

    Attributes:
        card: name, concepts, hashes.
        spec: of the network.
        networks: one per fold, float32, on the CPU.
    """

    card: ModelCard
    spec: ClosedSpec
    networks: list[torch.nn.Module]

    @property
    def sha256(self) -> str:
        """Hash of the weights file."""
        return self.card.files[WEIGHTS_FILE].sha256

    def texts(self, name: str) -> ClosedClass:
        """The class that the card calls ``name``.

        Raises:
            ModelError: if card and spec disagree.
        """
        for item in self.spec.classes:
            if item.name == name:
                return item
        raise ModelError(f"the model has no class {name!r}; convert it again")


def load_closed(folder: Path, network: torch.nn.Module | None = None) -> ClosedModel:
    """Check a model folder (hashes, finite weights) and load it.

    Args:
        folder: of the model.
        network: used instead of the folder's, weights included.

    Raises:
        ModelError: if the folder is damaged or its files do not fit together.
        MissingDependencyError: without dynamic_network_architectures.
    """
    from textseg3d.zoo import verify_model

    card = verify_model(folder)
    if SPEC_FILE not in card.files:
        raise ModelError(f"{folder}: the card does not list {SPEC_FILE}; convert the model again")
    spec = ClosedSpec.load(folder)
    if {item.name for item in spec.classes} != set(card.concepts):
        raise ModelError(f"{folder}: card and {SPEC_FILE} name other classes; convert it again")
    networks = [network] if network is not None else load_networks(folder / WEIGHTS_FILE, spec)
    return ClosedModel(card, spec, networks)


class _Timed:
    """Items of an iterator, and the seconds that they took."""

    def __init__(self, items: Iterator[Tensor]) -> None:
        self._items, self.seconds = items, 0.0

    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        begin = time.perf_counter()
        try:
            return next(self._items)
        finally:
            self.seconds += time.perf_counter() - begin


class ClosedRun:
    """The work on one scan, done when the first answer is asked for, and kept."""

    def __init__(self, engine: ClosedEngine, image: ClosedImage, progress: Progress) -> None:
        self._engine, self._image, self._progress = engine, image, progress
        self._result: LabelMap | None = None

    @property
    def nbytes(self) -> int:
        """Memory that the result takes."""
        return 0 if self._result is None else self._result.nbytes

    def label_map(self, keep: Sequence[int] = ()) -> LabelMap:
        """The label map, with the log odds of the heads ``keep``.

        Raises:
            Cancelled: when the progress callback says so.
        """
        known = self._result
        if known is None or set(keep) - set(known.logits):
            engine = self._engine
            trim_memory()
            begin = time.perf_counter()
            planes = _Timed(engine.raw_planes(self._image, self._progress))
            known = label_scan(planes, engine.configuration, self._image, keep, head=engine.head)
            labelling = time.perf_counter() - begin - planes.seconds
            self._progress.move(labelling, "network", "export")
            self._progress = Progress(None)  # a later run is no stage of this one
            trim_memory()
            self._result = known
        return known


class ClosedEngine:
    """An ensemble and its spec, without any state of a scan.

    Args:
        model: networks and spec.
        runtime: device and precision; ``exact`` runs are float32 whatever it says.
    """

    def __init__(self, model: ClosedModel, runtime: Runtime) -> None:
        import torch

        self.configuration = model.spec
        self.runtime = runtime
        self.networks: list[torch.nn.Module] = []
        self.head = split_head(model.networks)
        for network in model.networks:
            speed_up(network)
            network = network.to(device=runtime.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
            self.networks.append(network.eval().requires_grad_(False))
        if self.head is not None:
            self.head = self.head.to(runtime.device)
        self._weight = importance(model.spec.patch_size).to(runtime.device)

    def prepare(self, volume: Volume, *, exact: bool) -> ClosedImage:
        """The scan on the network's grid; see :func:`textseg3d.inference.closed.prepare`.

        Raises:
            InputError: if the scan has another number of channels than the model.
        """
        import torch

        with torch.inference_mode():
            return prepare(volume, self.configuration, exact=exact)

    def windows(self, image: ClosedImage, progress: Progress) -> Iterator[ClosedRun]:
        """One item: the scan's run. Whoever takes all items has had the work done."""
        run = ClosedRun(self, image, progress)
        yield run
        run.label_map()

    def answer(
        self,
        image: ClosedImage,
        windows: Iterable[ClosedRun],
        prompts: Sequence[ClosedClass],
        *,
        keep_logits: bool = False,
    ) -> list[Answer]:
        """Masks of classes, and their log odds on the scan's grid if they are kept."""
        keep = [item.head for item in prompts] if keep_logits else []
        for run in windows:
            found = run.label_map(keep)
            boxes = found.boxes()
            nothing = np.zeros((0, 0, 0), np.float32)
            return [
                Answer(
                    found.logits.get(item.head, nothing),
                    found.presence[item.head],
                    found.mask(item.values, boxes),
                )
                for item in prompts
            ]
        raise UsageError("there is no scan to ask about; call set_image again")

    def planes(self, image: ClosedImage, progress: Progress) -> Iterator[Tensor]:
        """Logits [heads, b, c] on the network's grid, plane by plane of the first axis.

        Raises:
            Cancelled: when the progress callback says so.
        """
        for plane in self.raw_planes(image, progress):
            yield plane if self.head is None else self.head(plane)

    def raw_planes(self, image: ClosedImage, progress: Progress) -> Iterator[Tensor]:
        """What :attr:`head` makes logits of, in the same order; logits without a head.

        Raises:
            Cancelled: when the progress callback says so.
        """
        import torch

        grid = image.grid
        exact = image.exact or not self._bears_half(image)
        trim_memory()
        rows = grid.starts[0]
        total = len(grid)
        heads = len(self.configuration.labels)
        channels = heads if self.head is None else self.head.weight.shape[1]
        sums = PlaneSum(grid, channels, self._weight)
        for done, start in enumerate(grid):
            progress.step("network", done, total)
            with torch.inference_mode(), autocast(self.runtime, exact=exact):
                sums.add(start, self._window(image, start))
            if (done + 1) % (total // len(rows)) == 0:
                row = (done + 1) // (total // len(rows))
                trim_memory()
                yield from sums.take(rows[row] if row < len(rows) else None)
                trim_memory()
        progress.step("network", total, total)

    def _bears_half(self, image: ClosedImage) -> bool:
        """Whether the network decides in bf16 as it does in float32, in the middle of the scan."""
        import torch

        if image.exact or self.runtime.autocast is None:
            return True
        x = self._middle(image)
        codes = []
        for exact in (True, False):
            with torch.inference_mode(), autocast(self.runtime, exact=exact):
                found = outputs_of(self.networks, x, features=self.head is not None)[0].float()
            found = found if self.head is None else self.head(found)
            codes.append(class_codes(found.flatten(1).T.contiguous(), regions=self._regions))
        dice = _dice(*codes)
        if dice < BF16_DICE:
            log.info("float32: the classes of this network in bf16 have Dice %.4f", dice)
        return dice >= BF16_DICE

    def _middle(self, image: ClosedImage) -> Tensor:
        """Half a window, if the network takes that, out of the middle of the scan."""
        import torch

        sides, places = [], []
        for axis, (p, n) in enumerate(zip(image.grid.size, image.inputs.shape[1:])):
            unit = math.prod(stride[axis] for stride in self.configuration.architecture.strides)
            side = max(p // 2 // unit * unit, min(p, 2 * unit))
            sides.append(side)
            places.append(slice(max(0, (n - side) // 2), max(0, (n - side) // 2) + side))
        part = image.inputs[(slice(None), *places)]
        x = torch.zeros((1, len(part), *sides))
        a, b, c = part.shape[1:]
        x[0, :, :a, :b, :c] = part
        return x.to(self.runtime.device, memory_format=torch.channels_last_3d)

    @property
    def _regions(self) -> bool:
        return self.configuration.regions

    def _window(self, image: ClosedImage, start: tuple[int, int, int]) -> Tensor:
        """What the folds say, mean over mirrored windows if asked: [channels, p, p, p]."""
        import torch

        source, target = image.grid.clip(start)
        x = torch.zeros((1, len(image.inputs), *image.grid.size))
        x[0][(slice(None), *target)] = image.inputs[(slice(None), *source)]
        x = x.to(self.runtime.device, memory_format=torch.channels_last_3d)
        features = self.head is not None
        total = outputs_of(self.networks, x, features=features)
        axes = [axis + 2 for axis in self.configuration.mirror_axes]
        flips: list[Any] = [c for n in range(len(axes)) for c in combinations(axes, n + 1)]
        if not flips:
            return total[0]
        total = total.float()
        for flip in flips:
            total += outputs_of(self.networks, x.flip(flip), features=features).flip(flip)
        return (total / (len(flips) + 1))[0]


def _dice(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Dice of all foreground voxels; 1 where there are none."""
    same = np.count_nonzero((first == second) & (first > 0))
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return 2 * same / total if total else 1.0
