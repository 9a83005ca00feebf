"""K4: instance normalisation (+ residual) + LeakyReLU for channels_last_3d tensors."""

from __future__ import annotations

import torch

from textseg3d_kernels import dispatch
from textseg3d_kernels.ops import checks
from textseg3d_kernels.reference import instance_norm as reference

MAX_BATCH = 65535


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
    """Normalise each channel of each sample over its voxels, add a residual, activate.

    ::

        m[b, c] = mean_v x[b, v, c]          s[b, c] = weight[c] / sqrt(var_v x[b, v, c] + ε)
        t = (x − m) · s + bias[c] + residual       out = t where t ≥ 0, negative_slope · t else

    with the biased variance, as ``torch.nn.InstanceNorm3d(affine=True)`` without running
    statistics. Statistics are float32: two-pass within tiles of 4096 values, Chan's merge
    between them, in an order that depends on the shape only (deterministic; independent of
    the batch size).
    Error against float64: ≤ (1e-5 + 2⁻²¹ · |m|/std) · max|out| in float32, plus half a unit of
    a shorter dtype.

    Cost per element (bf16): reads 2 (statistics) + 2 (apply) + 2 with a residual, writes 2 bytes;
    about 10 FLOPs. Separate norm, add and activation move 12 to 16 bytes; a layout conversion of
    the contiguous norm adds 8.

    Source of the method: Chan, Golub, LeVeque (1983), parallel variance.

    Args:
        x: float32, fp16 or bf16 [B, C, D, H, W]. Channels-last memory is used as it is (also
            when it is a channel slice of a wider buffer); another layout is converted first.
        weight: floating [C] or None for ones.
        bias: floating [C] or None for zeros.
        residual: shape of x, any dtype of x's kind, or None.
        epsilon: added to the variance.
        negative_slope: slope below zero; 1.0 means no activation. Not negative.
        out: result of x's shape, may be x or a channel slice of a concatenation buffer in
            channels-last memory; None allocates channels_last_3d.

    Returns:
        ``out``, dtype of x unless given.

    Raises:
        ValueError: for shapes that do not fit, a negative slope, or ``out`` in a layout that is
            not channels-last.
        TypeError: for another dtype.
    """
    checks.dtype("x", x, checks.FLOATS)
    checks.dimensions("x", x, "BCDHW")
    for name, table in (("weight", weight), ("bias", bias)):
        if table is not None:
            checks.shape(name, table, (x.shape[1],))
    for name, tensor in (("residual", residual), ("out", out)):
        if tensor is not None:
            checks.shape(name, tensor, x.shape)
            checks.dtype(name, tensor, checks.FLOATS)
    if not 0.0 <= negative_slope <= 1.0:
        raise ValueError(f"negative_slope {negative_slope} is outside [0, 1]")
    if dispatch.selected(x, weight, bias, residual, out) == "reference":
        return reference.instance_norm(
            x,
            weight,
            bias,
            residual=residual,
            epsilon=epsilon,
            negative_slope=negative_slope,
            out=out,
        )
    if x.shape[0] > MAX_BATCH:
        raise ValueError(f"batch of {x.shape[0]}: at most {MAX_BATCH}")
    if out is None:
        out = torch.empty_like(x, memory_format=torch.channels_last_3d)
    target = _voxel_rows(out)
    if target is None:
        raise ValueError(f"out has strides {out.stride()}; expected channels-last memory")
    if x.numel() == 0:
        return out
    source = _as_rows(x)
    added = None if residual is None else _as_rows(residual)
    _run(source, weight, bias, added, epsilon, negative_slope, target)
    return out


def _voxel_rows(x: torch.Tensor) -> torch.Tensor | None:
    """View [B, C, D, H, W] as [B, V, C] with channel stride 1, None where that needs a copy."""
    batch, channels, depth, height, width = x.shape
    try:
        rows = x.permute(0, 2, 3, 4, 1).view(batch, depth * height * width, channels)
    except RuntimeError:
        return None
    return rows if channels <= 1 or rows.stride(2) == 1 else None


def _as_rows(x: torch.Tensor) -> torch.Tensor:
    """Like :func:`_voxel_rows`, converting to channels-last memory where needed."""
    rows = _voxel_rows(x)
    if rows is None:
        rows = _voxel_rows(x.contiguous(memory_format=torch.channels_last_3d))
    if rows is None:
        raise ValueError(f"strides {x.stride()} cannot be brought to channels-last memory")
    return rows


def _run(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
    epsilon: float,
    negative_slope: float,
    out: torch.Tensor,
) -> None:
    """Allocate the small buffers and launch; all tensors are [B, V, C]."""
    from textseg3d_kernels.triton import instance_norm as kernels

    batch, voxels, channels = x.shape
    chunks = kernels.chunking(voxels, channels)[2]
    small = torch.empty(2, batch, channels, dtype=torch.float32, device=x.device)
    shape = (2, batch, chunks if chunks > 1 else 0, channels)
    parts = torch.empty(shape, dtype=torch.float32, device=x.device)
    with dispatch.device_guard(x):
        kernels.launch_statistics(x, weight, epsilon, (parts[0], parts[1]), small[0], small[1])
        kernels.launch_apply(x, small[0], small[1], bias, residual, negative_slope, out)
