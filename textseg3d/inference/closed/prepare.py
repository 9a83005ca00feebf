"""From a scan to the input of an nnU-Net, and from its label map back, by nnU-Net's own rules.

Order of steps: the reader's axes, transpose, crop to what is not zero, normalise, resample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import InputError
from textseg3d.inference.closed.coarse_grid import back_operators, to_network_grid
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
_POINTWISE = ("CTNormalization", "NoNormalization")
_BODY_MARGIN_MM = 12.0  # the body box is known to about one of its cells


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
        operators: per axis the matrix [scan, network] that brings logits back, where it does not
            follow from the spec.
    """

    inputs: Tensor
    spacing_mm: tuple[float, float, float]
    crop: tuple[slice, ...]
    shape: Triple
    volume: Volume
    exact: bool
    operators: tuple[NDArray[np.float64], ...] | None = None


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
    shape, operators = data.shape[1:], None
    if exact and spec.pipeline == "totalsegmentator":
        data = to_network_grid(data.astype(np.float32), spacing, spec.spacing)
        seen = nonzero_box(data)
        crop, operators = back_operators(shape, data.shape[1:], seen)
        inputs = _normalised(data[(slice(None), *seen)], spec)
    else:
        crop = nonzero_box(data)
        cropped: Any = data[(slice(None), *crop)]
        intensity = [_pointwise(channel) for channel in spec.channels]
        if not all(channel.scheme in _POINTWISE for channel in spec.channels):
            cropped, intensity = _normalised(cropped, spec), []
        inputs = resample_image(
            cropped,
            new_shape(cropped.shape[1:], spacing, spec.spacing),
            order=spec.data_resampling.order,
            axis=thick_axis(spec.data_resampling, spacing, spec.spacing),
            intensity=intensity or None,
        )
    a, b, c = inputs.shape[1:]
    look, box, midline = coarse_look(volume, ct=spec.channels[0].scheme == "CTNormalization")
    body = None if exact or midline is None else _body_on_grid(look, box, volume, spec, crop)
    grid = window_grid((a, b, c), spec.patch_size, exact=exact, box=body, step=spec.step)
    return ClosedImage(
        look, (), box, midline, grid, inputs, spacing, crop, shape, volume, exact, operators
    )  # fmt: skip


def _pointwise(channel: Channel) -> Callable[[Tensor], Tensor]:
    """Normalisation of some voxels, by a scheme that looks at nothing else."""
    import torch

    return lambda values: torch.from_numpy(normalise_channel(values.numpy(), channel, None))


def _normalised(data: NDArray[Any], spec: ClosedSpec) -> Tensor:
    """A copy of [C, a, b, c], each channel by its scheme."""
    import torch

    data = np.array(data, dtype=np.float32, order="C")
    mask = _filled_mask(data) if any(channel.use_mask for channel in spec.channels) else None
    for values, channel in zip(data, spec.channels):
        found = normalise_channel(values, channel, mask)
        if found is not values:
            values[...] = found
    return torch.from_numpy(data)


def _body_on_grid(
    look: Tensor,
    box: NDArray[np.float64],
    volume: Volume,
    spec: ClosedSpec,
    crop: tuple[slice, ...],
) -> NDArray[np.float64]:
    """First and last voxel [3, 2] of the body on the network's grid, with a margin.

    Args:
        look: the coarse look [C, d, h, w] in which ``box`` was found.
        box: first and last voxel [3, 2] of the body there, (z, y, x).
        volume: the scan.
        spec: the model.
        crop: part of the scan that the network's grid covers, axes as the network has them.
    """
    reached = [s * n / m for s, n, m in zip(volume.spacing_mm, volume.shape, look.shape[1:])]
    edges = np.stack([box[:, 0], box[:, 1] + 1], axis=1) * np.array(reached)[:, None]
    extent = np.array(volume.shape) * np.array(volume.spacing_mm)
    if spec.orientation == "RAS":
        turned = [False, True, True]
        order = [0, 1, 2]
    else:
        turned = [bool(f) for f in volume.source.flips[::-1]]
        order = [2 - volume.source.permutation.index(2 - axis) for axis in range(3)]
    for axis in range(3):
        if turned[axis]:
            edges[axis] = extent[axis] - edges[axis][::-1]
    edges = edges[order][list(spec.transpose)]
    along = np.array(volume.spacing_mm)[order][list(spec.transpose)]
    start = np.array([s.start for s in crop]) * along
    found = (edges - start[:, None]) / np.array(spec.spacing)[:, None]
    margin = _BODY_MARGIN_MM / np.array(spec.spacing)[:, None]
    return found + margin * (-1.0, 1.0)


def reader_array(
    volume: Volume, spec: ClosedSpec
) -> tuple[NDArray[Any], tuple[float, float, float]]:
    """The scan [C, a, b, c] with the axes of the network, a view; and its spacing along them."""
    array = native_order(volume.array)
    if spec.orientation == "RAS":
        array, spacing = array[:, :, ::-1, ::-1], list(volume.spacing_mm)
    else:
        turned = (slice(None, None, -1) if f else slice(None) for f in volume.source.flips)
        xyz = array.transpose(0, 3, 2, 1)[(slice(None), *turned)]
        order = np.argsort(volume.source.permutation)
        array = xyz.transpose(0, *(1 + order)).transpose(0, 3, 2, 1)
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
    box: list[slice] = []
    for axis in range(1, 4):
        planes = np.moveaxis(data, axis, 0)
        first = next((i for i, plane in enumerate(planes) if plane.any()), None)
        if first is None:  # nothing at all
            return slice(0, data.shape[1]), slice(0, data.shape[2]), slice(0, data.shape[3])
        last = next(i for i in range(len(planes) - 1, -1, -1) if planes[i].any())
        box.append(slice(first, last + 1))
        data = np.moveaxis(planes[first : last + 1], 0, axis)  # there is nothing elsewhere
    return box[0], box[1], box[2]


def _filled_mask(data: NDArray[np.float32]) -> NDArray[np.bool_]:
    from scipy.ndimage import binary_fill_holes

    return np.asarray(binary_fill_holes((data != 0).any(axis=0)))


def normalise_channel(
    image: NDArray[np.float32], channel: Channel, mask: NDArray[np.bool_] | None
) -> NDArray[np.float32]:
    """One channel [a, b, c] by its scheme; ``image`` may be overwritten.

    Args:
        image: scan values.
        channel: its scheme and statistics.
        mask: the filled non-zero region, for schemes that look at it alone.

    Raises:
        InputError: for an RGB channel with values outside 0 to 255.
    """
    if channel.scheme == "CTNormalization":
        np.clip(image, np.float32(channel.low), np.float32(channel.high), out=image)
        image -= np.float32(channel.mean)
        image /= np.float32(max(channel.std, _EPSILON))
        return image
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


def coarse_look(
    volume: Volume, *, ct: bool
) -> tuple[Tensor, NDArray[np.float64], NDArray[np.float64] | None]:
    """Channel 0 in canonical order at about 4 mm, with body box and, for CT, midline."""
    spacing = (_LOOK_MM, _LOOK_MM, _LOOK_MM)
    shape = target_shape(volume.shape, volume.spacing_mm, spacing)
    look = resample(native_order(volume.array[:1]), shape)
    if not ct:
        return look, np.array([[0.0, n - 1.0] for n in shape]), None
    values = look[0].numpy()
    box = body_box(values, spacing)
    return look, box, body_midline(values, box)
