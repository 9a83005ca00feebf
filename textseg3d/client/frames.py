"""Scans and masks as blosc2 frames, for clients that have that package: quicker than gzip."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from textseg3d.client.nrrd import check_scan_array
from textseg3d.errors import InputError, MissingDependencyError


def _blosc2() -> ModuleType:
    try:
        import blosc2
    except ImportError:
        raise MissingDependencyError(
            "the package blosc2 is not there; install it, or use format='nrrd'"
        ) from None
    return blosc2


def pack_scan(
    array: NDArray[Any],
    spacing_mm: tuple[float, float, float],
    direction: ArrayLike | None = None,
    origin_mm: tuple[float, float, float] | None = None,
) -> bytes:
    """A scan as a blosc2 frame; arguments and errors as in :func:`textseg3d.client.nrrd.encode`.

    Raises:
        InputError: for another shape or a type that is no scan's.
        GeometryError: for a spacing that is not positive.
        MissingDependencyError: without blosc2.
    """
    check_scan_array(array, spacing_mm)
    blosc2 = _blosc2()
    packed = blosc2.asarray(np.ascontiguousarray(array))
    axes = np.eye(3) if direction is None else np.asarray(direction, dtype=np.float64)
    packed.schunk.vlmeta["spacing_mm"] = [float(v) for v in spacing_mm]
    packed.schunk.vlmeta["direction"] = axes.tolist()
    packed.schunk.vlmeta["origin_mm"] = [float(v) for v in origin_mm or (0.0, 0.0, 0.0)]
    return bytes(packed.to_cframe())


def unpack_mask(content: bytes) -> NDArray[np.bool_]:
    """A mask of a job with the format "blosc2", bool [k, j, i].

    Raises:
        InputError: if it is no such frame.
        MissingDependencyError: without blosc2.
    """
    blosc2 = _blosc2()
    try:
        return np.asarray(blosc2.ndarray_from_cframe(content)[:]) != 0
    except (RuntimeError, ValueError) as error:
        raise InputError(f"the server sent no blosc2 array ({type(error).__name__})") from None
