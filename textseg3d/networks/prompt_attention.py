"""The per-prompt part: text tokens and image tokens attend to each other at coarse scales.

Only this part is run per prompt; prompts never see each other (each is its own batch row).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from textseg3d.networks.kernels import attention, kernels_for


@dataclass(frozen=True)
class ImageProjections:
    """What the attention layers make of a window's image tokens; no prompt changes it.

    Attributes:
        keys_values: per layer, keys and values [1, heads, M, d] of all image tokens.
        near: [1, n, width], the tokens of stride 8.
        query: [1, heads, n, d] of ``near``.
        base: [n, width], ``near`` with the last layer's bias, in the dtype of ``query``.
        weighed: [heads, d, n], ``base`` times the last layer's weight.
        square: float32 [n], squared length of ``base``.
    """

    keys_values: list[tuple[Tensor, Tensor]]
    near: Tensor
    query: Tensor
    base: Tensor
    weighed: Tensor
    square: Tensor

    def tensors(self) -> list[Tensor]:
        """All tensors in it that own memory."""
        return [t for pair in self.keys_values for t in pair] + [
            self.query, self.base, self.weighed, self.square,
        ]  # fmt: skip


@dataclass(frozen=True)
class PromptReading:
    """What P prompts make of a window, before they are located on it.

    Attributes:
        queries: per scale (stride 1, 2, 4) [P, C + 1]; the last column is the bias.
        presence: [P] logits.
        text: [P, L + 1, width], the prompts' tokens.
        mask: bool [P, L + 1], True = counts.
    """

    queries: list[Tensor]
    presence: Tensor
    text: Tensor
    mask: Tensor


class Attention(nn.Module):
    """Multi-head attention from queries [P, N, d] to keys [P or 1, M, d]; mask True = use."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def project(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [P, heads, M, d/heads] of ``source``; may be kept between prompts."""
        return self._split(self.to_k(source)), self._split(self.to_v(source))

    def forward(
        self, x: Tensor, keys_values: tuple[Tensor, Tensor], mask: Tensor | None = None
    ) -> Tensor:
        """x [P, N, d] → [P, N, d]."""
        return self.attend(self.query(x), keys_values, mask)

    def query(self, x: Tensor) -> Tensor:
        """Queries [P, heads, N, d/heads] of ``x``; may be kept between prompts."""
        return self._split(self.to_q(x))

    def attend(
        self, query: Tensor, keys_values: tuple[Tensor, Tensor], mask: Tensor | None = None
    ) -> Tensor:
        """Projected queries and keys [P or 1, heads, N, d/heads] → [P, N, d]."""
        prompts = max(query.shape[0], keys_values[0].shape[0])
        y = attention(query.expand(prompts, -1, -1, -1), *keys_values, mask)
        return self.out(y.transpose(1, 2).flatten(2))

    def out_by_head(self) -> Tensor:
        """Weight of the last layer, [heads, d/heads, d]."""
        return self.out.weight.view(len(self.out.weight), self.heads, -1).permute(1, 2, 0)

    def _split(self, x: Tensor) -> Tensor:
        p, n, d = x.shape
        return x.view(p, n, self.heads, d // self.heads).transpose(1, 2)


class PromptLayer(nn.Module):
    """Prompt tokens: attend to themselves, then to the image tokens, then a small MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_self, self.norm_cross, self.norm_mlp = (nn.LayerNorm(width) for _ in range(3))
        self.self_attention = Attention(width, heads)
        self.cross_attention = Attention(width, heads)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor, mask: Tensor, image: tuple[Tensor, Tensor]) -> Tensor:
        """x [P, L, d], mask [P, L], keys and values of the image tokens → [P, L, d]."""
        y = self.norm_self(x)
        x = x + self.self_attention(y, self.self_attention.project(y), mask)
        x = x + self.cross_attention(self.norm_cross(x), image)
        return x + self.mlp(self.norm_mlp(x))


class PositionEmbedding(nn.Module):
    """Positions in body-box units [N, 3] → [N, width]: sines at 4 octaves, then an MLP."""

    octaves = 4

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(3 * (1 + 2 * self.octaves), width), nn.GELU(), nn.Linear(width, width)
        )

    def forward(self, position: Tensor) -> Tensor:
        """See the class."""
        scales = 2.0 ** torch.arange(self.octaves, device=position.device) * torch.pi / 2
        angles = (position[:, :, None] * scales).flatten(1)
        return self.mlp(torch.cat([position, angles.sin(), angles.cos()], dim=1))


class PromptAttention(nn.Module):
    """Text tokens × coarse image tokens → query, coarse map, presence.

    Args:
        embed_dim: width E of the text encoder's tokens.
        image_channels: channels of the two coarse feature maps (stride 8, stride 16).
        width, heads, layers: of the attention.
        query_channels: sizes of the query vectors to make, one per supervised scale.
    """

    def __init__(
        self,
        embed_dim: int,
        image_channels: tuple[int, int],
        width: int,
        heads: int,
        layers: int,
        query_channels: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.from_text = nn.Linear(embed_dim, width)
        self.from_pooled = nn.Linear(embed_dim, width)
        self.norm_text = nn.LayerNorm(embed_dim)
        self.norm_pooled = nn.LayerNorm(embed_dim)
        self.from_image = nn.ModuleList(nn.Linear(c, width) for c in image_channels)
        self.scale_embedding = nn.Parameter(torch.zeros(len(image_channels), width))
        self.position = PositionEmbedding(width)
        self.norm_image = nn.LayerNorm(width)
        self.layers = nn.ModuleList(PromptLayer(width, heads) for _ in range(layers))
        self.norm_out = nn.LayerNorm(width)
        self.image_attention = Attention(width, heads)
        self.norm_prompted = nn.LayerNorm(width)
        self.coarse_query = nn.Linear(width, width)
        self.coarse_bias = nn.Linear(width, 1)
        self.queries = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, c + 1))
            for c in query_channels
        )
        self.presence = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))

    def image_tokens(self, maps: list[Tensor], positions: list[Tensor]) -> Tensor:
        """Coarse maps [1, C, d, h, w] and their positions [d·h·w, 3] → tokens [1, M, width]."""
        tokens = [
            project(m.flatten(2).transpose(1, 2)) + self.position(p)[None] + scale
            for m, p, project, scale in zip(
                maps, positions, self.from_image, self.scale_embedding, strict=True
            )
        ]
        return self.norm_image(torch.cat(tokens, dim=1))

    def project(self, image: Tensor, n_coarse: int) -> ImageProjections:
        """Project the image tokens [1, M, width], of which the first ``n_coarse`` are stride 8."""
        near = image[:, :n_coarse]
        pairs = []
        for layer in self.layers:
            assert isinstance(layer, PromptLayer)
            pairs.append(layer.cross_attention.project(image))
        query = self.image_attention.query(near).contiguous()
        base = (near + self.image_attention.out.bias)[0].to(query.dtype)
        weighed = self.image_attention.out_by_head().to(base.dtype) @ base.T
        square = base.float().square().sum(1)
        return ImageProjections(pairs, near, query, base, weighed, square)

    def forward(
        self, image: ImageProjections, tokens: Tensor, mask: Tensor, pooled: Tensor
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """Answer P prompts on one window: :meth:`read`, then :meth:`locate`.

        Returns:
            Query vectors [P, C + 1] per scale (the last entry is the bias), coarse logits
            [P, n_coarse], presence logits [P].
        """
        reading = self.read(image, tokens, mask, pooled)
        return reading.queries, self.locate(image, reading.text, reading.mask), reading.presence

    def read(
        self, image: ImageProjections, tokens: Tensor, mask: Tensor, pooled: Tensor
    ) -> PromptReading:
        """What P prompts make of one window, but for where on it they are.

        Args:
            image: of :meth:`project`.
            tokens: [P, L, E]; mask: bool [P, L]; pooled: [P, E].
        """
        query_token = self.from_pooled(self.norm_pooled(pooled))[:, None]
        x = torch.cat([query_token, self.from_text(self.norm_text(tokens))], dim=1)
        mask = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
        for layer, keys_values in zip(self.layers, image.keys_values, strict=True):
            x = layer(x, mask, keys_values)
        x = self.norm_out(x)
        query = x[:, 0]
        presence = self.presence(query)[:, 0]
        return PromptReading([make(query) for make in self.queries], presence, x, mask)

    def locate(self, image: ImageProjections, text: Tensor, mask: Tensor) -> Tensor:
        """Coarse logits [P, n_coarse] of prompts.

        Args:
            image: of :meth:`project`.
            text, mask: of :meth:`read`.
        """
        query = text[:, 0]
        direction = self.coarse_query(query)
        if torch.is_grad_enabled() or kernels_for(text, mask) is not None:
            answered = self.image_attention.project(text)
            prompted = image.near + self.image_attention.attend(image.query, answered, mask)
            prompted = self.norm_prompted(prompted)
            coarse = torch.einsum("pnd,pd->pn", prompted, direction)
        else:
            coarse = self._along(image, text, mask, direction)
        return coarse * text.shape[-1] ** -0.5 + self.coarse_bias(query)

    def _along(
        self, image: ImageProjections, text: Tensor, mask: Tensor, direction: Tensor
    ) -> Tensor:
        """Dot product [P, n] of normalised prompted tokens with a direction [P, width] per prompt.

        A prompted token is b + Ms: what it is for all prompts, and shares s of the few vectors M
        of a text. It is never made. Its mean, its product with the direction and its length,
        |b + Ms|² = |b|² + s·(2Mᵀb + MᵀMs), follow from products of b and of M.
        """
        attention, norm, width = self.image_attention, self.norm_prompted, text.shape[-1]
        keys, values = attention.project(text)
        prompts, heads, length, depth = keys.shape

        def by_prompt(x: Tensor) -> Tensor:  # [heads, P · L, n] to [P, heads · L, n]
            return x.view(heads, prompts, length, -1).transpose(0, 1).flatten(1, 2)

        scores = (keys * depth**-0.5).transpose(0, 1).flatten(1, 2) @ image.query[0].mT
        unused = torch.zeros_like(mask, dtype=scores.dtype).masked_fill_(~mask, -torch.inf)
        scores.view(heads, prompts, length, -1).add_(unused[..., None])
        shares = by_prompt(scores).unflatten(1, (heads, length)).softmax(2).flatten(1, 2)
        shares = shares.to(values.dtype)
        moved = (values @ attention.out_by_head().to(values.dtype)).flatten(1, 2)  # Mᵀ
        twice = by_prompt((2 * values).transpose(0, 1).flatten(1, 2) @ image.weighed)
        products = torch.baddbmm(twice, moved @ moved.mT, shares).mul_(shares)
        square = image.square + products.sum(1, dtype=torch.float32)

        direction = direction.float()
        scaled = direction * norm.weight
        scaled = scaled - scaled.mean(1, keepdim=True)  # takes the tokens' means away
        columns = torch.stack([scaled, torch.full_like(scaled, 1 / width)], dim=1).to(moved.dtype)
        found = (columns.flatten(0, 1) @ image.base.T).view(prompts, 2, -1).float()
        found += torch.bmm(columns @ moved.mT, shares)
        variance = square / width - found[:, 1].square()
        offset = (direction * norm.bias).sum(1, keepdim=True)
        return found[:, 0] * (variance + norm.eps).rsqrt() + offset
