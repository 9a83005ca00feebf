"""Spline resampling as nnU-Net does it, exactly, by one small matrix per axis.

nnU-Net resamples with ``skimage.transform.resize`` (order 3 for images, 1 for labels and
probabilities, edge mode, no antialiasing, result clipped to the range of the input). Without the
clip that is linear and separable, so it equals three matrix products whose matrices are the same
1-D routine applied to the identity. Where one axis is more than three times coarser than the
finest, that axis is resampled on its own, by the nearest slice (order 0).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import PlansError, UsageError

if TYPE_CHECKING:
    import torch

ANISOTROPY_THRESHOLD = 3.0  # nnU-Net's ANISO_THRESHOLD
# Scores of two labels closer than this are a tie: sums of products of the same weights in another
# order differ by about 1e-16.
_TIE = 1e-9
_SLAB_VOXELS = 2**23  # converted to float32 at once
NEGLIGIBLE = 1e-10


def new_shape(
    shape: Sequence[int], spacing_mm: Sequence[float], new_spacing_mm: Sequence[float]
) -> tuple[int, int, int]:
    """Voxels (z, y, x) at the new spacing by nnU-Net's rule: round(old / new · n)."""
    z, y, x = (
        round(float(old) / float(new) * int(n))
        for n, old, new in zip(shape, spacing_mm, new_spacing_mm, strict=True)
    )
    return z, y, x


def separate_axis(
    spacing_mm: Sequence[float],
    new_spacing_mm: Sequence[float],
    force_separate_z: bool | None = None,
    threshold: float = ANISOTROPY_THRESHOLD,
) -> int | None:
    """The axis that is resampled on its own, or None.

    That is the coarsest axis of the current spacing if it exceeds ``threshold`` times the
    finest, else of the new one. Two equally coarse axes are resampled with the rest.

    Args:
        spacing_mm: (z, y, x) of the data.
        new_spacing_mm: (z, y, x) of the result.
        force_separate_z: True or False decides instead of the threshold.
        threshold: largest ratio that still counts as isotropic.
    """
    if force_separate_z is False:
        return None
    if force_separate_z:
        decisive = spacing_mm
    else:
        candidates = [s for s in (spacing_mm, new_spacing_mm) if max(s) / min(s) > threshold]
        if not candidates:
            return None
        decisive = candidates[0]
    coarsest = [axis for axis, s in enumerate(decisive) if s == max(decisive)]
    return coarsest[0] if len(coarsest) == 1 else None


@lru_cache(maxsize=64)
def spline_operator(n_in: int, n_out: int, order: int = 3) -> NDArray[np.float64]:
    """The matrix [n_out, n_in] of spline interpolation with repeated edges.

    Output centre i sits at (i + 0.5)·n_in/n_out − 0.5, as in ``skimage.transform.resize`` with
    mode "edge" and ``anti_aliasing=False``. The result is shared: do not write into it.

    Raises:
        UsageError: for an order outside 0 to 5 or a length below 1.
    """
    if not 0 <= order <= 5 or min(n_in, n_out) < 1:
        raise UsageError(
            f"cannot resample {n_in} to {n_out} voxels with order {order}; expected lengths of at "
            "least 1 and an order from 0 to 5"
        )
    if n_in == n_out:
        operator = np.eye(n_in)
    else:
        from scipy.ndimage import zoom

        operator = zoom(
            np.eye(n_in), (n_out / n_in, 1.0), order=order, mode="nearest", grid_mode=True
        )
        # A spline's weights fall by 0.27 per sample, soon to denormal numbers, which cost the
        # matrix product ten times its time and carry nothing.
        operator[np.abs(operator) < NEGLIGIBLE] = 0.0
    operator.setflags(write=False)
    return operator


def resample_to_shape(
    data: NDArray[Any] | torch.Tensor,
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    new_spacing_mm: Sequence[float],
    *,
    is_seg: bool = False,
    order: int = 3,
    order_z: int = 0,
    force_separate_z: bool | None = None,
) -> Any:
    """nnU-Net's ``resample_data_or_seg_to_shape``, by its own keyword arguments.

    Args:
        data: [C, D, H, W]; scan, probabilities, or label maps with ``is_seg``.
        shape: (z, y, x) of the result.
        spacing_mm: (z, y, x) of the data.
        new_spacing_mm: (z, y, x) of the result.
        is_seg: whether values are labels.
        order: of the spline (in plane, if an axis is separate).
        order_z: along a separate axis.
        force_separate_z: see `separate_axis`.

    Returns:
        float32 tensor [C, *shape] on the device of ``data`` (see `resample_image`); with
        ``is_seg`` a numpy array in the dtype of ``data``.

    Raises:
        UsageError: for lengths or orders that cannot be meant.
        PlansError: for labels with another ``order_z`` than 0.
    """
    axis = separate_axis(spacing_mm, new_spacing_mm, force_separate_z)
    if not is_seg:
        return resample_image(data, shape, order=order, axis=axis, order_z=order_z)
    maps = [
        resample_label_map(labels, shape, order=order, axis=axis, order_z=order_z)
        for labels in np.asarray(data)
    ]
    return np.stack(maps)


def resample_image(
    data: NDArray[Any] | torch.Tensor,
    shape: Sequence[int],
    *,
    order: int = 3,
    axis: int | None = None,
    order_z: int = 0,
    intensity: Sequence[Callable[[torch.Tensor], torch.Tensor]] | None = None,
) -> torch.Tensor:
    """Resample scan or probability channels [C, D, H, W] to [C, *shape].

    Args:
        data: any real dtype; converted to float32 slab by slab, so a scan of integers costs no
            float copy of its full size.
        shape: (z, y, x) of the result.
        order: of the spline.
        axis: the axis (0 to 2) to be resampled on its own with ``order_z``, if any.
        order_z: order along ``axis``.
        intensity: per channel, what is done to the float32 values first, voxel by voxel; it may
            overwrite them.

    Returns:
        float32 tensor on the device of ``data`` (CPU for numpy input). Splines of order 2 and
        more overshoot and are clipped to the input's range: per channel, or per slice of
        ``axis``, which are what nnU-Net resizes at a time.

    Raises:
        UsageError: for lengths or orders that cannot be meant.
    """
    import torch

    device = data.device if isinstance(data, torch.Tensor) else torch.device("cpu")
    result = torch.empty((len(data), *shape), dtype=torch.float32, device=device)
    for channel, values in enumerate(data):
        change = None if intensity is None else intensity[channel]
        result[channel] = _resample_channel(values, shape, order, (axis, order_z), change)
    return result


def _resample_channel(
    values: Any,
    shape: Sequence[int],
    order: int,
    apart: tuple[int | None, int],
    intensity: Callable[[torch.Tensor], torch.Tensor] | None,
) -> torch.Tensor:
    """One channel [D, H, W], in slabs along the axis that is resampled last."""
    import torch

    axis, order_z = apart
    size = [int(n) for n in values.shape]
    plane = sorted((a for a in range(3) if a != axis), key=lambda a: shape[a] / size[a])
    last = plane[-1] if axis is None else axis
    # skimage clips what it resizes at once; a plane that keeps its size is not changed at all.
    clips = order > 1 and any(size[a] != shape[a] for a in plane)
    step = max(1, _SLAB_VOXELS * size[last] // max(1, size[0] * size[1] * size[2]))
    parts, lows, highs = [], [], []
    for first in range(0, size[last], step):
        where = tuple(slice(first, first + step) if a == last else slice(None) for a in range(3))
        part = _float_copy(values[where])
        part = part if intensity is None else intensity(part)
        if clips:
            lows.append(part.amin(plane if axis is not None else (0, 1, 2), keepdim=True))
            highs.append(part.amax(plane if axis is not None else (0, 1, 2), keepdim=True))
        for a in plane:
            if a != last:
                part = _apply(part, spline_operator(size[a], shape[a], order), a)
        if clips and axis is not None:
            part = part.clamp(lows[-1], highs[-1])
        parts.append(part)
    block = torch.cat(parts, dim=last)
    if axis is None:
        block = _apply(block, spline_operator(size[last], shape[last], order), last)
        if clips:
            block = block.clamp(torch.stack(lows).amin(), torch.stack(highs).amax())
    elif size[axis] != shape[axis]:
        block = _apply(block, _separate_operator(size[axis], shape[axis], order_z), axis)
    return block


def _float_copy(values: Any) -> torch.Tensor:
    """float32 of its own memory, of an array or a tensor."""
    import torch

    if isinstance(values, torch.Tensor):
        return values.to(torch.float32, copy=True).contiguous()
    return torch.from_numpy(np.array(values, dtype=np.float32, order="C"))


def _separate_operator(n_in: int, n_out: int, order: int) -> NDArray[np.float64]:
    """Operator along a separate axis: nnU-Net uses ``map_coordinates`` there."""
    from scipy.ndimage import map_coordinates

    at = (float(n_in) / n_out) * (np.arange(n_out) + 0.5) - 0.5
    grid = np.meshgrid(at, np.arange(n_in, dtype=np.float64), indexing="ij")
    return map_coordinates(np.eye(n_in), np.array(grid), order=order, mode="nearest")


def _apply(block: torch.Tensor, operator: NDArray[np.float64], axis: int) -> torch.Tensor:
    """Matrix product along one axis of [D, H, W]; a selection of slices is only copied."""
    import torch

    from textseg3d.preprocessing.banded import along_axis

    if operator.shape[0] == operator.shape[1] and np.array_equal(operator, np.eye(len(operator))):
        return block
    if np.all((operator == 0) | (operator == 1)):
        index = torch.from_numpy(operator.argmax(axis=1)).to(block.device)
        return block.index_select(axis, index)
    return along_axis(block.contiguous(), operator, axis)


def resample_label_map(
    labels: NDArray[Any],
    shape: Sequence[int],
    *,
    order: int = 1,
    axis: int | None = None,
    order_z: int = 0,
) -> NDArray[Any]:
    """Resample a label map [D, H, W]: each label's indicator is resampled, the largest wins.

    Ties go to the nearest neighbour's label if it is one of the tied, else to the smallest
    (the rule of batchgenerators' ``resize_segmentation``). No label is invented.

    Args:
        labels: integers, negative ones included (nnU-Net marks "outside" by −1).
        shape: (z, y, x) of the result.
        order: 0 is nearest neighbour.
        axis: the axis (0 to 2) to be resampled on its own, if any.
        order_z: order along ``axis``; 0, as in every plan that nnU-Net makes.

    Raises:
        UsageError: for lengths or orders that cannot be meant.
        PlansError: for another ``order_z`` than 0 where an axis is separate.
    """
    if labels.shape == tuple(shape):
        return labels.copy()
    size = list(shape)
    if axis is not None:
        if order_z != 0:
            raise PlansError(f"order_z of labels is {order_z}, expected 0; correct the plans")
        if labels.shape[axis] != shape[axis]:
            chosen = _separate_operator(labels.shape[axis], shape[axis], 0).argmax(axis=1)
            labels = labels.take(chosen, axis)
    nearest = labels
    for a in range(3):
        chosen = spline_operator(labels.shape[a], size[a], 0).argmax(axis=1)
        nearest = nearest.take(chosen, a)
    present = np.unique(labels)
    if order == 0 or len(present) == 1:
        return nearest
    operators = [spline_operator(n, m, order) for n, m in zip(labels.shape, size, strict=True)]
    best = np.zeros(size)
    result = np.full(size, present[0], dtype=labels.dtype)
    on_top = np.zeros(size, dtype=bool)
    for label in present:
        region, score = _indicator(labels == label, operators)
        ahead = score > best[region] + _TIE
        level = ~ahead & (score > best[region] - _TIE) & (score > _TIE)
        is_nearest = nearest[region] == label
        result[region][ahead] = label
        best[region][ahead] = score[ahead]
        on_top[region] = np.where(ahead, is_nearest, on_top[region] | (level & is_nearest))
    return np.where(on_top, nearest, result)


def _indicator(
    mask: NDArray[np.bool_], operators: Sequence[NDArray[np.float64]]
) -> tuple[tuple[slice, ...], NDArray[np.float64]]:
    """A mask's resampled indicator, where it can be other than 0: region and score."""
    inside, region = [], []
    for a, operator in enumerate(operators):
        hit = np.flatnonzero(mask.any(axis=tuple(b for b in range(3) if b != a)))
        columns = slice(int(hit[0]), int(hit[-1]) + 1)
        rows = np.flatnonzero(np.abs(operator[:, columns]).max(axis=1) > 0)
        first, last = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0)
        inside.append((columns, operator[first:last, columns]))
        region.append(slice(first, last))
    score = mask[tuple(columns for columns, _ in inside)].astype(np.float64)
    for a, (_, weights) in enumerate(inside):
        score = np.moveaxis(np.tensordot(weights, score, axes=(1, a)), 0, a)
    return tuple(region), score.clip(0.0, 1.0)
