"""Networks of several folds as one: the mean of their logits, window by window.

A logit is a dot product of features and a query, plus coarser logits. So the mean over members
is one network whose features are all members' side by side, and whose queries are theirs divided
by the number of members: nothing that uses the network has to know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from textseg3d.networks.prompt_attention import ImageProjections, PromptReading
from textseg3d.networks.prompt_unet import ImageFeatures, PromptAnswer

_MEMBER = re.compile(r"members\.(\d+)\.")


@dataclass(frozen=True)
class MemberProjections:
    """What the attention of each member makes of a window."""

    parts: tuple[ImageProjections, ...]

    def tensors(self) -> list[Tensor]:
        """All tensors in it that own memory."""
        return [tensor for part in self.parts for tensor in part.tensors()]


class FoldEnsemble(nn.Module):
    """Members of one architecture with weights of their own; used as a `PromptUNet` is.

    Memory and time per window are those of all members together.

    Args:
        members: one or more networks.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    @property
    def _networks(self) -> list[Any]:
        return list(self.members)

    def encode_image(self, x: Tensor, position: Tensor) -> ImageFeatures:
        """See `PromptUNet.encode_image`; channels and token widths are the members' in turn."""
        found = [member.encode_image(x, position) for member in self._networks]
        return ImageFeatures(
            _joined([one.half for one in found]),
            _joined([one.quarter for one in found]),
            torch.cat([one.tokens for one in found], dim=2),
            found[0].coarse_shape,
        )

    def fine_features(self, half: Tensor, x: Tensor) -> Tensor:
        """See `PromptUNet.fine_features`."""
        halves = half.chunk(len(self.members), dim=1)
        return _joined([m.fine_features(one, x) for m, one in zip(self._networks, halves)])

    def project(self, features: ImageFeatures) -> MemberProjections:
        """See `PromptUNet.project`."""
        parts = [m.project(one) for m, one in zip(self._networks, self._split(features))]
        return MemberProjections(tuple(parts))

    def answer(
        self,
        features: ImageFeatures,
        tokens: Tensor,
        mask: Tensor,
        pooled: Tensor,
        projected: MemberProjections | None = None,
    ) -> PromptAnswer:
        """See `PromptUNet.answer`; the mean of the members' logits, presence included."""
        if projected is None:
            projected = self.project(features)
        reading = self.read(projected, tokens, mask, pooled)
        coarse = self.locate(features, projected, reading)
        return PromptAnswer(reading.queries, coarse, reading.presence)

    def read(
        self, projected: MemberProjections, tokens: Tensor, mask: Tensor, pooled: Tensor
    ) -> PromptReading:
        """See `PromptUNet.read`; the members' texts are side by side."""
        found = [
            member.read(part, tokens, mask, pooled)
            for member, part in zip(self._networks, projected.parts)
        ]
        n = len(found)
        queries = []
        for scale in zip(*(one.queries for one in found)):
            bias = torch.stack([query[:, -1] for query in scale]).sum(0)
            queries.append(torch.cat([*(q[:, :-1] for q in scale), bias[:, None]], dim=1) / n)
        presence = torch.stack([one.presence for one in found]).mean(0)
        text = torch.cat([one.text for one in found], dim=2)
        return PromptReading(queries, presence, text, found[0].mask)

    def locate(
        self, features: ImageFeatures, projected: MemberProjections, reading: PromptReading
    ) -> Tensor:
        """See `PromptUNet.locate`; the mean of the members' logits."""
        texts = reading.text.chunk(len(self.members), dim=2)
        columns = zip(self._networks, self._split(features), projected.parts, texts)
        found = [
            member.locate(one, part, replace(reading, text=text))
            for member, one, part, text in columns
        ]
        return torch.stack(found).mean(0)

    def _split(self, features: ImageFeatures) -> list[ImageFeatures]:
        n = len(self.members)
        columns = zip(
            features.half.chunk(n, 1), features.quarter.chunk(n, 1), features.tokens.chunk(n, 2)
        )
        return [ImageFeatures(*column, features.coarse_shape) for column in columns]


def member_count(weights: Iterable[str]) -> int:
    """Members that a weights file holds, by the names in it; 0 for a single network's."""
    found = {int(match[1]) for name in weights if (match := _MEMBER.match(name))}
    return max(found) + 1 if found else 0


def member_weights(weights: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The weights of an ensemble's file, from those of its members."""
    return {f"members.{n}.{name}": t for n, one in enumerate(weights) for name, t in one.items()}


def _joined(maps: list[Tensor]) -> Tensor:
    return torch.cat(maps, dim=1).contiguous(memory_format=torch.channels_last_3d)
