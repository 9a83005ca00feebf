"""Instance norm in the channels-last layout, to the precision of float32 where it is asked for."""

from __future__ import annotations

import torch


class ChannelNorm(torch.nn.GroupNorm):
    """Group norm of one channel per group, which is instance norm.

    torch's own adds up all voxels of a channel one after the other in float32: of a window of
    96³ voxels that costs four digits, and more further down the network. Here planes are added up
    by themselves, and their sums in float64. In bf16, which has no four digits, torch's runs.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise [B, C, D, H, W]; the result has the layout of ``x``."""
        if x.dtype != torch.float32 or x.device.type != "cpu":
            return super().forward(x)
        count = x[0, 0].numel()
        mean = x.sum(dim=(3, 4)).double().sum(dim=2) / count
        centred = x - mean.float()[:, :, None, None, None]
        variance = centred.square().sum(dim=(3, 4)).double().sum(dim=2) / count
        scale = (variance + self.eps).rsqrt().float()
        if self.affine:
            scale = scale * self.weight
        centred.mul_(scale[:, :, None, None, None])
        if self.affine:
            centred.add_(self.bias[:, None, None, None])
        return centred
