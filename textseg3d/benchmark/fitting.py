"""Trains an nnU-Net for a minute on one scan, so that it behaves as a trained network does.

What it learns are the masks that a prompt model gives of that scan. It is no model of anything
else: timing wants masks whose surfaces, margins and number of pieces are those of organs.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from textseg3d.benchmark.weights import INTENSITY
from textseg3d.inference.device import autocast, choose_runtime
from textseg3d.networks.blocks import InstanceNorm

log = logging.getLogger(__name__)
RATE = 6e-3  # largest learning rate
GAIN = 8.0  # of the last layers: clear margins in a few hundred steps
WARM = 0.15  # share of the steps before it
LOOKED_AT = 0.1  # share of a crop's voxels that the loss is taken of, on each grid
LEVELS = 3  # grids that have a loss, from the finest on
RARITY = -0.3  # exponent of a class's share that its weight is
CLIP = 12.0  # of the gradient's norm, as in nnU-Net
BODY_HU = -300  # of what is cut up in a scan in which the model finds nothing
LEFT = 0.5  # share of a structure that others must leave of it, else they are its parts


def normalised(array: NDArray[Any]) -> NDArray[np.float32]:
    """HU as nnU-Net's CTNormalization has them."""
    values = array.astype(np.float32).clip(
        INTENSITY["percentile_00_5"], INTENSITY["percentile_99_5"]
    )
    return (values - np.float32(INTENSITY["mean"])) / np.float32(INTENSITY["std"])


def structures(masks: Sequence[NDArray[np.bool_]], scan: NDArray[Any]) -> NDArray[np.int64]:
    """Label map [D, H, W] of masks, the smaller over the larger; largest structure first.

    A mask of which others take more than half is left out: they are its parts. Where there is
    nothing, the body is one structure.
    """
    labels = np.zeros(scan.shape, np.int64)
    sizes = [int(np.count_nonzero(mask)) for mask in masks]
    order = sorted((i for i, size in enumerate(sizes) if size), key=lambda i: -sizes[i])
    for number, i in enumerate(order, start=1):
        labels[masks[i]] = number
    left = np.bincount(labels.ravel(), minlength=len(order) + 1)[1:]
    kept = [n for n, i in enumerate(order, start=1) if left[n - 1] > LEFT * sizes[i]]
    if not kept:
        return (scan > BODY_HU).astype(np.int64)
    table = np.zeros(len(order) + 1, np.int64)
    table[sorted(kept, key=lambda n: -left[n - 1])] = np.arange(1, len(kept) + 1)
    return np.asarray(table[labels])


def cut(labels: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The ``count`` largest structures; where there are fewer, the largest are cut in two.

    Cuts go through the middle of the longer axis, as ribs, vertebrae and segments of organs are
    pieces of a whole.
    """
    pieces = np.where(labels <= count, labels, 0)
    while int(pieces.max()) < count:
        sizes = np.bincount(pieces.ravel())
        largest = int(sizes[1:].argmax()) + 1
        if sizes[largest] < 2:
            break
        points = np.argwhere(pieces == largest)
        along = points[:, int(np.ptp(points, axis=0).argmax())]
        upper = points[along > (along.min() + along.max()) / 2]
        pieces[tuple(upper.T)] = len(sizes)
    return pieces


def fit(
    network: nn.Module,
    scan: NDArray[np.float32],
    targets: Sequence[NDArray[np.int64]],
    phases: Sequence[tuple[int, int]],
    *,
    seed: int = 0,
) -> list[dict[str, Tensor]]:
    """Train a U-Net of dynamic_network_architectures, with one last layer per label map.

    Cross-entropy on the three finest grids, AdamW, one cycle of the learning rate per phase; in
    bf16 where the CPU has it. Small crops are quick to learn from; but norms take their statistics
    from the whole crop, so the last phase should have crops as large as a window.

    Args:
        network: changed in place.
        scan: float32 [D, H, W], normalised.
        targets: label maps [D, H, W] with the values 0 to n each.
        phases: one after the other, voxels of a crop along each axis (at most; a scan may be
            smaller) and number of crops.
        seed: of the last layers and the crops.

    Returns:
        Per label map the weights of the network that knows its classes, by nnU-Net's names.
    """
    net: Any = network
    _prepare(net)
    counts = [int(target.max()) + 1 for target in targets]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        widths = [stage.output_channels for stage in net.decoder.stages][::-1][:LEVELS]
        heads = [[nn.Linear(width, count) for count in counts] for width in widths]
    for head in (head for level in heads for head in level):
        nn.init.zeros_(head.weight)  # nothing is likely before anything is known
        nn.init.zeros_(head.bias)
    parameters = list({id(p): p for p in net.parameters()}.values())
    parameters += [p for level in heads for head in level for p in head.parameters()]
    rng = np.random.default_rng(seed)
    unit = 2 ** len(net.decoder.stages)
    wholes = [torch.from_numpy(target) for target in targets]
    weights = [_class_weights(target, count) for target, count in zip(targets, counts)]
    runtime, data = choose_runtime("cpu"), torch.from_numpy(scan)
    for side, steps in phases:
        size = [min(side, n) // unit * unit for n in scan.shape]
        optimizer = torch.optim.AdamW(parameters, lr=RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, RATE, total_steps=steps, pct_start=WARM
        )
        for step in range(steps):
            first = [int(rng.integers(0, n - k + 1)) for n, k in zip(scan.shape, size)]
            place = tuple(slice(f, f + k) for f, k in zip(first, size))
            crop = data[place][None, None].contiguous(memory_format=torch.channels_last_3d)
            with autocast(runtime):
                levels = net(crop)
            truths = [whole[place] for whole in wholes]
            loss = _loss(levels, heads, truths, weights, rng)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, CLIP)
            optimizer.step()
            schedule.step()
            log.debug("step %d of %d: loss %.3f", step + 1, steps, float(loss.detach()))
    last = f"decoder.seg_layers.{len(net.decoder.stages) - 1}"
    return [
        {
            **net.state_dict(),
            f"{last}.weight": GAIN * head.weight.detach()[:, :, None, None, None],
            f"{last}.bias": GAIN * head.bias.detach(),
        }
        for head in heads[0]
    ]


def _loss(
    levels: Sequence[Tensor],
    heads: Sequence[Sequence[nn.Linear]],
    truths: Sequence[Tensor],
    weights: Sequence[Tensor],
    rng: np.random.Generator,
) -> Tensor:
    """Of all last layers: features per grid [1, C, …], label maps of the finest grid."""
    loss = torch.zeros(())
    for level, (features, own) in enumerate(zip(levels, heads)):
        flat = features[0].flatten(1).T.float()
        count = max(1, int(len(flat) * LOOKED_AT))
        chosen = torch.from_numpy(rng.integers(0, len(flat), count))
        seen = flat[chosen]
        for head, truth, weight in zip(own, truths, weights):
            coarse = _coarser(truth, 2**level).flatten()[chosen]
            loss = loss + nn.functional.cross_entropy(GAIN * head(seen), coarse, weight) / 2**level
    return loss


def _prepare(net: Any) -> None:
    """Features of all grids instead of logits, and norms that are quick to train."""
    net.decoder.seg_layers = nn.ModuleList(nn.Identity() for _ in net.decoder.stages)
    net.decoder.deep_supervision = True
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.InstanceNorm3d):
                norm = InstanceNorm(child.num_features)
                norm.weight, norm.bias = child.weight, child.bias
                setattr(parent, name, norm)
    net.to(memory_format=torch.channels_last_3d).train()


def _class_weights(target: NDArray[np.int64], count: int) -> Tensor:
    """Rare classes weigh more; the mean over voxels is 1."""
    share = np.bincount(target.ravel(), minlength=count).clip(1) / target.size
    weight = share**RARITY
    return torch.from_numpy(weight / (weight * share).sum()).float()


def _coarser(labels: Tensor, factor: int) -> Tensor:
    """Every so many voxels, from the middle of each group."""
    every = slice(factor // 2, None, factor)
    return labels[every, every, every]


def mask_figures(masks: Sequence[NDArray[np.bool_]]) -> dict[str, float]:
    """What masks [D, H, W] look like.

    Returns:
        ``pieces`` (median number of connected components, 26 neighbours), ``surface`` (share of
        all mask voxels that have a face neighbour outside their mask), ``masks`` (that are not
        empty).
    """
    import cc3d
    from scipy.ndimage import binary_erosion

    filled = [mask for mask in masks if mask.any()]
    pieces = [float(cc3d.connected_components(mask, connectivity=26).max()) for mask in filled]
    inside = sum(np.count_nonzero(binary_erosion(mask, border_value=1)) for mask in filled)
    voxels = sum(np.count_nonzero(mask) for mask in filled)
    return {
        "pieces": float(np.median(pieces)) if pieces else 0.0,
        "surface": 1 - inside / voxels if voxels else 0.0,
        "masks": float(len(filled)),
    }


def mixed_cells(labels: NDArray[Any]) -> float:
    """Share of the cells between eight neighbouring voxels whose corners differ."""
    low, high = labels, labels
    for axis in range(3):
        first, second = range(labels.shape[axis] - 1), range(1, labels.shape[axis])
        low = np.minimum(low.take(first, axis), low.take(second, axis))
        high = np.maximum(high.take(first, axis), high.take(second, axis))
    return float(np.mean(low != high))
