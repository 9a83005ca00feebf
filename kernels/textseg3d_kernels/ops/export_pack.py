"""K2: logits on the network's grid → thresholded, bit-packed masks on the output grid."""

from __future__ import annotations

import torch

from textseg3d_kernels import dispatch
from textseg3d_kernels.operators import AxisOperator
from textseg3d_kernels.ops import checks
from textseg3d_kernels.reference import export_pack as reference

MAX_GRID = 65535


def export_pack(
    logits: torch.Tensor,
    axes: tuple[AxisOperator, AxisOperator, AxisOperator],
    *,
    threshold: float = 0.0,
) -> torch.Tensor:
    """Resample logits trilinearly, threshold them and pack 8 voxels into a byte.

    ::

        value[p, Z, Y, X] = Σ_{a,b,c ∈ {0,1}} uz[Z, a] · uy[Y, b] · ux[X, c]
                                              · (logits[p, z + a, y + b, x + c] − t)
        foreground ⇔ value > 0        (a tie is background)

    Bit order: ``numpy.packbits(mask, axis=-1)``, that is voxel 8·k + j is bit 7 − j of byte k,
    the unused bits of the last byte are zero. ``numpy.unpackbits(packed, axis=-1, count=W)``
    undoes it. Coordinates come from the tables: ``linear_operator`` uses half-voxel centres
    (align_corners=False) with clamped borders, as ``torch.nn.functional.interpolate``.

    Computed in float32 in the order z, y, x as a·u0 + b·u1 without fused multiply-add; both
    implementations give identical bits. As weights are not negative and rounding is monotonic,
    a voxel whose eight corners agree has their sign. Logits of −inf and NaN count as −1e30,
    +inf as 1e30: windows that were skipped may be filled with −inf.

    Cost: reads 2 bytes (fp16) or 4 (float32) per input voxel and prompt, writes 1/8 byte per
    output voxel and prompt; 8 loads from cache, 21 FLOPs and a compare per output voxel. Through
    an interpolated float32 tensor it is at least 8 bytes per output voxel.

    Source of the method: convexity of trilinear interpolation.

    Args:
        logits: float32, fp16 or bf16 [P, d, h, w], any strides.
        axes: operators for (z, y, x) with at most two taps and no negative weight; their
            ``size_in`` is (d, h, w), their ``size_out`` the output grid (D, H, W).
        threshold: t, in logits (0 for a probability of one half).

    Returns:
        uint8 [P, D, H, ceil(W / 8)].

    Raises:
        ValueError: for shapes or operators that do not fit.
        TypeError: for another dtype.
    """
    checks.dtype("logits", logits, checks.FLOATS)
    checks.dimensions("logits", logits, "PDHW")
    for name, operator, length in zip("zyx", axes, logits.shape[1:]):
        if operator.size_in != length:
            raise ValueError(
                f"operator {name} takes {operator.size_in} samples; the logits have {length}"
            )
        if operator.taps > 2:
            raise ValueError(f"operator {name} has {operator.taps} taps; at most 2 are supported")
        if bool((operator.weights < 0).any()):
            raise ValueError(f"operator {name} has negative weights; use linear_operator")
    if dispatch.selected(logits) == "reference":
        on_device = tuple(operator.to(logits.device) for operator in axes)
        return reference.export_pack(logits, on_device, threshold=threshold)
    depth, height, width = (operator.size_out for operator in axes)
    shape = (logits.shape[0], depth, height, -(-width // 8))
    if 0 in shape or logits.numel() == 0:
        return torch.zeros(shape, dtype=torch.uint8, device=logits.device)
    if shape[0] > MAX_GRID or depth > MAX_GRID:
        raise ValueError(f"{shape[0]} prompts × {depth} planes: at most {MAX_GRID} of each")
    from textseg3d_kernels.triton.export_pack import launch_export_pack

    packed = torch.empty(shape, dtype=torch.uint8, device=logits.device)
    starts = tuple(operator.start.to(logits.device) for operator in axes)
    weights = tuple(_two_taps(operator.weights.to(logits.device)) for operator in axes)
    with dispatch.device_guard(logits):
        launch_export_pack(logits, starts, weights, (depth, height, width), threshold, packed)
    return packed


def _two_taps(weights: torch.Tensor) -> torch.Tensor:
    """Weights as contiguous [size, 2], the second column zero where there is one tap."""
    missing = 2 - weights.shape[1]
    return torch.nn.functional.pad(weights, (0, missing)).contiguous()
