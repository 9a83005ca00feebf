"""From a scan to the network's grid and intensities."""

from textseg3d.preprocessing.body import body_box, window_position
from textseg3d.preprocessing.intensity import normalise
from textseg3d.preprocessing.resample import (
    resample,
    resample_labels,
    resize_operator,
    target_shape,
)

__all__ = [
    "body_box",
    "normalise",
    "resample",
    "resample_labels",
    "resize_operator",
    "target_shape",
    "window_position",
]
