"""Runs a model of parts: only those that the prompts need, and only where they can be."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import InputError, ModelError, UsageError
from textseg3d.inference.accumulate import OUTSIDE_LOGIT
from textseg3d.inference.closed.engine import ClosedEngine, load_closed
from textseg3d.inference.closed.labels import LabelMap
from textseg3d.inference.closed.parts import PartClass, PartSource, PartsSpec
from textseg3d.inference.closed.prepare import coarse_look
from textseg3d.inference.engine import Answer, PreparedImage
from textseg3d.inference.masks import Box
from textseg3d.inference.progress import Progress
from textseg3d.inference.windows import WindowGrid
from textseg3d.zoo.find import find_foreign
from textseg3d.zoo.verify import PARTS_FILE

if TYPE_CHECKING:
    from textseg3d.inference.device import Runtime
    from textseg3d.io import Volume
    from textseg3d.zoo import ModelCard

log = logging.getLogger(__name__)


def is_composite(folder: Path) -> bool:
    """Whether a model folder is a list of parts."""
    return (folder / PARTS_FILE).is_file()


@dataclass(frozen=True)
class PartsModel:
    """A model of parts, checked; its parts are loaded when they are needed.

    Attributes:
        card: name and concepts.
        spec: the parts.
    """

    card: ModelCard
    spec: PartsSpec

    @property
    def sha256(self) -> str:
        """Hash of the list of parts."""
        return self.card.files[PARTS_FILE].sha256

    def texts(self, name: str) -> PartClass:
        """The class that the card calls ``name``.

        Raises:
            ModelError: if card and spec disagree.
        """
        for item in self.spec.classes:
            if item.name == name:
                return item
        raise ModelError(f"the model has no class {name!r}; delete its folder, it is a cache")


def load_composite(folder: Path) -> PartsModel:
    """Check a model folder of parts.

    Raises:
        ModelError: if it is damaged.
    """
    from textseg3d.zoo import verify_model

    return PartsModel(verify_model(folder), PartsSpec.load(folder))


class WindowCount(WindowGrid):
    """Windows that the parts have run; it grows while they run."""

    run: int

    def __len__(self) -> int:
        return self.run

    @classmethod
    def empty(cls, shape: tuple[int, int, int]) -> WindowCount:
        """Nothing run yet, on a scan of this shape."""
        made = cls(((), (), ()), (0, 0, 0), shape, 0)
        made.count(0, 0)
        return made

    def count(self, run: int, total: int) -> None:
        """Add a part's windows, and those that an exact run of it takes."""
        object.__setattr__(self, "run", getattr(self, "run", 0) + run)
        object.__setattr__(self, "total", self.total + total)


@dataclass(frozen=True)
class PartsImage(PreparedImage):
    """A scan; each part prepares it for itself.

    Attributes:
        volume: the scan.
        exact: whether shortcuts are off.
    """

    volume: Volume
    exact: bool


class PartsRun:
    """The work on one scan: label maps of the parts that were asked for so far."""

    def __init__(self, engine: PartsEngine, image: PartsImage, progress: Progress) -> None:
        self._engine, self._image, self._progress = engine, image, progress
        self._maps: dict[int, tuple[Box, LabelMap]] = {}
        self._coarse: LabelMap | None = None

    @property
    def nbytes(self) -> int:
        """Memory that the label maps take."""
        return sum(found.nbytes for _, found in self._maps.values())

    def label_map(self, part: int, labels: Sequence[str], keep: Sequence[int]) -> LabelMap:
        """What a part says, at least where it may see ``labels``.

        Args:
            part: which.
            labels: of the classes asked for.
            keep: values whose log odds are wanted too.

        Raises:
            Cancelled: when the progress callback says so.
        """
        shape = self._image.volume.shape
        box = self._box(labels)
        known = self._maps.get(part)
        if known is not None and not set(keep) - set(known[1].logits):
            if box is None or _contains(known[0], box):
                return known[1]
            box = _union(known[0], box)
        if box is None:
            nothing = np.zeros(shape, np.uint8)
            heads = len(self._engine.spec.parts[part].labels) + 1
            return LabelMap(nothing, (0.0,) * heads, {})
        found = self._engine.label_box(part, self._image, box, keep, self._progress)
        self._maps[part] = box, found
        return found

    def _box(self, labels: Sequence[str]) -> Box | None:
        """Where the work is confined to; None where there is nothing to look for."""
        spec, volume = self._engine.spec, self._image.volume
        whole = (slice(0, volume.shape[0]), slice(0, volume.shape[1]), slice(0, volume.shape[2]))
        wanted = spec.crop_to or labels
        if spec.coarse is None or (self._image.exact and not spec.crop_to):
            return whole
        names = spec.coarse.labels
        if not set(wanted) <= set(names):
            return whole
        if self._coarse is None:
            self._coarse = self._engine.look(self._image, self._progress)
        boxes = self._coarse.boxes()
        values = [names.index(label) + 1 for label in wanted]
        found = [boxes[v - 1] for v in values if v <= len(boxes)]
        inside = [box for box in found if box is not None]
        if not inside:
            return None
        edges = []
        for axis in range(3):
            margin = int(spec.margin_mm / volume.spacing_mm[axis])
            first = min(box[axis].start for box in inside) - margin
            last = max(box[axis].stop for box in inside) + margin
            edges.append(slice(max(0, first), min(volume.shape[axis], last)))
        return edges[0], edges[1], edges[2]


class PartsEngine:
    """A model of parts, without any state of a scan.

    Args:
        model: the list of parts.
        runtime: device and precision.
    """

    def __init__(self, model: PartsModel, runtime: Runtime) -> None:
        self.spec = model.spec
        self.configuration = model.spec
        self.runtime = runtime
        self._engines: dict[str, ClosedEngine] = {}

    def prepare(self, volume: Volume, *, exact: bool) -> PartsImage:
        """The scan with a coarse look at it; nothing is resampled for the parts yet.

        Raises:
            InputError: if the scan has several channels.
        """
        import torch

        if volume.array.shape[0] != 1:
            raise InputError(
                f"the scan has {volume.array.shape[0]} channels, the model was trained on 1"
            )
        with torch.inference_mode():
            look, box, midline = coarse_look(volume, ct=self.spec.ct)
        return PartsImage(look, (), box, midline, WindowCount.empty(volume.shape), volume, exact)

    def windows(self, image: PartsImage, progress: Progress) -> Iterator[PartsRun]:
        """One item: the scan's run, which does nothing until it is asked."""
        yield PartsRun(self, image, progress)

    def answer(
        self,
        image: PartsImage,
        windows: Iterable[PartsRun],
        prompts: Sequence[PartClass],
        *,
        keep_logits: bool = False,
    ) -> list[Answer]:
        """Masks of classes; each part that has some of them runs once."""
        for run in windows:
            answers: dict[str, Answer] = {}
            for part in sorted({item.part for item in prompts}):
                mine = [item for item in prompts if item.part == part]
                values = [self._value(item) for item in mine]
                keep = values if keep_logits else []
                found = run.label_map(part, [item.label for item in mine], keep)
                boxes = found.boxes()
                nothing = np.full(found.values.shape if keep_logits else (0, 0, 0), OUTSIDE_LOGIT)
                for item, value in zip(mine, values):
                    answers[item.name] = Answer(
                        found.logits.get(value, nothing.astype(np.float32)),
                        found.presence[value],
                        found.mask([value], boxes),
                    )
            return [answers[item.name] for item in prompts]
        raise UsageError("there is no scan to ask about; call set_image again")

    def look(self, image: PartsImage, progress: Progress) -> LabelMap:
        """The coarse network's label map of the whole scan."""
        coarse = self.spec.coarse
        if coarse is None:
            raise ModelError("the model has no coarse network")
        return self._label(coarse, image, image.volume, (), progress)

    def label_box(
        self, part: int, image: PartsImage, box: Box, keep: Sequence[int], progress: Progress
    ) -> LabelMap:
        """A part's label map [D, H, W] of the scan, from inside ``box``; background elsewhere."""
        volume = image.volume
        small = replace(volume, array=volume.array[(slice(None), *box)])
        found = self._label(self.spec.parts[part], image, small, keep, progress)
        if small.shape == volume.shape:
            return found
        return LabelMap(
            _placed(found.values, volume.shape, box, 0),
            found.presence,
            {k: _placed(v, volume.shape, box, OUTSIDE_LOGIT) for k, v in found.logits.items()},
        )

    def _label(
        self,
        source: PartSource,
        image: PartsImage,
        volume: Volume,
        keep: Sequence[int],
        progress: Progress,
    ) -> LabelMap:
        engine = self._engine(source)
        prepared = engine.prepare(volume, exact=image.exact)
        if isinstance(image.grid, WindowCount):
            image.grid.count(len(prepared.grid), prepared.grid.total)
        log.info("%s: %d windows", Path(source.folder).parent.name, len(prepared.grid))
        return next(engine.windows(prepared, progress)).label_map(keep)

    def _engine(self, source: PartSource) -> ClosedEngine:
        if source.folder not in self._engines:
            folder = find_foreign(source.folder, **source.options)
            if folder is None:
                raise ModelError(f"{source.folder} is no nnU-Net results folder any more")
            model = load_closed(folder)
            heads = len(model.spec.labels)
            if model.spec.regions or len(source.labels) >= heads:
                raise ModelError(
                    f"{source.folder} has {heads - 1} classes, expected {len(source.labels)}; "
                    "install it again"
                )
            self._engines[source.folder] = ClosedEngine(model, self.runtime)
        return self._engines[source.folder]

    def _value(self, item: PartClass) -> int:
        return self.spec.parts[item.part].labels.index(item.label) + 1


def _placed(
    array: NDArray[Any], shape: tuple[int, int, int], box: Box, fill: float
) -> NDArray[Any]:
    full = np.full(shape, fill, dtype=array.dtype)
    full[box] = array
    return full


def _contains(outer: Box, inner: Box) -> bool:
    return all(o.start <= i.start and i.stop <= o.stop for o, i in zip(outer, inner))


def _union(first: Box, second: Box) -> Box:
    z, y, x = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second))
    return z, y, x
