"""Convolution blocks of the image side, all in channels-last bf16-friendly operations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from textseg3d.networks.kernels import norm_act


class InstanceNorm(nn.Module):
    """InstanceNorm3d with affine weights (no running statistics, eps 1e-5), layout-preserving.

    InstanceNorm3d loses the channels-last layout on CPU. A batch of one is the same mathematics
    as batch norm in training mode, whose backward pass is 12× faster here than GroupNorm's
    (measured: 12 against 144 ms at [1, 32, 64, 64, 64] bf16, 2 cores); larger batches go
    through GroupNorm with one channel per group.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, D, H, W] → the same shape and layout."""
        if x[0, 0].numel() == 1:  # a value minus its own mean is zero
            return x * 0 + self.bias.to(x.dtype).view(1, -1, 1, 1, 1)
        if x.shape[0] == 1:
            return nn.functional.batch_norm(x, None, None, self.weight, self.bias, training=True)
        return nn.functional.group_norm(x, x.shape[1], self.weight, self.bias)


class Convolution(nn.Conv3d):
    """A 3×3×3 convolution whose weights get right gradients on maps of two planes, too.

    There the bf16 gradient of the weights is wrong, up to NaN, with oneDNN 3.12 (torch 2.14) on
    CPUs with AVX512-BF16 and without AMX: seen for inputs [1, C, 2, H, W] with C of 1 or 24 and
    more. Such maps are small, so they are trained in float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, D, H, W] → [B, out_channels, …]."""
        exact = x.shape[2] == 2 and x.device.type == "cpu" and torch.is_grad_enabled()
        if not exact:
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())


class ResidualBlock(nn.Module):
    """Two 3×3×3 convolutions with instance norm and LeakyReLU(0.01), and a shortcut.

    Shapes: [B, in_channels, D, H, W] → [B, out_channels, D/stride, H/stride, W/stride].
    The shortcut is average pooling and a 1×1×1 convolution where shape or width changes, as in
    the residual encoders of dynamic_network_architectures.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = Convolution(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm1 = InstanceNorm(out_channels)
        self.conv2 = Convolution(out_channels, out_channels, 3, 1, 1, bias=False)
        self.norm2 = InstanceNorm(out_channels)
        shortcut: list[nn.Module] = []
        if stride > 1:
            shortcut.append(nn.AvgPool3d(stride, stride))
        if in_channels != out_channels:
            shortcut.append(nn.Conv3d(in_channels, out_channels, 1, bias=False))
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y = norm_act(self.conv1(x), self.norm1)
        return norm_act(self.conv2(y), self.norm2, self.shortcut(x))


def space_to_depth(x: Tensor, factor: int) -> Tensor:
    """[B, C, D, H, W] → [B, C·f³, D/f, H/f, W/f]; the sub-voxel offset varies slowest in C·f³.

    It replaces a strided stem on 1 to 4 channels, which CPUs run on a naive kernel.
    """
    b, c, d, h, w = x.shape
    f = factor
    x = x.reshape(b, c, d // f, f, h // f, f, w // f, f)
    return x.permute(0, 3, 5, 7, 1, 2, 4, 6).reshape(b, f**3 * c, d // f, h // f, w // f)


def depth_to_space(x: Tensor, factor: int, *beside: Tensor) -> Tensor:
    """The inverse of :func:`space_to_depth`, channels last, with more channels behind its own.

    Args:
        x: [B, C·f³, D, H, W].
        factor: f.
        beside: [B, C', D·f, H·f, W·f] each, in a dtype that that of ``x`` holds.

    Returns:
        [B, C + ΣC', D·f, H·f, W·f]: one copy of memory where ``x`` has its channels last, too.
    """
    b, c, d, h, w = x.shape
    f, own = factor, c // factor**3
    every = own + sum(more.shape[1] for more in beside)
    size = (b, every, d * f, h * f, w * f)
    whole = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last_3d)
    cells = whole.permute(0, 2, 3, 4, 1).view(b, d, f, h, f, w, f, every)
    packed = x.permute(0, 2, 3, 4, 1).reshape(b, d, h, w, f, f, f, own)
    cells[..., :own] = packed.permute(0, 1, 4, 2, 5, 3, 6, 7)
    if beside:
        whole[:, own:] = torch.cat(beside, dim=1)
    return whole


def upsample(x: Tensor, factor: int) -> Tensor:
    """Trilinear upsampling by an integer factor (align_corners=False)."""
    return torch.nn.functional.interpolate(
        x, scale_factor=factor, mode="trilinear", align_corners=False
    )
