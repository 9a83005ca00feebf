"""Instance norm in the channels-last layout, to the precision of float32 where it is asked for."""

from __future__ import annotations

import torch


class ChannelNorm(torch.nn.GroupNorm):
    """Group norm of one channel per group, which is instance norm.

    torch's own adds up all voxels of a channel one after the other in float32: of a window of
    96³ voxels that costs four digits, and more further down the network. Here planes are added up
    by themselves, and their sums in float64. In bf16, which has no four digits, torch's runs.

    Rows are added up whole, with all their voxels and channels side by side: a sum over single
    voxels of 16 channels took torch 20 times as long.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise [B, C, D, H, W]; float32 on a CPU becomes channels last."""
        if x.dtype != torch.float32 or x.device.type != "cpu":
            return super().forward(x)
        batch, channels, depth, height, width = x.shape
        count = depth * height * width
        rows = x.permute(0, 2, 3, 4, 1).reshape(batch, depth, height, width * channels)

        def total(values: torch.Tensor) -> torch.Tensor:
            planes = values.sum(dim=2).view(batch, depth, width, channels).sum(dim=2)
            return planes.double().sum(dim=1)

        def along(each: torch.Tensor) -> torch.Tensor:
            return each.repeat(1, width)[:, None, None]

        centred = rows - along((total(rows) / count).float())
        scale = (total(centred.square()) / count + self.eps).rsqrt().float()
        if self.affine:
            scale = scale * self.weight
        centred.mul_(along(scale))
        if self.affine:
            centred.add_(along(self.bias[None]))
        return centred.view(batch, depth, height, width, channels).permute(0, 4, 1, 2, 3)
