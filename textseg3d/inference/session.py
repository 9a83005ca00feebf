"""A scan on the network's grid, and the answers to prompts about it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import UsageError
from textseg3d.inference.compose import compare, compose, midline_voxels
from textseg3d.inference.engine import (
    Answer,
    Engine,
    PreparedImage,
    PromptEngine,
    PromptImage,
)
from textseg3d.inference.masks import PackedMask
from textseg3d.inference.measure import Instances, side_warning
from textseg3d.inference.memory import parse_bytes
from textseg3d.inference.parallel import in_order, workers
from textseg3d.inference.postprocess import Postprocessing
from textseg3d.inference.presence import PRESENT
from textseg3d.inference.progress import OnProgress, Progress
from textseg3d.inference.prompts import Part, PromptRequest, Vocabulary
from textseg3d.inference.regrid import logits_to_mask
from textseg3d.inference.result import Exporter, Prediction, PromptResult, StageRun
from textseg3d.inference.stages import ScanStages, Stage, counted
from textseg3d.io import Volume
from textseg3d.plans.schema import Configuration
from textseg3d.suggest import did_you_mean
from textseg3d.text.modality import TEXTS, with_modality

if TYPE_CHECKING:
    from textseg3d.inference.closed.composite import PartsModel
    from textseg3d.inference.closed.engine import ClosedModel
    from textseg3d.inference.model import LoadedModel
    from textseg3d.inference.open.engine import OpenModel

NO_AIR_HU = -200.0  # above the darkest voxel: no air, nor lung, nor noise in fat


@dataclass(frozen=True)
class Predictor:
    """Everything that stays the same from scan to scan.

    Attributes:
        model: card, network, texts.
        engine: runs the network.
        vocabulary: what the model knows.
        exporter: for :meth:`Prediction.save`.
        modality: of the scans, as the user states it.
        stages: of the model.
    """

    model: LoadedModel | ClosedModel | PartsModel | OpenModel
    engine: PromptEngine
    vocabulary: Vocabulary
    exporter: Exporter | None
    modality: str | None = None
    stages: tuple[Stage, ...] = ()

    def understand(self, prompts: str | Sequence[str]) -> list[PromptRequest]:
        """See :func:`textseg3d.inference.prompts.understand_all`."""
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        return self.vocabulary.understand_all(texts)

    def limited(self, max_memory: str | int | None) -> Predictor:
        """The same within a limit of memory, given as bytes or as a user writes it.

        Raises:
            UsageError: for what is no amount of memory, or a converted model.
        """
        if max_memory is None:
            return self
        size = max_memory if isinstance(max_memory, int) else parse_bytes(max_memory)
        if not isinstance(self.engine, Engine):
            raise UsageError(
                f"{self.model.card.name} is a converted model, which takes no max_memory; leave it "
                "out, or crop the scan"
            )
        return replace(self, engine=self.engine.limited(size))

    def stating(self, modality: str | None) -> Predictor:
        """The same for scans of a modality that the user states.

        Raises:
            UsageError: for a model whose prompts take none, or one that the model does not know.
        """
        if modality is None:
            return self
        card = self.model.card
        if not _modality_token(self.engine.configuration):
            raise UsageError(f"prompts of {card.name} take no modality; leave it out")
        if modality not in card.modalities:
            known = ", ".join(card.modalities)
            hint = did_you_mean(modality.upper(), card.modalities)
            raise UsageError(f"{card.name} does not know modality {modality!r}{hint} ({known})")
        return replace(self, modality=modality)

    def stages_on(self, volume: Volume, *, exact: bool, keep: bool = False) -> ScanStages:
        """The model's stages for one scan; ``keep`` keeps their features for later prompts."""
        limit = self.engine.runtime.max_memory_bytes
        return ScanStages(self.stages, volume, exact=exact, max_memory_bytes=limit, keep=keep)

    def _modality_of(self, volume: Volume) -> str | None:
        """What was stated, else what the file says, else the model's only one."""
        known = self.model.card.modalities
        written = getattr(volume.source.header, "modality", None)
        if self.modality is not None or written in known:
            return self.modality or written
        return known[0] if len(known) == 1 and written is None else None

    def _doubts(self, volume: Volume) -> list[str]:
        """What the values of a scan say against a model that knows CT alone."""
        card, low = self.model.card, float(volume.array.min())
        if tuple(card.modalities) != ("CT",) or low <= NO_AIR_HU:
            return []
        return [
            f"no voxel is below {NO_AIR_HU:g} HU, as air is: is this a CT in Hounsfield units? "
            f"{card.name} learnt from CT alone, and its masks of anything else mean nothing"
        ]

    def _texts(self, names: Sequence[str], volume: Volume) -> list[Any]:
        """What the engines ask for each name."""
        from textseg3d.inference.model import LoadedModel

        model = self.model
        token = _modality_token(self.engine.configuration)
        if not (isinstance(model, LoadedModel) and token and names):
            return [model.texts(name) for name in names]
        modality = self._modality_of(volume)
        word = None if modality is None else model.texts(TEXTS[modality])
        return [with_modality(model.texts(name), word) for name in names]

    def ask(
        self,
        volume: Volume,
        image: PreparedImage,
        windows: Iterable[Any],
        requests: Sequence[PromptRequest],
        progress: Progress,
        stages: ScanStages,
        *,
        exact: bool,
        keep_logits: bool,
    ) -> Prediction:
        """Answer prompts on the features of one scan."""
        names = list(dict.fromkeys(name for r in requests for name in r.names))
        asked = stages.coarse(names)
        with progress.stage("network"):
            texts = self._texts(asked, volume)
            answer = self.engine.answer
            found = answer(image, windows, texts, keep_logits=keep_logits) if asked else []
        _exported(progress, "network", found)
        answers = dict(zip(asked, found))
        with progress.stage("export"):
            masks = self._cleaned(answers, volume)
        runs, notes = self._ask_stages(
            names, volume, answers, masks, progress, stages, keep_logits=keep_logits
        )
        answers = {name: answers[name] for name in names}  # not what only stages looked into
        results = {}
        with progress.stage("export"):
            line = midline_voxels(image.midline, image.x.shape[3], volume.shape)
            result = partial(
                _result,
                answers=answers,
                masks=masks,
                volume=volume,
                image=image,
                line=line,
                notes=notes,
                at_edges={name for run in runs for name in run.answered},
                keep_logits=keep_logits,
            )
            progress.step("export", 0, len(requests))
            made = in_order(result, requests, workers())
            for done, one in enumerate(made, start=1):
                results[one.text] = one
                progress.step("export", done, len(requests))
        plan = image.plan if isinstance(image, PromptImage) else None
        return Prediction(
            results=results,
            volume=volume,
            model=self.model.card.name,
            model_sha256=self.model.sha256,
            windows_run=len(image.grid) if names else 0,
            windows_total=image.grid.total,
            exact=exact,
            seconds=dict(progress.seconds),
            warnings=(*volume.warnings, *self._doubts(volume)),
            exporter=self.exporter,
            midline=line[0] if line[1] else None,
            windows=tuple(image.grid.audit()) if names and plan is not None else (),
            memory=None if plan is None else plan.to_json(),
            computed=self._computed(exact=exact),
            stages=tuple(runs),
        )

    def _ask_stages(
        self,
        names: Sequence[str],
        volume: Volume,
        answers: dict[str, Answer],
        masks: dict[str, PackedMask],
        progress: Progress,
        stages: ScanStages,
        *,
        keep_logits: bool,
    ) -> tuple[list[StageRun], dict[str, str]]:
        """Let stages answer their names; adds to ``answers`` and ``masks``.

        Returns:
            What they did, and what there is to say about names, by name.
        """
        runs: list[StageRun] = []
        notes: dict[str, str] = {}
        for stage, own in stages.needed(names).items():
            within = stage.configuration.within
            coarse = {n: masks.get(n) or _mask(answers[n], volume) for n in within if n in answers}
            with progress.stage(stage.label):
                prompts = dict(zip(own, self._texts(own, volume)))
                found, run = stages.answer(
                    stage, prompts, coarse, progress, keep_logits=keep_logits
                )
            _exported(progress, stage.label, list(found.values()))
            answers.update(found)
            with progress.stage("export"):
                cleaned = self._cleaned(found, volume)
                masks.update(cleaned)
                for name in (n for n, mask in cleaned.items() if not mask.voxels):
                    answers[name] = replace(answers[name], presence=0.0)  # specks alone
            runs.append(run)
            if run.box is None:
                where = " + ".join(within)
                notes |= {
                    n: f"{n!r} is looked for in {where}, of which this scan shows nothing; the "
                    "network for it did not run"
                    for n in own
                }
        return runs, notes

    def _computed(self, *, exact: bool) -> dict[str, Any]:
        """What decides the last bits of a mask; see :class:`Prediction`."""
        import torch

        runtime = self.engine.runtime
        found = {"device": str(runtime.device), "precision": "fp32" if exact else runtime.precision}
        if runtime.openvino is not None:
            from textseg3d.networks.openvino_unet import openvino_version

            found["runtime"] = f"OpenVINO {openvino_version()}"
        if runtime.device.type != "cpu":
            return found
        return {**found, "threads": torch.get_num_threads()}

    def _cleaned(self, answers: dict[str, Answer], volume: Volume) -> dict[str, PackedMask]:
        """Masks of the concepts that the model has a rule of postprocessing for."""
        rules: Postprocessing | None = getattr(self.model, "postprocessing", None)
        if rules is None:
            return {}
        ruled = [name for name in answers if rules.changes(name)]

        def clean(name: str) -> PackedMask:
            mask = _mask(answers[name], volume)
            return rules.clean_packed(name, mask, volume.spacing_mm, volume.array[0])

        return dict(zip(ruled, in_order(clean, ruled, workers())))


class ImageSession:
    """The image side of one scan, kept, so that each further prompt is cheap.

    A context manager; leaving it frees the features. Made by :meth:`Segmenter.set_image`.

    Attributes:
        volume: the scan.
        feature_bytes: memory that the kept features take.
    """

    def __init__(
        self, predictor: Predictor, volume: Volume, progress: Progress, *, exact: bool
    ) -> None:
        self.volume = volume
        self._predictor, self._exact = predictor, exact
        with progress.stage("preprocess"):
            progress.step("preprocess", 0, 1)
            engine = predictor.engine
            image = engine.prepare(volume, exact=exact)
            self._stages = predictor.stages_on(volume, exact=exact, keep=True)
            if isinstance(engine, Engine) and isinstance(image, PromptImage):
                image = engine.keep_all(image)
            self._image = image
            progress.step("preprocess", 1, 1)
        with progress.stage("network"):
            kept = list(predictor.engine.windows(self._image, progress))
        self._windows: list[Any] | None = kept
        self._seconds = dict(progress.seconds)

    def __enter__(self) -> ImageSession:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the features; further prompts are an error."""
        self._windows = None
        self._stages.close()

    @property
    def feature_bytes(self) -> int:
        """See the class."""
        return sum(window.nbytes for window in self._windows or ()) + self._stages.nbytes

    def predict(
        self,
        prompts: str | Sequence[str],
        *,
        on_progress: OnProgress | None = None,
        keep_logits: bool = False,
    ) -> Prediction:
        """The same masks, to the bit, as :meth:`Segmenter.predict` gives.

        The seconds of stages before the prompts are those of setting the image.

        Raises:
            UsageError: if the session was closed.
            PromptError: if a prompt is empty, too long or contradicts itself.
            Cancelled: if ``on_progress`` returned False.
        """
        if self._windows is None:
            raise UsageError("this image was closed; call set_image again")
        requests = self._predictor.understand(prompts)
        progress = Progress(on_progress)
        progress.seconds.update(self._seconds)
        return self._predictor.ask(
            self.volume,
            self._image,
            counted(self._windows, progress, "network"),
            requests,
            progress,
            self._stages,
            exact=self._exact,
            keep_logits=keep_logits,
        )


def _result(
    request: PromptRequest,
    answers: dict[str, Answer],
    masks: dict[str, PackedMask],
    volume: Volume,
    image: PreparedImage,
    line: tuple[NDArray[np.float64], bool],
    notes: Mapping[str, str],
    at_edges: Collection[str],
    *,
    keep_logits: bool,
) -> PromptResult:
    """The result of one prompt; ``masks`` keeps the parts' masks between prompts."""
    if request.status != "ok":
        return PromptResult(
            request.text, request.status, None, None, (), request.codes, request.warnings, volume
        )
    warnings = [*request.warnings, *(notes[name] for name in request.names if name in notes)]
    for name in request.names:
        if name not in masks:
            masks[name] = _mask(answers[name], volume)
    for part in request.parts:
        warning = _side(part, masks[part.name], image)
        warnings += [warning] if warning else []
    made = [
        compose(r, masks, volume, line[0], measured=line[1], at_edges=at_edges)
        for r in request.recipes
    ]
    mask = PackedMask.union([one.mask for one in made])
    warnings += [warning for one in made for warning in one.warnings]
    steps = [step for one in made for step in one.steps]
    other = request.alternative
    if other is not None and all(name in answers for name in other.names):
        masks.update({n: _mask(answers[n], volume) for n in other.names if n not in masks})
        step, warning = compare(request.text, mask, other, masks, volume, line[0])
        steps.append(step)
        warnings += [warning] if warning else []
    logits: tuple[NDArray[np.float32], ...] = ()
    if keep_logits:
        logits = tuple(answers[part.name].logits for part in request.parts)
    return PromptResult(
        text=request.text,
        status="ok" if mask.bits.any() else "empty",
        presence=max(answers[part.name].presence for part in request.parts),
        packed=mask,
        instances=Instances(mask, volume),
        codes=request.codes,
        warnings=tuple(warnings),
        volume=volume,
        logits=logits,
        composed=tuple(steps),
    )


def _modality_token(configuration: Any) -> bool:
    """Whether prompts carry a token for the modality."""
    return isinstance(configuration, Configuration) and configuration.text.modality_token


def _exported(progress: Progress, label: str, answers: Sequence[Answer]) -> None:
    """Count the time that masks took while a network ran where it belongs."""
    spent = sum(one.export_seconds for one in answers)
    for stage, seconds in ((label, -spent), ("export", spent)):
        progress.seconds[stage] = progress.seconds.get(stage, 0.0) + seconds


def _mask(answer: Answer, volume: Volume) -> PackedMask:
    """The mask of one part; empty where the model says that it is not there."""
    if answer.mask is not None:
        return answer.mask
    if answer.presence < PRESENT:
        return PackedMask.empty(volume.shape)
    return logits_to_mask(answer.logits, volume.shape)


def _side(part: Part, mask: PackedMask, image: PreparedImage) -> str | None:
    if part.side is None:
        return None
    return side_warning(part.name, part.side, mask, image.midline, image.x.shape[3])
