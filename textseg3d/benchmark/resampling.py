"""Task that compares cubic resampling with what nnU-Net resamples with."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from textseg3d.benchmark.measure import median
from textseg3d.errors import MissingDependencyError


def cubic(request: dict[str, Any]) -> dict[str, Any]:
    """Order-3 resampling of a scan to another spacing, by this package and by scikit-image.

    Args:
        request: ``scan``, ``spacing_mm`` (of the result), ``repeats``.

    Raises:
        MissingDependencyError: without scikit-image.
    """
    try:
        from skimage.transform import resize
    except ImportError as error:
        raise MissingDependencyError(
            f"scikit-image is not installed ({error}); pip install 'textseg3d[bench]'"
        ) from None
    from textseg3d.inference.device import tune_process
    from textseg3d.io import read_volume
    from textseg3d.preprocessing.cubic import new_shape, resample_image

    tune_process()
    volume = read_volume(request["scan"])
    data = volume.array[:1].astype(np.float32)
    shape = new_shape(volume.shape, volume.spacing_mm, request["spacing_mm"])
    times = []
    for _ in range(request["repeats"]):
        start = time.monotonic()
        ours = resample_image(data, shape, order=3)[0].numpy()
        times.append(time.monotonic() - start)
    start = time.monotonic()
    # As nnU-Net calls it: float64 in, edge mode, no antialiasing.
    theirs = resize(data[0].astype(float), shape, 3, mode="edge", anti_aliasing=False)
    seconds = time.monotonic() - start
    difference = float(np.abs(ours - theirs).max())
    return {
        "seconds": median(times),
        "skimage_seconds": seconds,
        "max_difference": difference,
        "share_of_range": difference / float(np.ptp(data)),
        "from": list(volume.shape),
        "to": list(shape),
    }
