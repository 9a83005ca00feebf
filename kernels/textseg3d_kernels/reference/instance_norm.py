"""PyTorch implementation of K4 (see ``ops/instance_norm.py``)."""

from __future__ import annotations

import torch


def instance_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    *,
    residual: torch.Tensor | None = None,
    epsilon: float = 1e-5,
    negative_slope: float = 0.01,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Same contract as :func:`textseg3d_kernels.ops.instance_norm.instance_norm`.

    Group normalisation with one group per channel is the same mathematics and, unlike
    ``instance_norm``, keeps channels_last_3d on a CPU (32×96³ in bf16 on two cores: 43 ms
    against 149 ms). Supports gradients.
    """
    if x.is_cuda and weight is not None and weight.dtype != x.dtype:
        weight = weight.to(x.dtype)
    if x.is_cuda and bias is not None and bias.dtype != x.dtype:
        bias = bias.to(x.dtype)
    if x.numel() == 0:
        result = torch.empty_like(x)
    else:
        result = torch.group_norm(x, x.shape[1], weight, bias, epsilon)
    if residual is not None:
        result = result.add_(residual)
    if negative_slope != 1.0:
        result = torch.nn.functional.leaky_relu_(result, negative_slope)
    return result if out is None else out.copy_(result)
