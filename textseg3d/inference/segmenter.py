"""`Segmenter`: a model, loaded once, that answers prompts about scans."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from textseg3d.errors import UsageError
from textseg3d.inference.accumulate import AccumulatorFactory, SharesAccumulator
from textseg3d.inference.progress import OnProgress, Progress
from textseg3d.inference.prompts import Vocabulary
from textseg3d.inference.result import Exporter, Prediction
from textseg3d.inference.scans import Scan, as_volume
from textseg3d.inference.session import ImageSession, Predictor
from textseg3d.inference.windows import WindowPolicy, tile_body

if TYPE_CHECKING:
    import torch

    from textseg3d.inference.closed.composite import PartsModel
    from textseg3d.inference.closed.engine import ClosedModel
    from textseg3d.inference.closed.parts import PartsSpec
    from textseg3d.inference.closed.spec import ClosedSpec
    from textseg3d.inference.engine import PromptEngine
    from textseg3d.inference.model import LoadedModel
    from textseg3d.inference.open.engine import OpenModel
    from textseg3d.inference.open.spec import OpenSpec
    from textseg3d.io import Volume
    from textseg3d.plans.schema import Configuration
    from textseg3d.text.types import TextEncoder
    from textseg3d.zoo import ModelCard

_DEFAULTS = (tile_body, SharesAccumulator)


class Segmenter:
    """Text-promptable segmentation of scans.

    Safe to use from several threads at once; starts no process; leaves torch's global settings
    alone.

    Args:
        model: name, folder, or "hf-hub:owner/repo@revision"; also an nnU-Net's results folder,
            or "totalsegmentator".
        device: "auto", "cpu", "cuda", "cuda:N" or "mps"; "openvino", "openvino:fp32",
            "openvino:bf16" or "openvino:int8" for OpenVINO on the CPU (an extra).
        precision: "auto" (bf16 where the hardware has it), "bf16" or "fp32".
        configuration: name of a configuration in the model's plans, no stage of a cascade.
        network: used instead of the model's own main network, weights included.
        text_encoder: used instead of the model's own encoder and bank.
        window_policy: chooses the windows of a volume.
        accumulator: adds up the windows of a prompt.
        exporter: what :meth:`Prediction.save` calls.

    Raises:
        ModelError: if there is no such model, or its files are damaged.
        UsageError: for a device or precision that is not there, or not for this model.
        MissingDependencyError: for "openvino" without the package.
    """

    def __init__(
        self,
        model: str | Path = "ct-nano",
        device: str = "auto",
        *,
        precision: str = "auto",
        configuration: str | None = None,
        network: torch.nn.Module | None = None,
        text_encoder: TextEncoder | None = None,
        window_policy: WindowPolicy = tile_body,
        accumulator: AccumulatorFactory = SharesAccumulator,
        exporter: Exporter | None = None,
    ) -> None:
        from textseg3d.inference.closed.composite import (
            PartsEngine,
            is_composite,
            load_composite,
        )
        from textseg3d.inference.closed.engine import ClosedEngine, is_closed, load_closed
        from textseg3d.inference.device import choose_runtime
        from textseg3d.inference.engine import Engine
        from textseg3d.inference.model import load_model
        from textseg3d.inference.open.engine import OpenEngine, is_open, load_open
        from textseg3d.inference.stages import Stage
        from textseg3d.zoo import find_model

        runtime = choose_runtime(device, precision)
        folder = find_model(model)
        loaded: LoadedModel | ClosedModel | PartsModel | OpenModel
        engine: PromptEngine
        stages: tuple[Stage, ...] = ()
        closed, parts, other = is_closed(folder), is_composite(folder), is_open(folder)
        swapped = configuration or text_encoder or (window_policy, accumulator) != _DEFAULTS
        if (closed or parts or other) and (swapped or (network and not closed)):
            raise UsageError(
                f"{folder} is a converted model; it takes no configuration, text_encoder, "
                "window_policy or accumulator"
            )
        if runtime.openvino is not None and (closed or parts or other):
            raise UsageError(f"{folder} is a converted model; it runs on device cpu, not openvino")
        if parts:
            loaded = load_composite(folder)
            engine = PartsEngine(loaded, runtime)
        elif other:
            loaded = load_open(folder)
            engine = OpenEngine(loaded, runtime)
        elif closed:
            loaded = load_closed(folder, network)
            engine = ClosedEngine(loaded, runtime)
        else:
            loaded = load_model(
                folder, configuration=configuration, network=network, encoder=text_encoder
            )
            sure = loaded.postprocessing.sure_mask
            engine = Engine(
                loaded.network, loaded.configuration, runtime, window_policy, accumulator, sure=sure
            )
            stages = tuple(Stage(s, runtime, window_policy, accumulator) for s in loaded.stages)
        vocabulary = Vocabulary.of(loaded.card)
        self._predictor = Predictor(loaded, engine, vocabulary, exporter, stages=stages)

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        return self._predictor.model.card

    @property
    def concepts(self) -> tuple[str, ...]:
        """Canonical names of everything that the model was trained on."""
        return self.card.concepts

    @property
    def configuration(self) -> Configuration | ClosedSpec | PartsSpec | OpenSpec:
        """Spacing, patch size and intensities of the network."""
        found: Configuration | ClosedSpec | PartsSpec | OpenSpec = (
            self._predictor.engine.configuration
        )
        return found

    @property
    def device(self) -> str:
        """Where the network runs, with its precision, such as "cpu (bf16)"."""
        runtime = self._predictor.engine.runtime
        by = "" if runtime.openvino is None else "OpenVINO, "
        return f"{runtime.device} ({by}{runtime.precision})"

    def predict(
        self,
        scan: Scan,
        prompts: str | Sequence[str],
        *,
        spacing_mm: tuple[float, float, float] | None = None,
        direction: ArrayLike | None = None,
        origin_mm: tuple[float, float, float] | None = None,
        on_progress: OnProgress | None = None,
        exact: bool = False,
        keep_logits: bool = False,
        max_memory: str | int | None = None,
        modality: str | None = None,
        **read_options: Any,
    ) -> Prediction:
        """Segment what the prompts describe.

        Args:
            scan: path, array [D, H, W] or [C, D, H, W], or :class:`textseg3d.io.Volume`.
            prompts: one text or several; repeated ones are answered once.
            spacing_mm, direction, origin_mm: of an array, see
                :func:`textseg3d.inference.scans.as_volume`.
            on_progress: ``(stage, done, total)``; returning False cancels within one window.
            exact: no shortcut: float32, and windows at half-patch steps over the whole volume,
                computed everywhere. For a converted nnU-Net that is nnU-Net's own result.
            keep_logits: keep what :meth:`PromptResult.probability` needs.
            max_memory: what this process may hold in all (on a GPU: there), as bytes or "2G";
                the work is cut to fit.
            modality: "CT", "MR" or "PET", for a model with a modality token; None takes DICOM's
                own, or the model's only one.
            read_options: of :func:`textseg3d.io.read_volume`.

        Returns:
            The results by prompt text.

        Raises:
            InputError: if the scan cannot be used.
            PromptError: if a prompt is empty, too long or contradicts itself.
            MemoryBudgetError: if the scan cannot be done in that memory.
            Cancelled: if ``on_progress`` returned False.
        """
        predictor = self._predictor.limited(max_memory).stating(modality)
        progress = Progress(on_progress)
        engine = predictor.engine
        with ThreadPoolExecutor(1) as beside:  # the first prompts of a process take a second
            understood = beside.submit(predictor.understand, prompts)
            volume = self._read(progress, scan, spacing_mm, direction, origin_mm, read_options)
            with progress.stage("preprocess"):
                progress.step("preprocess", 0, 1)
                image = engine.prepare(volume, exact=exact)
                progress.step("preprocess", 1, 1)
            requests = understood.result()
        windows = engine.windows(image, progress)
        stages = predictor.stages_on(volume, exact=exact)
        return predictor.ask(
            volume, image, windows, requests, progress, stages, exact=exact, keep_logits=keep_logits
        )

    def set_image(
        self,
        scan: Scan,
        *,
        spacing_mm: tuple[float, float, float] | None = None,
        direction: ArrayLike | None = None,
        origin_mm: tuple[float, float, float] | None = None,
        on_progress: OnProgress | None = None,
        exact: bool = False,
        max_memory: str | int | None = None,
        modality: str | None = None,
        **read_options: Any,
    ) -> ImageSession:
        """Run the image side of a scan once; the session's prompts cost little.

        The features of all windows are kept (about 125 MB per window of 128³ in bf16), in a
        temporary file where memory is short. Stages of the model run when a prompt first needs
        them, and their features are kept then.
        Arguments and errors as in :meth:`predict`.
        """
        predictor = self._predictor.limited(max_memory).stating(modality)
        progress = Progress(on_progress)
        volume = self._read(progress, scan, spacing_mm, direction, origin_mm, read_options)
        return ImageSession(predictor, volume, progress, exact=exact)

    def _read(
        self,
        progress: Progress,
        scan: Scan,
        spacing_mm: tuple[float, float, float] | None,
        direction: ArrayLike | None,
        origin_mm: tuple[float, float, float] | None,
        read_options: dict[str, Any],
    ) -> Volume:
        with progress.stage("read"):
            progress.step("read", 0, 1)
            volume = as_volume(scan, spacing_mm, direction, origin_mm, **read_options)
            channels = getattr(self.configuration, "channels", ())
            if isinstance(channels, tuple) and len(channels) > 1:  # a converted nnU-Net
                from textseg3d.inference.closed.channels import complete_channels

                volume = complete_channels(volume, len(channels), **read_options)
            progress.step("read", 1, 1)
        return volume
