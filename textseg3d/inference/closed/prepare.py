"""From a scan to the input of an nnU-Net, and from its label map back, by nnU-Net's own rules.

Order of steps: the reader's axes, transpose, crop to what is not zero, normalise, resample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import InputError
from textseg3d.inference.closed.spec import Channel, ClosedSpec, Resampling
from textseg3d.inference.closed.windows import window_grid
from textseg3d.inference.engine import PreparedImage, body_midline, native_order
from textseg3d.preprocessing import body_box, resample, target_shape
from textseg3d.preprocessing.cubic import new_shape, resample_image, separate_axis

if TYPE_CHECKING:
    from torch import Tensor

    from textseg3d.io import Volume

Triple = tuple[int, int, int]
_EPSILON = 1e-8  # smallest standard deviation, as in nnU-Net
_LOOK_MM = 4.0


@dataclass(frozen=True)
class ClosedImage(PreparedImage):
    """A scan on the grid of a closed-vocabulary network.

    ``x``, ``box`` and ``midline`` belong to a coarse look at the scan in canonical order, from
    which sides are checked; ``grid`` to ``inputs``.

    Attributes:
        inputs: float32 [C, a, b, c], normalised, axes as the network has them.
        spacing_mm: of the scan before resampling, axes as the network has them.
        crop: part of the scan that ``inputs`` covers, axes as the network has them.
        shape: of the scan, axes as the network has them.
        volume: the scan.
        exact: whether shortcuts are off.
    """

    inputs: Tensor
    spacing_mm: tuple[float, float, float]
    crop: tuple[slice, slice, slice]
    shape: Triple
    volume: Volume
    exact: bool


def prepare(volume: Volume, spec: ClosedSpec, *, exact: bool) -> ClosedImage:
    """See the module.

    Raises:
        InputError: if the scan has another number of channels than the model.
    """
    channels = len(spec.channels)
    if volume.array.shape[0] != channels:
        names = ", ".join(channel.name for channel in spec.channels)
        raise InputError(
            f"the scan has {volume.array.shape[0]} channels, the model was trained on {channels} "
            f"({names}); give one scan with {channels} channels, or files ending in _0000 to "
            f"_{channels - 1:04d}"
        )
    data, spacing = reader_array(volume, spec)
    shape = data.shape[1:]
    crop = nonzero_box(data)
    data = np.ascontiguousarray(data[(slice(None), *crop)], dtype=np.float32)
    mask = _filled_mask(data) if any(channel.use_mask for channel in spec.channels) else None
    for values, channel in zip(data, spec.channels):
        values[...] = normalise_channel(values, channel, mask)
    inputs = resample_image(
        data,
        new_shape(data.shape[1:], spacing, spec.spacing),
        order=spec.data_resampling.order,
        axis=thick_axis(spec.data_resampling, spacing, spec.spacing),
    )
    a, b, c = inputs.shape[1:]
    grid = window_grid((a, b, c), spec.patch_size, exact=exact)
    look, box, midline = _coarse_look(volume, spec)
    return ClosedImage(
        look, (), box, midline, grid, inputs, spacing, crop, shape, volume, exact
    )  # fmt: skip


def reader_array(
    volume: Volume, spec: ClosedSpec
) -> tuple[NDArray[Any], tuple[float, float, float]]:
    """The scan [C, a, b, c] with the axes of the network, and its spacing along them."""
    array = native_order(volume.array)
    if spec.orientation == "RAS":
        array, spacing = array[:, :, ::-1, ::-1], list(volume.spacing_mm)
    else:
        array = np.stack([volume.to_source(channel) for channel in array]).transpose(0, 3, 2, 1)
        along = [0.0, 0.0, 0.0]  # of the file's axes i, j, k
        for axis, file_axis in enumerate(volume.source.permutation):
            along[file_axis] = volume.spacing_mm[2 - axis]
        spacing = along[::-1]
    first, second, third = (spacing[axis] for axis in spec.transpose)
    return array.transpose(0, *(1 + axis for axis in spec.transpose)), (first, second, third)


def to_canonical(array: NDArray[Any], volume: Volume, spec: ClosedSpec) -> NDArray[Any]:
    """An array [a, b, c] over the whole scan, in the order of ``volume.array`` [D, H, W]."""
    zyx = array.transpose(np.argsort(spec.transpose))
    if spec.orientation == "RAS":
        return np.ascontiguousarray(zyx[:, ::-1, ::-1])
    xyz = zyx.transpose(2, 1, 0).transpose(volume.source.permutation)
    xyz = xyz[tuple(slice(None, None, -1) if f else slice(None) for f in volume.source.flips)]
    return np.ascontiguousarray(xyz.transpose(2, 1, 0))


def nonzero_box(data: NDArray[Any]) -> tuple[slice, slice, slice]:
    """Smallest box of [C, a, b, c] with all voxels that are not 0 in some channel."""
    found = np.zeros(data.shape[1:], dtype=bool)
    for channel in data:
        found |= channel != 0
    box: list[slice] = []
    for axis in range(3):
        hit = np.flatnonzero(found.any(axis=tuple(a for a in range(3) if a != axis)))
        box.append(
            slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(0, data.shape[axis + 1])
        )
    return box[0], box[1], box[2]


def _filled_mask(data: NDArray[np.float32]) -> NDArray[np.bool_]:
    from scipy.ndimage import binary_fill_holes

    return np.asarray(binary_fill_holes((data != 0).any(axis=0)))


def normalise_channel(
    image: NDArray[np.float32], channel: Channel, mask: NDArray[np.bool_] | None
) -> NDArray[np.float32]:
    """One channel [a, b, c] by its scheme.

    Args:
        image: scan values.
        channel: its scheme and statistics.
        mask: the filled non-zero region, for schemes that look at it alone.

    Raises:
        InputError: for an RGB channel with values outside 0 to 255.
    """
    if channel.scheme == "CTNormalization":
        clipped = np.clip(image, np.float32(channel.low), np.float32(channel.high))
        return (clipped - np.float32(channel.mean)) / np.float32(max(channel.std, _EPSILON))
    if channel.scheme == "ZScoreNormalization":
        if not channel.use_mask or mask is None:
            return (image - image.mean()) / max(image.std(), _EPSILON)
        inside = image[mask]
        result = image.copy()
        if inside.size:
            result[mask] = (inside - inside.mean()) / max(inside.std(), _EPSILON)
        return result
    if channel.scheme == "RescaleTo01Normalization":
        shifted = image - image.min()
        return shifted / max(shifted.max(), _EPSILON)
    if channel.scheme == "RGBTo01Normalization":
        if image.min() < 0 or image.max() > 255:
            raise InputError(f"channel {channel.name!r} must be 0 to 255, as RGB images are")
        return image / np.float32(255)
    return image


def thick_axis(
    rule: Resampling, spacing_mm: Sequence[float], new_spacing_mm: Sequence[float]
) -> int | None:
    """The axis that is resampled apart from the others, or None."""
    return separate_axis(spacing_mm, new_spacing_mm, rule.separate, rule.threshold)


def _coarse_look(
    volume: Volume, spec: ClosedSpec
) -> tuple[Tensor, NDArray[np.float64], NDArray[np.float64] | None]:
    """Channel 0 in canonical order at about 4 mm, with body box and, for CT, midline."""
    spacing = (_LOOK_MM, _LOOK_MM, _LOOK_MM)
    shape = target_shape(volume.shape, volume.spacing_mm, spacing)
    look = resample(native_order(volume.array[:1]), shape)
    if spec.channels[0].scheme != "CTNormalization":
        return look, np.array([[0.0, n - 1.0] for n in shape]), None
    values = look[0].numpy()
    box = body_box(values, spacing)
    return look, box, body_midline(values, box)
