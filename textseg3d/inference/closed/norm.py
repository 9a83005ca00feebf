"""Instance norm in the channels-last layout, to the precision of float32 where it is asked for."""

from __future__ import annotations

import torch

_CHUNK = 2**18
"""Values that are normalised at a time: three copies of them stay in a core's cache."""


class ChannelNorm(torch.nn.GroupNorm):
    """Group norm of one channel per group, which is instance norm.

    torch's own adds up all voxels of a channel one after the other in float32: of a window of
    96³ voxels that costs four digits, and more further down the network. Here planes are added up
    by themselves, and their sums in float64. In bf16, which has no four digits, torch's runs.

    Rows of a plane are added up whole, all their voxels and channels side by side: over voxels
    of 16 channels torch takes 20 times as long.
    """

    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise [B, C, D, H, W], without gradients; the result has channels last."""
        if x.dtype != torch.float32 or x.device.type != "cpu":
            return super().forward(x)
        batch, channels, depth, height, width = x.shape
        planes = x.permute(0, 2, 3, 4, 1).reshape(batch, depth, height, width * channels)
        out = torch.empty_like(planes)
        count = depth * height * width
        step = max(1, _CHUNK // (height * width * channels))
        for values, found in zip(planes, out):

            def per_channel(rows: torch.Tensor) -> torch.Tensor:
                """Sums of planes [n, W·C] → of channels, float64."""
                return rows.view(-1, width, channels).sum(dim=1).double().sum(dim=0)

            mean = per_channel(values.sum(dim=1)) / count
            middle = mean.float().repeat(width)
            squares = torch.zeros_like(mean)
            for part in values.split(step):
                squares += per_channel((part - middle).square_().sum(dim=1))
            scale = (squares / count + self.eps).rsqrt().float()
            shift = torch.zeros_like(scale)
            if self.affine:
                scale, shift = scale * self.weight, self.bias
            scale, shift = scale.repeat(width), shift.repeat(width)
            for part, target in zip(values.split(step), found.split(step)):
                torch.addcmul(shift, part - middle, scale, out=target)
        return out.view(batch, depth, height, width, channels).permute(0, 4, 1, 2, 3)
