"""Texts look at an image: the transformer decoder that VoxTell and SAT share.

Each layer is attention of the texts to the image's tokens and two linear layers, both behind a
layer norm and added to what they got. Texts never look at each other, so an answer does not
depend on what else was asked. Positions are added to the keys only.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

ATTENTION_HEADS = 8


class TextLayer(nn.Module):
    """One layer, with the weights' names of DETR's decoder layers.

    Args:
        width: of texts and tokens.
        hidden: of the two linear layers.
    """

    def __init__(self, width: int, hidden: int = 2048) -> None:
        super().__init__()
        self.multihead_attn = nn.MultiheadAttention(width, ATTENTION_HEADS)
        self.linear1, self.linear2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, texts: Tensor, tokens: Tensor, keys: Tensor) -> Tensor:
        """Texts [N, 1, width], tokens and keys [T, 1, width] → texts."""
        seen, _ = self.multihead_attn(self.norm2(texts), keys, tokens, need_weights=False)
        texts = texts + seen
        return texts + self.linear2(torch.relu(self.linear1(self.norm3(texts))))


class TextDecoder(nn.Module):
    """Several layers and a norm.

    Args:
        width: of texts and tokens.
        layers: how many.
        hidden: of each layer's linear part.
    """

    def __init__(self, width: int, layers: int = 6, hidden: int = 2048) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TextLayer(width, hidden) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, texts: Tensor, tokens: Tensor, positions: Tensor) -> Tensor:
        """Texts [N, width], tokens [T, width], positions [T, width] → [N, width]."""
        keys = (tokens + positions)[:, None]
        values, result = tokens[:, None], texts[:, None]
        for layer in self.layers:
            result = layer(result, values, keys)
        found: Tensor = self.norm(result)[:, 0]
        return found


def grid_positions(shape: tuple[int, int, int], width: int) -> Tensor:
    """Sines and cosines of the places in a grid: float32 [a·b·c, width].

    Each axis has a third of the channels (rounded up to an even number), sine and cosine in turn,
    of the index times 10000 to the power of minus the channel over their number.
    """
    each = math.ceil(width / 6) * 2
    frequency = 1.0 / (10000 ** (torch.arange(0, each, 2).float() / each))
    parts = []
    for axis, n in enumerate(shape):
        angle = torch.arange(n, dtype=torch.float32)[:, None] * frequency
        wave = torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)
        view = [1, 1, 1, each]
        view[axis] = n
        parts.append(wave.view(view).expand(*shape, each))
    return torch.cat(parts, dim=-1)[..., :width].reshape(-1, width)
