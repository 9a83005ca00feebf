"""A small picture of a case, for pages that show hundreds of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textseg3d.export.colours import rgb
from textseg3d.export.preview import best_planes, display_plane, display_window
from textseg3d.inference.result import Prediction, PromptResult

HEIGHT = 128
_MAX_WIDTH = 256
_ALPHA = 0.45


def write_thumbnail(path: Path, prediction: Prediction) -> None:
    """Write a PNG of the coronal slice that cuts most of the masks, masks coloured.

    Superior is up and the patient's right is at the left. Voxels are shown square in mm, 128
    pixels high, at most 256 wide.
    """
    from matplotlib.image import imsave

    imsave(str(path), thumbnail(prediction), metadata={"Software": "textseg3d"})


def thumbnail(prediction: Prediction) -> NDArray[np.uint8]:
    """The picture, uint8 [height, width, 3], see :func:`write_thumbnail`."""
    volume = prediction.volume
    shown = [(i, r) for i, r in enumerate(prediction.values()) if r.voxels]
    results = [result for _, result in shown]
    y = best_planes(results, volume.shape)[1]
    low, high = display_window(volume.array[0], results)
    grey = np.clip((volume.array[0, :, y].astype(np.float32) - low) / (high - low), 0, 1) * 255
    image = np.repeat(grey[..., None], 3, axis=-1)
    for index, result in shown:
        mask = _coronal(result, y)
        image[mask] = (1 - _ALPHA) * image[mask] + _ALPHA * np.array(rgb(index))
    image = display_plane(image, 1)
    height_mm = volume.shape[0] * volume.spacing_mm[0]
    width_mm = volume.shape[2] * volume.spacing_mm[2]
    scale = min(HEIGHT / height_mm, _MAX_WIDTH / width_mm)
    rows = _nearest(max(1, round(height_mm * scale)), volume.shape[0])
    columns = _nearest(max(1, round(width_mm * scale)), volume.shape[2])
    return image[rows][:, columns].astype(np.uint8)


def _coronal(result: PromptResult, y: int) -> NDArray[np.bool_]:
    """The mask in one coronal slice, bool [D, W]."""
    assert result.packed is not None
    depth, _, width = result.packed.shape
    mask = np.zeros((depth, width), dtype=bool)
    z, rows, x = result.packed.box
    if rows.start <= y < rows.stop:
        mask[z, x] = result.packed.crop()[:, y - rows.start]
    return mask


def _nearest(pixels: int, voxels: int) -> NDArray[np.intp]:
    """Which voxel each pixel shows."""
    return ((np.arange(pixels) + 0.5) * voxels / pixels).astype(np.intp)
