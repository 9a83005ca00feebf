"""Runs VoxTell's and SAT's networks; the interface is that of the engine for prompts.

The image side of a window runs once for all texts; texts are decoded in batches as memory allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import InputError, ModelError, UsageError
from textseg3d.inference.closed.prepare import coarse_look, nonzero_box
from textseg3d.inference.closed.windows import PlaneSum, importance, window_grid
from textseg3d.inference.device import autocast
from textseg3d.inference.engine import Answer, PreparedImage
from textseg3d.inference.open.masks import MaskGrid, fill_masks, pack
from textseg3d.inference.open.spec import SPEC_FILE, OpenSpec
from textseg3d.inference.open.texts import TextVectors
from textseg3d.inference.progress import Progress
from textseg3d.inference.resampling import native_order
from textseg3d.inference.windows import WindowGrid
from textseg3d.preprocessing.cubic import new_shape, resample_image, spline_operator

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from textseg3d.inference.device import Runtime
    from textseg3d.io import Volume
    from textseg3d.zoo import ModelCard

WEIGHTS_FILE = "model.safetensors"
GIVE_UP = -6.0  # largest coarse logit below which a text is not decoded further
_SHARE = 0.5  # of free memory that a batch of texts may take
_CT_RANGE = (-500.0, 1000.0)  # HU that SAT keeps
_CT_WORDS = ("ct",)


def is_open(folder: Path) -> bool:
    """Whether a model folder holds a network of others that takes any text."""
    return (folder / SPEC_FILE).is_file()


@dataclass(frozen=True)
class OpenModel:
    """A converted model, checked and loaded.

    Attributes:
        card: name, licence, hashes.
        spec: of the network.
        network: float32, on the CPU.
        folder: where its bank and text weights are.
    """

    card: ModelCard
    spec: OpenSpec
    network: Any
    folder: Path

    @property
    def sha256(self) -> str:
        """Hash of the weights file."""
        return self.card.files[WEIGHTS_FILE].sha256

    def texts(self, name: str) -> str:
        """What is asked for a prompt: its words."""
        return name


def build_open(spec: OpenSpec) -> torch.nn.Module:
    """The network of a spec, on torch's current default device."""
    if spec.kind == "voxtell":
        from textseg3d.inference.open.voxtell import VoxTell

        return VoxTell(spec)
    from textseg3d.inference.open.sat import Sat

    return Sat(spec)


def load_open(folder: Path) -> OpenModel:
    """Check a model folder (hashes, finite weights) and load it.

    Raises:
        ModelError: if the folder is damaged or its files do not fit together.
        MissingDependencyError: without dynamic_network_architectures.
    """
    import torch
    from safetensors.torch import load_file

    from textseg3d.inference.closed.network import match_names
    from textseg3d.zoo import verify_model

    card = verify_model(folder)
    if SPEC_FILE not in card.files:
        raise ModelError(f"{folder}: the card does not list {SPEC_FILE}; convert the model again")
    spec = OpenSpec.load(folder)
    with torch.device("meta"):
        network = build_open(spec)
    weights = load_file(str(folder / WEIGHTS_FILE))
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    chosen = match_names(network, shapes, WEIGHTS_FILE)
    network.to_empty(device="cpu")
    own = network.state_dict(keep_vars=True)
    with torch.no_grad():
        for name, stored in chosen.items():
            own[name].copy_(weights[stored])
    return OpenModel(card, spec, network.eval().requires_grad_(False), folder)


@dataclass(frozen=True)
class OpenImage(PreparedImage):
    """A scan on the grid of a network of others.

    ``x``, ``box`` and ``midline`` belong to a coarse look at the scan in canonical order.

    Attributes:
        inputs: float32 [1, a, b, c], normalised, axes as the network has them.
        crop: part of the scan that ``inputs`` covers, axes as the network has them.
        volume: the scan.
        exact: whether shortcuts are off.
    """

    inputs: Tensor
    crop: tuple[slice, ...]
    volume: Volume
    exact: bool


class OpenWindow:
    """A window; its image side runs when it is asked, and is not kept (it can take 2 GB)."""

    nbytes = 0

    def __init__(self, start: tuple[int, int, int]) -> None:
        self.start = start


class OpenEngine:
    """Network and spec, without any state of a scan.

    Args:
        model: network, spec, texts.
        runtime: device and precision; ``exact`` runs are float32 whatever it says.
    """

    def __init__(self, model: OpenModel, runtime: Runtime) -> None:
        from textseg3d.inference.closed.network import speed_up

        self.configuration = self.spec = model.spec
        self.runtime = runtime
        speed_up(model.network)
        self.network = model.network.to(runtime.device)
        self.texts = TextVectors(model.folder, model.spec, runtime.device)
        self._weight = importance(model.spec.patch_size).to(runtime.device)

    def prepare(self, volume: Volume, *, exact: bool) -> OpenImage:
        """Turn to RAS, crop to what is not zero, normalise, and for SAT resample first.

        Raises:
            InputError: if the scan has several channels.
        """
        import torch

        if volume.array.shape[0] != 1:
            raise InputError(
                f"the scan has {volume.array.shape[0]} channels, the model was trained on 1"
            )
        spec = self.spec
        data = native_order(volume.array)[:, :, ::-1, ::-1]
        spacing = list(volume.spacing_mm)
        if spec.kind == "sat":
            data, spacing = data.transpose(0, 3, 2, 1), spacing[::-1]
        # SAT crops to what is above 0, VoxTell (as nnU-Net) to what is not 0.
        crop = nonzero_box(np.maximum(data, 0) if spec.kind == "sat" else data)
        data = np.array(data[(slice(None), *crop)], dtype=np.float32, order="C")
        inputs = torch.from_numpy(data)
        if spec.spacing is not None:
            inputs = resample_image(
                inputs, new_shape(data.shape[1:], spacing, spec.spacing), order=1
            )
        inputs = normalised(inputs, spec)
        with torch.inference_mode():
            ct = spec.modality in _CT_WORDS or float(data.min()) <= -500
            look, box, midline = coarse_look(volume, ct=ct)
        a, b, c = inputs.shape[1:]
        grid = window_grid((a, b, c), spec.patch_size, exact=exact)
        if exact and spec.kind == "sat":
            starts = [sat_starts(n, p) for n, p in zip((a, b, c), spec.patch_size)]
            grid = replace(grid, starts=(starts[0], starts[1], starts[2]))
            grid = replace(grid, total=len(grid))
        return OpenImage(look, (), box, midline, grid, inputs, crop, volume, exact)

    def windows(self, image: OpenImage, progress: Progress) -> Iterator[OpenWindow]:
        """The windows in order.

        Raises:
            Cancelled: when the progress callback says so.
        """
        total = len(image.grid)
        for done, start in enumerate(image.grid):
            progress.step("network", done, total)
            yield OpenWindow(start)
        progress.step("network", total, total)

    def answer(
        self,
        image: OpenImage,
        windows: Iterable[OpenWindow],
        prompts: Sequence[str],
        *,
        keep_logits: bool = False,
    ) -> list[Answer]:
        """Masks of texts; SAT's values are log odds of its averaged probabilities.

        Raises:
            ModelError: if a text is not in the bank and there is no text model.
        """
        import torch

        vectors = torch.from_numpy(self.texts(prompts)).to(self.runtime.device)
        shape = image.volume.array.shape[1:]
        axes = (2, 1, 0) if self.spec.kind == "sat" else (0, 1, 2)
        masks = MaskGrid([shape[a] for a in axes], len(prompts), keep=keep_logits)
        operators = [
            spline_operator(n, s.stop - s.start, 1)
            for n, s in zip(image.inputs.shape[1:], image.crop)
        ]
        planes = self.planes(image, windows, vectors)
        best = fill_masks(planes, operators, image.crop, masks)
        answers = []
        for number in range(len(prompts)):
            nothing = np.zeros((0, 0, 0), np.float32)
            values = _canonical(masks.values[number], axes) if keep_logits else nothing
            mask = pack(_canonical(masks.mask(number), axes))
            presence = best[number] + 0.5 if self.spec.kind == "sat" else _sigmoid(best[number])
            if keep_logits and self.spec.kind == "sat":
                odds = np.clip(values + 0.5, 1e-6, 1 - 1e-6)
                values = np.log(odds / (1 - odds))
            answers.append(Answer(values, float(presence), mask))
        return answers

    def planes(
        self, image: OpenImage, windows: Iterable[OpenWindow], vectors: Tensor
    ) -> Iterator[Tensor]:
        """Values [texts, b, c] on the network's grid, plane by plane; above 0 is in the mask.

        VoxTell's logits are averaged, SAT's probabilities (given here minus one half).
        """
        import torch

        grid: WindowGrid = image.grid
        rows, per_row = grid.starts[0], len(grid) // len(grid.starts[0])
        sums = PlaneSum(grid, len(vectors), self._weight)
        done = 0
        for window in windows:
            with torch.inference_mode(), autocast(self.runtime, exact=image.exact):
                sums.add(window.start, self._window(image, window.start, vectors))
            done += 1
            if done % per_row == 0:
                row = done // per_row
                yield from sums.take(rows[row] if row < len(rows) else None)
        if done != len(grid):
            raise UsageError("there is no scan to ask about; call set_image again")

    def _window(self, image: OpenImage, start: tuple[int, int, int], vectors: Tensor) -> Tensor:
        import torch

        source, target = image.grid.clip(start)
        x = torch.zeros((1, 1, *image.grid.size))
        x[0][(slice(None), *target)] = image.inputs[(slice(None), *source)]
        shared = self.network.encode_image(x.to(self.runtime.device))
        queries = self.network.queries(shared, vectors)
        give_up = None if image.exact else GIVE_UP
        size = self.batch(len(vectors))
        parts = []
        for first in range(0, len(vectors), size):
            some = [q[first : first + size] for q in queries]
            logits = self.network.decode(shared, some, give_up=give_up).float()
            parts.append(logits.sigmoid() - 0.5 if self.spec.kind == "sat" else logits)
        return torch.cat(parts)

    def batch(self, texts: int) -> int:
        """Texts decoded at once: all that half of the free memory holds on a GPU, else one."""
        import torch

        if self.spec.kind == "sat":
            return texts
        if self.runtime.device.type != "cuda":
            return 1  # on a CPU a batch is no faster
        voxels = int(np.prod(self.spec.patch_size))
        width = 2 if self.runtime.autocast is not None else 4
        each = 3 * self.spec.architecture.features[0] * voxels * width
        free, _ = torch.cuda.mem_get_info(self.runtime.device)
        return max(1, min(texts, int(free * _SHARE / each)))


def sat_starts(n: int, size: int) -> tuple[int, ...]:
    """SAT's windows along an axis: every half window, the last one touching the end."""
    half = size // 2
    count = max(-(-n // half) - 1, 1)
    return tuple(dict.fromkeys(max(0, min(i * half, n - size)) for i in range(count)))


def normalised(inputs: Tensor, spec: OpenSpec) -> Tensor:
    """Mean 0 and deviation 1 over the crop, after SAT's clipping."""
    import torch

    if spec.kind == "sat":
        if spec.modality == "ct":
            low, high = _CT_RANGE
        else:
            low, high = np.percentile(inputs.numpy(), [0.5, 99.5])
        inputs = inputs.clamp(float(low), float(high))
        return (inputs - inputs.mean()) / inputs.std(correction=0).clamp(min=1e-8)
    deviation = torch.clamp(inputs.std(correction=0), min=1e-8)
    return (inputs - inputs.mean()) / deviation


def _canonical(array: NDArray[Any], axes: tuple[int, int, int]) -> NDArray[Any]:
    """From the network's axes in RAS to [D, H, W] of the scan."""
    return np.ascontiguousarray(array.transpose(axes)[:, ::-1, ::-1])


def _sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(value, -60, 60))))
