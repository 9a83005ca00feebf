"""VoxTell's network: a residual encoder, texts that look at it, and a decoder per text.

Written from the description of its architecture; weights have its names. Two things are done
once for all texts of a window that VoxTell itself does once per text: the coarsest decoder stage,
and, as a convolution is linear, the half of every later stage's first convolution that sees the
encoder's features and not the text's. That half is 50 % of such a convolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv3d, interpolate

from textseg3d.inference.closed.network import import_architectures
from textseg3d.inference.open.attention import TextDecoder
from textseg3d.inference.open.spec import OpenSpec


@dataclass(frozen=True)
class ImagePart:
    """What all texts of a window share.

    Attributes:
        tokens: [T, width] of the image.
        coarse: features after the coarsest decoder stage.
        skips: per later stage, the image's half of its first convolution.
    """

    tokens: Tensor
    coarse: Tensor
    skips: tuple[Tensor, ...]


class VoxTell(nn.Module):
    """See the module.

    Args:
        spec: sizes.
    """

    pos_embed: Tensor
    encoder: Any
    decoder: Any

    def __init__(self, spec: OpenSpec) -> None:
        super().__init__()
        self.spec = spec
        design = spec.architecture
        self.encoder, self.decoder = _halves(spec)
        width = spec.query_width
        self.project_bottleneck_embed = nn.Sequential(
            nn.Linear(design.features[spec.memory_stage], width), nn.GELU(), nn.Linear(width, width)
        )
        self.project_text_embed = nn.Sequential(
            nn.Linear(spec.text.width, 2048), nn.GELU(), nn.Linear(2048, width)
        )
        self.project_to_decoder_channels = nn.ModuleList(
            nn.Sequential(
                nn.Linear(width, spec.hidden),
                nn.GELU(),
                nn.Linear(spec.hidden, design.features[stage] * (spec.heads if stage else 1)),
            )
            for stage in range(spec.fused)
        )
        self.register_buffer("pos_embed", torch.zeros(memory_tokens(spec), 1, width))
        self.transformer_decoder = TextDecoder(width, spec.layers)

    def encode_image(self, x: Tensor) -> ImagePart:
        """The window's share for all texts; x is [1, 1, a, b, c]."""
        skips = self.encoder(x)
        memory = skips[self.spec.memory_stage]
        # VoxTell lists tokens as (h, w, d) of an array that it calls (d, h, w).
        tokens = self.project_bottleneck_embed(memory[0].permute(2, 3, 1, 0))
        stages = self.decoder.stages
        up = self.decoder.transpconvs[0](skips[-1])
        coarse = stages[0](torch.cat((up, skips[-2]), 1))
        halves = []
        for stage, skip in zip(stages[1:], skips[-3::-1]):
            conv = stage.convs[0].conv
            weight = conv.weight[:, skip.shape[1] :]
            halves.append(conv3d(skip, weight, conv.bias, conv.stride, conv.padding))
        return ImagePart(tokens.flatten(0, 2), coarse, tuple(halves))

    def queries(self, image: ImagePart, texts: Tensor) -> list[Tensor]:
        """Per decoder stage, finest first, what each text [N, text width] asks: [N, channels]."""
        projected = self.project_text_embed(texts)
        found = self.transformer_decoder(projected, image.tokens, self.pos_embed[:, 0])
        return [projection(found) for projection in self.project_to_decoder_channels]

    def decode(
        self, image: ImagePart, queries: list[Tensor], *, give_up: float | None = None
    ) -> Tensor:
        """Logits [N, a, b, c] of the texts.

        Args:
            image: of :meth:`encode_image`.
            queries: of :meth:`queries`, of some texts.
            give_up: texts whose largest logit at a quarter of the resolution is below this are
                not decoded further; their logits are the coarse ones, enlarged. None decodes all.
        """
        stages = len(self.decoder.stages)
        x, first = image.coarse, stages - self.spec.fused
        kept: Tensor | None = None
        small: Tensor | None = None
        for stage in range(stages):
            if stage:
                x = self._stage(stage, x, image.skips[stage - 1])
            if stage == stages - 1:
                break
            if stage >= first:
                x, maps = self._meet(x, queries[stages - 1 - stage], kept)
                if give_up is not None and stage == stages - 3:
                    small = self.decoder.seg_layers[stage](torch.cat((x, maps), 1))
                    kept = (small.flatten(1).amax(dim=1) >= give_up).nonzero()[:, 0]
                    x, maps = x[kept], maps[kept]
                x = torch.cat((x, maps), 1)
                if kept is not None and not len(kept):
                    break
        last = queries[0] if kept is None else queries[0][kept]
        if small is None:
            return torch.einsum("ncxyz,nc->nxyz", x.expand(len(last), -1, -1, -1, -1), last)
        size = image.skips[-1].shape[2:]
        result = interpolate(small.float(), size, mode="trilinear", align_corners=False)[:, 0]
        if kept is not None and len(kept):
            result[kept] = torch.einsum("ncxyz,nc->nxyz", x, last).float()
        return result

    def _stage(self, number: int, below: Tensor, skip: Tensor) -> Tensor:
        """A decoder stage [N, c, …] on what lies below and the image's half of its convolution."""
        up = self.decoder.transpconvs[number](below)
        first, *others = self.decoder.stages[number].convs
        conv = first.conv
        x = conv3d(up, conv.weight[:, : up.shape[1]], None, conv.stride, conv.padding)
        x = first.nonlin(first.norm(x + skip))
        for block in others:
            x = block(x)
        found: Tensor = x
        return found

    def _meet(self, x: Tensor, query: Tensor, kept: Tensor | None) -> tuple[Tensor, Tensor]:
        """Features and the maps of each text: [N, c, …] and [N, heads, …]."""
        query = query if kept is None else query[kept]
        vectors = query.view(len(query), self.spec.heads, -1)
        x = x.expand(len(query), -1, -1, -1, -1)
        return x, torch.einsum("ncxyz,nhc->nhxyz", x, vectors)


def memory_tokens(spec: OpenSpec) -> int:
    """How many tokens of the image texts look at."""
    count = 1
    for axis, size in enumerate(spec.patch_size):
        for stride in spec.architecture.strides[: spec.memory_stage + 1]:
            size //= stride[axis]
        count *= size
    return count


def _halves(spec: OpenSpec) -> tuple[Any, Any]:
    """Encoder and decoder with VoxTell's names of weights."""
    blocks, design = import_architectures(), spec.architecture
    options = _options(spec)
    encoder = blocks.ResidualEncoder(
        spec.channels,
        len(design.features),
        list(design.features),
        nn.Conv3d,
        [list(k) for k in design.kernels],
        [list(s) for s in design.strides],
        list(design.encoder),
        design.bias,
        return_skips=True,
        **options,
    )
    decoder: Any = nn.Module()
    decoder.stages, decoder.transpconvs = nn.ModuleList(), nn.ModuleList()
    decoder.seg_layers = nn.ModuleList()
    total = len(design.features)
    for number in range(1, total):
        below, here = design.features[-number], design.features[-number - 1]
        met = spec.heads if number > total - spec.fused else 0
        stride = list(design.strides[-number])
        decoder.transpconvs.append(
            nn.ConvTranspose3d(below + met, here, stride, stride, bias=design.bias)  # type: ignore[arg-type]
        )
        decoder.stages.append(
            blocks.StackedConvBlocks(
                design.decoder[number - 1],
                nn.Conv3d,
                2 * here,
                here,
                list(design.kernels[-number - 1]),
                1,
                design.bias,
                **options,
            )
        )
        decoder.seg_layers.append(nn.Conv3d(here + spec.heads, 1, 1))
    return encoder, decoder


def _options(spec: OpenSpec) -> dict[str, Any]:
    design = spec.architecture
    leaky = design.activation == "LeakyReLU"
    return {
        "norm_op": nn.InstanceNorm3d,
        "norm_op_kwargs": {"eps": design.norm_eps, "affine": design.norm_affine},
        "nonlin": nn.LeakyReLU if leaky else nn.ReLU,
        "nonlin_kwargs": {"inplace": True} | ({"negative_slope": design.slope} if leaky else {}),
    }
