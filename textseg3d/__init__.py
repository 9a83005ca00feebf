"""Text-promptable 3-D segmentation of medical images.

``from textseg3d import Segmenter`` is the whole Python interface that most scripts need; heavy
packages are imported when it is first touched, so that ``textseg3d --help`` stays fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from textseg3d.api import Segmenter

__all__ = ["Segmenter", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Segmenter":
        from textseg3d.api import Segmenter

        return Segmenter
    raise AttributeError(f"module 'textseg3d' has no attribute {name!r}")
