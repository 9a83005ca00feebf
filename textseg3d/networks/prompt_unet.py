"""The network: a text-free 3-D U-Net, and a late query per prompt.

The image side runs once per window and ends in features F [feature_channels, D, H, W]; a
prompt costs attention at strides 8 and 16, and a dot product with F. The full-resolution head
has no normalisation, so a crop of it can be computed on its own (training does that).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from textseg3d.networks.blocks import ResidualBlock, depth_to_space, space_to_depth, upsample
from textseg3d.networks.prompt_attention import (
    ImageProjections,
    PromptAttention,
    PromptReading,
)

STEM = 2  # space-to-depth factor between the input grid and the first stage


@dataclass(frozen=True)
class ImageFeatures:
    """What the image side gives for one window [1, C, D, H, W].

    Attributes:
        half: [1, C0, D/2, H/2, W/2], input of the full-resolution head.
        quarter: [1, C1, D/4, H/4, W/4].
        tokens: [1, M, width], image tokens of strides 8 and 16.
        coarse_shape: (D/8, H/8, W/8).
    """

    half: Tensor
    quarter: Tensor
    tokens: Tensor
    coarse_shape: tuple[int, int, int]


@dataclass(frozen=True)
class PromptAnswer:
    """Logits of P prompts on one window, coarse to fine, before upsampling.

    Attributes:
        queries: per scale (stride 1, 2, 4) [P, C + 1]; the last column is the bias.
        coarse: [P, D/8, H/8, W/8] logits.
        presence: [P] logits.
    """

    queries: list[Tensor]
    coarse: Tensor
    presence: Tensor


class PromptUNet(nn.Module):
    """See the module. Input sides must be multiples of 32.

    Args:
        in_channels: intensity channels of the input grid.
        widths: channels of the stages at strides 2, 4, 8, 16, 32.
        blocks: residual blocks of each stage.
        feature_channels: channels of F at full resolution.
        embed_dim: width of the text encoder's tokens.
        attention_width, attention_heads, attention_layers: of the per-prompt part.
    """

    def __init__(
        self,
        in_channels: int,
        widths: tuple[int, ...] = (32, 64, 128, 192, 192),
        blocks: tuple[int, ...] = (1, 1, 2, 2, 1),
        feature_channels: int = 24,
        embed_dim: int = 192,
        attention_width: int = 128,
        attention_heads: int = 4,
        attention_layers: int = 2,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv3d(in_channels * STEM**3 + 3, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList()
        previous = widths[0]
        for i, (width, n) in enumerate(zip(widths, blocks, strict=True)):
            stage = [ResidualBlock(previous, width, 1 if i == 0 else 2)]
            stage += [ResidualBlock(width, width) for _ in range(n - 1)]
            self.encoder.append(nn.Sequential(*stage))
            previous = width
        self.up = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for i in reversed(range(len(widths) - 1)):
            self.up.append(nn.Conv3d(widths[i + 1], widths[i], 1, bias=False))
            self.decoder.append(ResidualBlock(2 * widths[i], widths[i]))
        fine = feature_channels
        self.to_fine = nn.Conv3d(widths[0], fine * STEM**3, 1)
        self.fine1 = nn.Conv3d(fine + in_channels, fine, 3, padding=1)
        self.fine2 = nn.Conv3d(fine, fine, 3, padding=1)
        self.act = nn.LeakyReLU(0.01, inplace=True)
        self.prompt = PromptAttention(
            embed_dim,
            (widths[2], widths[3]),
            attention_width,
            attention_heads,
            attention_layers,
            (fine, widths[0], widths[1]),
        )

    def encode_image(self, x: Tensor, position: Tensor) -> ImageFeatures:
        """Run the text-free part on one window.

        Args:
            x: [1, C, D, H, W], normalised intensities.
            position: [3, 2]: body-box coordinate of the first and the last voxel centre along
                z, y, x (-1 and 1 are the box's faces).
        """
        y = self.stem(self.pack(x, position).contiguous(memory_format=torch.channels_last_3d))
        skips: list[Tensor] = []
        for stage in self.encoder:
            y = stage(y)
            skips.append(y)
        maps = [y]
        for skip, up, block in zip(reversed(skips[:-1]), self.up, self.decoder):
            y = block(torch.cat([skip, upsample(up(y), 2)], dim=1))
            maps.insert(0, y)
        return self.image_features(maps, position, x.shape[2:])

    def pack(self, x: Tensor, position: Tensor) -> Tensor:
        """What the stem gets: [1, C·8 + 3, D/2, H/2, W/2], sub-voxels and positions as channels."""
        shape = x.shape[2:]
        packed = space_to_depth(x, STEM)
        grid = position_grid(position, [n // STEM for n in shape], shape).to(packed.dtype)
        return torch.cat([packed, grid[None]], dim=1)

    def image_features(
        self, maps: Sequence[Tensor], position: Tensor, shape: torch.Size
    ) -> ImageFeatures:
        """The features of a window of ``shape`` from maps of strides 2, 4, 8, 16."""
        coarse = [maps[2], maps[3]]
        positions = [
            position_grid(position, list(m.shape[2:]), shape).flatten(1).T.to(m.dtype)
            for m in coarse
        ]
        tokens = self.prompt.image_tokens(coarse, positions)
        d, h, w = coarse[0].shape[2:]
        return ImageFeatures(maps[0], maps[1], tokens, (d, h, w))

    def fine_features(self, half: Tensor, x: Tensor) -> Tensor:
        """F [1, feature_channels, D, H, W] from stride-2 features and the input of that region."""
        y = self.act(self.fine1(depth_to_space(self.to_fine(half), STEM, x)))
        return self.act(self.fine2(y))

    def project(self, features: ImageFeatures) -> ImageProjections:
        """What the attention makes of a window whatever is asked; keep it for many prompts."""
        n_coarse = int(torch.Size(features.coarse_shape).numel())
        projected: ImageProjections = self.prompt.project(features.tokens, n_coarse)
        return projected

    def answer(
        self,
        features: ImageFeatures,
        tokens: Tensor,
        mask: Tensor,
        pooled: Tensor,
        projected: ImageProjections | None = None,
    ) -> PromptAnswer:
        """Attend P prompts (tokens [P, L, E], mask [P, L], pooled [P, E]) to one window."""
        if projected is None:
            projected = self.project(features)
        reading = self.read(projected, tokens, mask, pooled)
        coarse = self.locate(features, projected, reading)
        return PromptAnswer(reading.queries, coarse, reading.presence)

    def read(
        self, projected: ImageProjections, tokens: Tensor, mask: Tensor, pooled: Tensor
    ) -> PromptReading:
        """The first half of :meth:`answer`: queries and presence, not yet the coarse logits."""
        reading: PromptReading = self.prompt.read(projected, tokens, mask, pooled)
        return reading

    def locate(
        self, features: ImageFeatures, projected: ImageProjections, reading: PromptReading
    ) -> Tensor:
        """The second half: coarse logits [P, D/8, H/8, W/8]."""
        coarse: Tensor = self.prompt.locate(projected, reading.text, reading.mask)
        return coarse.unflatten(1, features.coarse_shape)


def coarse_to_fine(
    features: ImageFeatures, answer: PromptAnswer, fine: Tensor | None = None
) -> list[Tensor]:
    """Logit pyramid [P, ...] at strides 8, 4, 2 and, when ``fine`` features are given, 1.

    Each level is its own dot product plus the upsampled coarser level, so a finer level only
    has to correct the one before. Prompts do not mix: row p depends on prompt p alone.
    """
    levels = [answer.coarse]
    maps = [(features.quarter, answer.queries[2]), (features.half, answer.queries[1])]
    if fine is not None:
        maps.append((fine, answer.queries[0]))
    for feature_map, query in maps:
        finer = dot(feature_map, query)
        levels.append(finer + upsample(levels[-1][:, None], 2)[:, 0].to(finer.dtype))
    return levels


def position_grid(position: Tensor, shape: list[int], full_shape: torch.Size) -> Tensor:
    """[3, d, h, w] positions of the cells of a grid coarser than the input by shape ratio."""
    axes = []
    for axis in range(3):
        first, last = position[axis, 0], position[axis, 1]
        n, full = shape[axis], full_shape[axis]
        step = (last - first) / max(full - 1, 1)
        cells = torch.arange(n, device=position.device, dtype=torch.float32)
        centre = (cells + 0.5) * (full / n) - 0.5
        axes.append(first + step * centre)
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def dot(features: Tensor, query: Tensor) -> Tensor:
    """Features [1, C, D, H, W] · queries [P, C + 1] → logits [P, D, H, W] (bias is the last)."""
    channels = features.shape[1]
    flat = features[0].permute(1, 2, 3, 0).reshape(-1, channels)
    logits = flat @ query[:, :-1].T.to(flat.dtype) + query[:, -1].to(flat.dtype)
    return logits.T.unflatten(1, features.shape[2:])
