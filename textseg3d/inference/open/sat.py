"""SAT's network: one plain U-Net for all texts, whose features meet a text's vector at the end.

Written from the description of its architecture (models Nano and Pro); weights have its names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d

from textseg3d.inference.closed.network import import_architectures
from textseg3d.inference.open.attention import TextDecoder, grid_positions
from textseg3d.inference.open.spec import OpenSpec


@dataclass(frozen=True)
class ImagePart:
    """What all texts of a window share: image tokens [T, width] and features [c, a, b, c']."""

    tokens: Tensor
    features: Tensor


class Sat(nn.Module):
    """See the module.

    Args:
        spec: sizes; ``hidden`` is that of the first layer on image tokens, ``heads`` that of the
            first layer on the decoded texts.
    """

    backbone: Any

    def __init__(self, spec: OpenSpec) -> None:
        super().__init__()
        self.spec = spec
        design = spec.architecture
        self.backbone = _backbone(spec)
        width = spec.query_width
        self.projection_layer = nn.Sequential(
            nn.Linear(sum(design.features), spec.hidden),
            nn.GELU(),
            nn.Linear(spec.hidden, width),
            nn.GELU(),
        )
        self.transformer_decoder = TextDecoder(width, spec.layers)
        self.mask_embed_proj = nn.Sequential(
            nn.Linear(width, spec.heads),
            nn.GELU(),
            nn.Linear(spec.heads, design.features[0]),
            nn.GELU(),
        )
        self._positions: Tensor | None = None

    def encode_image(self, x: Tensor) -> ImagePart:
        """The window's share for all texts; x is [1, 1, a, b, c]."""
        skips = self.backbone.encoder(x.expand(-1, self.spec.channels, -1, -1, -1))
        smallest = skips[-1].shape[2:]
        pooled = []
        for skip in skips:
            size = [n // m for n, m in zip(skip.shape[2:], smallest)]
            pooled.append(skip if set(size) == {1} else avg_pool3d(skip, size, size))
        joined = torch.cat(pooled, dim=1)[0].permute(1, 2, 3, 0)
        tokens = self.projection_layer(joined).flatten(0, 2)
        below = skips[-1]
        decoder = self.backbone.decoder
        for stage, up, skip in zip(decoder.stages, decoder.transpconvs, skips[-2::-1]):
            below = stage(torch.cat((up(below), skip), 1))
        return ImagePart(tokens, below[0])

    def queries(self, image: ImagePart, texts: Tensor) -> list[Tensor]:
        """What each text [N, width] asks of the features: one entry, [N, channels]."""
        positions = self._places(image.tokens)
        found = self.transformer_decoder(texts, image.tokens, positions)
        return [self.mask_embed_proj(found)]

    def decode(
        self, image: ImagePart, queries: list[Tensor], *, give_up: float | None = None
    ) -> Tensor:
        """Logits [N, a, b, c] of the texts; there is nothing coarse to give up on."""
        return torch.einsum("cxyz,nc->nxyz", image.features, queries[0])

    def _places(self, tokens: Tensor) -> Tensor:
        if self._positions is None or self._positions.device != tokens.device:
            strides = self.spec.architecture.strides
            a, b, c = (
                size // int(torch.tensor([s[axis] for s in strides]).prod())
                for axis, size in enumerate(self.spec.patch_size)
            )
            self._positions = grid_positions((a, b, c), tokens.shape[1]).to(tokens.device)
        return self._positions


def _backbone(spec: OpenSpec) -> Any:
    """Encoder and decoder without a last layer, with SAT's names of weights."""
    blocks, design = import_architectures(), spec.architecture
    options: dict[str, Any] = {
        "norm_op": nn.InstanceNorm3d,
        "norm_op_kwargs": {"eps": design.norm_eps, "affine": design.norm_affine},
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"negative_slope": design.slope},
    }
    backbone: Any = nn.Module()
    decoder: Any = nn.Module()
    backbone.encoder = blocks.PlainConvEncoder(
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
    decoder.stages, decoder.transpconvs = nn.ModuleList(), nn.ModuleList()
    for number in range(1, len(design.features)):
        below, here = design.features[-number], design.features[-number - 1]
        stride = list(design.strides[-number])
        decoder.transpconvs.append(
            nn.ConvTranspose3d(below, here, stride, stride, bias=design.bias)  # type: ignore[arg-type]
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
    backbone.decoder = decoder
    return backbone
