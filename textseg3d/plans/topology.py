"""Pooling, kernels and memory of nnU-Net's plain U-Net, by arithmetic alone (no torch)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MIN_EDGE = 4  # voxels that pooling leaves at least, as in nnU-Net


@dataclass(frozen=True)
class Topology:
    """How a U-Net halves a patch.

    Attributes:
        strides: per stage and axis; the first stage has 1.
        kernels: per stage and axis.
        patch_size: rounded up so that every pooling divides it.
        divisor: 2 to the number of poolings, per axis.
    """

    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    patch_size: tuple[int, ...]
    divisor: tuple[int, ...]


def topology(spacing_mm: Sequence[float], patch_size: Sequence[float]) -> Topology:
    """Stages for a patch by nnU-Net's rules, in 2-D or 3-D.

    Each stage halves the axes that leave at least `MIN_EDGE` voxels and whose spacing is below
    twice the finest of them; a single such axis needs 1.5 times the room. An axis has kernel 1
    until its spacing comes below twice the finest of all; the bottleneck always has 3.

    Args:
        spacing_mm: per axis.
        patch_size: wanted, per axis.
    """
    axes = range(len(spacing_mm))
    spacing, size = [float(s) for s in spacing_mm], [float(n) for n in patch_size]
    pools, kernel = [0] * len(spacing), [1] * len(spacing)
    strides, kernels = [tuple(1 for _ in axes)], []
    while True:
        roomy = [a for a in axes if size[a] >= 2 * MIN_EDGE]
        if not roomy:
            break
        finest = min(spacing[a] for a in roomy)
        pooled = [a for a in roomy if spacing[a] / finest < 2]
        if len(pooled) == 1 and size[pooled[0]] < 3 * MIN_EDGE:
            break
        kernel = [3 if k == 3 or spacing[a] / min(spacing) < 2 else 1 for a, k in zip(axes, kernel)]
        for a in pooled:
            pools[a] += 1
            spacing[a] *= 2
            size[a] = math.ceil(size[a] / 2)
        strides.append(tuple(2 if a in pooled else 1 for a in axes))
        kernels.append(tuple(kernel))
    kernels.append(tuple(3 for _ in axes))
    divisor = tuple(2**n for n in pools)
    padded = tuple(math.ceil(n / d) * d for n, d in zip(patch_size, divisor, strict=True))
    return Topology(tuple(strides), tuple(kernels), padded, divisor)


def feature_map_size(
    net: Topology,
    features: Sequence[int],
    convolutions: Sequence[int],
    decoder_convolutions: Sequence[int],
    classes: int,
) -> int:
    """Numbers that all feature maps of a plain U-Net hold for one patch.

    The measure by which nnU-Net judges memory: outputs of convolutions, transposed convolutions
    and of the last segmentation layer; the same as ``compute_conv_feature_map_size`` of
    dynamic_network_architectures.

    Args:
        net: strides and patch.
        features: channels per stage.
        convolutions: per stage of the encoder.
        decoder_convolutions: per stage of the decoder, the coarsest first.
        classes: output channels.
    """
    size = list(net.patch_size)
    voxels = []
    for stride in net.strides:
        size = [n // s for n, s in zip(size, stride, strict=True)]
        voxels.append(math.prod(size))
    total = sum(n * f * v for n, f, v in zip(convolutions, features, voxels, strict=True))
    stages = range(len(features) - 2, -1, -1)
    for n, stage in zip(decoder_convolutions, stages, strict=True):
        total += (n + 1) * features[stage] * voxels[stage]
    return total + classes * voxels[0]
