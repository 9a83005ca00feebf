"""K1: prompt head × window weight → accumulate, without a logit tensor in between."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from textseg3d_kernels import dispatch
from textseg3d_kernels.ops import checks
from textseg3d_kernels.reference import head_accumulate as reference

MAX_CHANNELS = 128


def head_accumulate(
    features: torch.Tensor,
    queries: torch.Tensor,
    bias: torch.Tensor,
    weights: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    slab: torch.Tensor,
    offset: Sequence[int],
    *,
    flip: Sequence[bool] = (False, False, False),
) -> torch.Tensor:
    """Add the weighted logits of one window to a slab, in place.

    For every window voxel v = (z, y, x) that falls inside the slab::

        slab[p, v + offset] += wz[z] · wy[y] · wx[x]
                               · (Σ_c features[v', c] · queries[p, c] + bias[p])

    with v' = v, mirrored along the axes given in ``flip`` (un-mirrors a test-time flip without
    a copy). The dot product is accumulated in float32 from operands in the features' dtype; the
    sum is rounded once to the slab's dtype. A window may stick out of the slab on any side: the
    rest is dropped, so a ring of planes is served by two calls whose z offsets differ by the
    ring's depth. Windows added one after another give the same bits on each run.

    Cost per window voxel: reads 2·C bytes of bf16 features once for all prompts; reads and
    writes 2·4 bytes (float32 slab) or 2·2 bytes (fp16 slab) per prompt; 2·C + 3 FLOPs per prompt.
    Without fusion the logits add 12–16 bytes per voxel and prompt. Error against float64:
    ≤ C·2⁻²³·Σ|f·q| plus half a unit of the slab's dtype.

    Source of the method: linearity of the head; separable window weights that sum to one over a
    full grid of windows need neither a count map nor a division (as KonfAI does).

    Args:
        features: bf16, fp16 or float32 [D, H, W, C], any strides (channels-last is fastest).
        queries: floating [P, C]; rounded to the features' dtype.
        bias: floating [P].
        weights: floating window weights (wz [D], wy [H], wx [W]).
        slab: float32, fp16 or bf16 [P, Dv, Hv, Wv], any strides.
        offset: slab index (z, y, x) of window voxel 0; may be negative.
        flip: axes (z, y, x) along which ``features`` are mirrored.

    Returns:
        The slab.

    Raises:
        ValueError: for shapes that do not fit together or channels outside 1 to 128.
        TypeError: for dtypes outside those named.
    """
    checks.dtype("features", features, checks.FLOATS)
    checks.dtype("slab", slab, checks.FLOATS)
    checks.dimensions("features", features, "DHWC")
    checks.dimensions("slab", slab, "PDHW")
    prompts = slab.shape[0]
    channels = features.shape[3]
    checks.shape("queries", queries, (prompts, channels))
    checks.shape("bias", bias, (prompts,))
    for name, table, length in zip("zyx", weights, features.shape):
        checks.shape(f"weights {name}", table, (length,))
    if not 1 <= channels <= MAX_CHANNELS:
        raise ValueError(f"features have {channels} channels; 1 to {MAX_CHANNELS} are supported")
    z, y, x = (int(value) for value in offset)
    mirrored = tuple(bool(value) for value in flip)
    if len(mirrored) != 3:
        raise ValueError(f"flip {flip}: need three entries (z, y, x)")
    choice = dispatch.selected(features, queries, bias, *weights, slab)
    if choice == "reference":
        return reference.head_accumulate(
            features, queries, bias, weights, slab, (z, y, x), flip=mirrored
        )
    begin, size = reference.overlap(features.shape[:3], slab.shape[1:], (z, y, x))
    if 0 in size or prompts == 0:
        return slab
    from textseg3d_kernels.triton.head_accumulate import launch_head_accumulate

    with dispatch.device_guard(slab):
        launch_head_accumulate(
            features,
            queries.to(features.dtype).contiguous(),
            bias.float().contiguous(),
            tuple(table.float().contiguous() for table in weights),
            slab,
            (z, y, x),
            begin,
            size,
            mirrored,
        )
    return slab
