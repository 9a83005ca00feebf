"""The Python interface: the segmenter of `inference` together with the files of `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textseg3d.export import save_prediction
from textseg3d.inference.segmenter import Segmenter as InferenceSegmenter


class Segmenter(InferenceSegmenter):
    """A model, loaded once, whose predictions can be saved as the command line saves them.

    Arguments and methods as in :class:`textseg3d.inference.segmenter.Segmenter`; ``exporter``
    defaults to :func:`textseg3d.export.save_prediction`.
    """

    def __init__(self, model: str | Path = "ct-nano", device: str = "auto", **options: Any) -> None:
        options.setdefault("exporter", save_prediction)
        super().__init__(model, device, **options)
