"""A slow predictor to compare with: float32, every window, every voxel interpolated.

It shares reading, input resampling and the networks with the engine, and nnU-Net's Gaussian (all
have tests of their own against other projects), but nothing of windows, sums, precision or export.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from textseg3d.inference.postprocess import Postprocessing
    from textseg3d.io import Volume

Triple = tuple[int, int, int]


def window_starts(n: int, size: int, step: float = 0.5) -> list[int]:
    """First voxels of windows, at most ``step`` windows apart; a short axis is padded."""
    if n <= size:
        return [-((size - n) // 2)]
    steps = int(np.ceil((n - size) / (size * step)))
    return [round((n - size) / steps * i) for i in range(steps + 1)]


def _windows(
    shape: Sequence[int], size: Sequence[int], step: float = 0.5
) -> Iterator[tuple[Any, Any]]:
    """Slices in the volume and in the window."""
    for start in product(*(window_starts(n, p, step) for n, p in zip(shape, size))):
        inside = tuple(slice(max(0, s), min(n, s + p)) for s, p, n in zip(start, size, shape))
        yield inside, tuple(slice(i.start - s, i.stop - s) for i, s in zip(inside, start))


def _gaussian(size: Sequence[int]) -> Tensor:
    """A Gaussian of σ = size / 8 per axis, [p, q, r]."""
    import torch

    axes = [torch.exp(-0.5 * ((torch.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) for n in size]
    return axes[0][:, None, None] * axes[1][:, None] * axes[2]


def reference_labels(folder: Path, volume: Volume) -> NDArray[Any]:
    """The label map [D, H, W] of a converted nnU-Net.

    Raises:
        UsageError: for slices so thick that nnU-Net resamples them apart, and for networks of
            TotalSegmentator, which resample in their own way.
    """
    import torch

    from textseg3d.inference.closed.engine import load_closed
    from textseg3d.inference.closed.prepare import prepare, thick_axis, to_canonical
    from textseg3d.inference.closed.windows import importance

    loaded = load_closed(folder)
    spec = loaded.spec
    with torch.inference_mode():
        image = prepare(volume, spec, exact=True)
        thick = thick_axis(spec.logits_resampling, spec.spacing, image.spacing_mm)
        if thick is not None or spec.pipeline != "nnunet":
            raise UsageError(
                f"{folder.name}: there is no reference for thick slices and TotalSegmentator's own "
                "resampling; measure with a thin-sliced scan and another model"
            )
        flips = [
            [axis + 2 for axis in chosen]
            for n in range(len(spec.mirror_axes) + 1)
            for chosen in combinations(spec.mirror_axes, n)
        ]
        weight = importance(spec.patch_size)
        sums = torch.zeros((len(spec.labels), *image.inputs.shape[1:]))
        norm = torch.zeros(image.inputs.shape[1:])
        for inside, window in _windows(image.inputs.shape[1:], spec.patch_size, spec.step):
            x = torch.zeros((1, len(image.inputs), *spec.patch_size))
            x[0][(slice(None), *window)] = image.inputs[(slice(None), *inside)]
            logits = torch.stack(
                [
                    network(x.flip(flip))[0].flip([axis - 1 for axis in flip])
                    for network in loaded.networks
                    for flip in flips
                ]
            ).mean(0)
            sums[(slice(None), *inside)] += logits[(slice(None), *window)] * weight[window]
            norm[inside] += weight[window]
        sums /= norm
        labels = np.zeros(image.shape, np.uint16)
        size = [s.stop - s.start for s in image.crop]
        for z, plane in enumerate(_planes(sums, size)):
            chosen = np.zeros(size[1:], np.uint16)
            if spec.regions:
                for head, value in enumerate(spec.labels):
                    chosen[(plane[head] > 0).numpy()] = value
            else:
                chosen = np.array(spec.labels, np.uint16)[plane.argmax(0).numpy()]
            labels[(image.crop[0].start + z, *image.crop[1:])] = chosen
    return to_canonical(labels, volume, spec)


def _planes(logits: Tensor, size: Sequence[int]) -> Iterator[Tensor]:
    """Trilinearly interpolated logits [C, H, W], plane by plane along the first axis."""
    from torch.nn.functional import interpolate

    depth = logits.shape[1]
    for z in range(size[0]):
        at = min(max((z + 0.5) * depth / size[0] - 0.5, 0.0), depth - 1.0)
        low = int(at)
        high = min(low + 1, depth - 1)
        plane = logits[:, low] * (1 - (at - low)) + logits[:, high] * (at - low)
        yield interpolate(plane[None], size=list(size[1:]), mode="bilinear")[0]


def reference_masks(
    folder: Path, volume: Volume, names: Sequence[str]
) -> dict[str, NDArray[np.bool_]]:
    """Masks [D, H, W] of concepts of a prompt model."""
    import torch
    from torch.nn.functional import interpolate

    from textseg3d.inference.accumulate import SharesAccumulator
    from textseg3d.inference.device import choose_runtime
    from textseg3d.inference.engine import Engine
    from textseg3d.inference.model import load_model
    from textseg3d.inference.presence import PRESENT
    from textseg3d.inference.windows import tile_body
    from textseg3d.networks.prompt_unet import coarse_to_fine
    from textseg3d.preprocessing import window_position

    loaded = load_model(folder)
    runtime = choose_runtime("cpu", "fp32")
    engine = Engine(loaded.network, loaded.configuration, runtime, tile_body, SharesAccumulator)
    image = engine.prepare(volume, exact=True)
    size = loaded.configuration.patch_size
    network: Any = loaded.network.float().eval()
    texts = [loaded.texts(name) for name in names]
    weight = _gaussian(size)
    sums = torch.zeros((len(names), *image.x.shape[1:]))
    norm = torch.zeros(image.x.shape[1:])
    presence = torch.full((len(names),), -torch.inf)
    masks = {}
    with torch.inference_mode():
        for inside, window in _windows(image.x.shape[1:], size):
            fill = torch.tensor(image.outside)[:, None, None, None]
            x = fill.expand(-1, *size).clone()
            x[(slice(None), *window)] = image.x[(slice(None), *inside)]
            start = [i.start - w.start for i, w in zip(inside, window)]
            position = window_position(image.box, (start[0], start[1], start[2]), size)
            features = network.encode_image(x[None], torch.from_numpy(position))
            fine = network.fine_features(features.half, x[None])
            for number, text in enumerate(texts):
                arrays = (text.tokens, text.mask, text.pooled)
                answer = network.answer(features, *(torch.from_numpy(a) for a in arrays))
                logits = coarse_to_fine(features, answer, fine)[-1][0]
                sums[number][inside] += logits[window] * weight[window]
                presence[number] = torch.maximum(presence[number], answer.presence[0])
            norm[inside] += weight[window]
        sure, spacing = loaded.postprocessing.sure_mask, loaded.configuration.spacing
        for name, total, present in zip(names, sums, presence.sigmoid()):
            there = bool(present >= PRESENT)
            if sure is not None and not there and present >= sure.presence:
                voxels = ((total / norm).sigmoid() >= sure.probability).sum()
                there = bool(voxels * np.prod(spacing) / 1000 >= sure.volume_ml)
            logits = interpolate((total / norm)[None, None], size=volume.shape, mode="trilinear")
            mask = (logits[0, 0] > 0).numpy() & there
            masks[name] = _postprocessed(mask, name, volume, loaded.postprocessing)
    return masks


def _postprocessed(
    mask: NDArray[np.bool_], name: str, volume: Volume, rules: Postprocessing
) -> NDArray[np.bool_]:
    """A mask [D, H, W] after the model's rules, on whole volumes."""
    import cc3d
    import edt

    rim, rule = rules.rim(name), rules.rule(name)
    if rim is not None and mask.any():
        image = volume.array[0]
        depth = edt.edt(mask, anisotropy=volume.spacing_mm, black_border=False)
        near = depth <= rim.within_mm + 1e-5
        mask = mask & ~(near & (image < rim.limit_hu(image[mask])))
    bright = rules.enhanced_rim(name)
    if bright is not None and mask.any():
        image = volume.array[0]
        median = np.median(image[mask])
        if median >= bright.enhanced_hu:
            near = edt.edt(~mask, anisotropy=volume.spacing_mm) <= bright.within_mm + 1e-5
            low, high = (median + bright.beside_hu) / 2, median + bright.above_hu
            mask = mask | (near & (image > low) & (image < high))
    if rule is not None:
        parts = cc3d.connected_components(mask, connectivity=26)
        sizes = np.bincount(parts.ravel())[1:]
        kept = rule.keeps(sizes, float(np.prod(volume.spacing_mm)) / 1000)
        mask = np.concatenate([[False], kept])[parts]
    return mask
