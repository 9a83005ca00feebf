"""Features of windows in a file without a name, for scans whose features do not fit into memory."""

from __future__ import annotations

import mmap
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING

from textseg3d.errors import MemoryBudgetError

if TYPE_CHECKING:
    from torch import Tensor

    from textseg3d.inference.engine import WindowFeatures


def spill(window: WindowFeatures) -> WindowFeatures:
    """The same features, the large ones in a temporary file that the system may page out.

    The file is unlinked as soon as it is there (POSIX), so nothing is left of it whatever ends the
    process. Features on a GPU come to the CPU's side of memory only while they wait; they are
    copied back when they are used.

    Raises:
        MemoryBudgetError: if the disk has no room for them.
    """
    features = window.features
    moved = replace(features, half=_to_file(features.half), quarter=_to_file(features.quarter))
    return replace(window, features=moved, fine=_to_file(window.fine))


def _to_file(tensor: Tensor) -> Tensor:
    """A CPU tensor with the same values and strides, backed by a file."""
    import torch

    size = tensor.numel() * tensor.element_size()
    try:
        with tempfile.TemporaryFile(prefix="textseg3d-") as file:
            file.truncate(size)
            if hasattr(file, "fileno"):
                _reserve(file.fileno(), size)
            memory = mmap.mmap(file.fileno(), size)
    except OSError as error:
        raise MemoryBudgetError(
            f"no room on disk for {size / 2**20:.0f} MB of features in {tempfile.gettempdir()} "
            f"({error.strerror}); set TMPDIR to a folder with more"
        ) from None
    flat = torch.frombuffer(memory, dtype=tensor.dtype)
    result = flat.as_strided(tensor.shape, tensor.stride())
    return result.copy_(tensor)


def _reserve(file: int, size: int) -> None:
    """Take the blocks now: a full disk is an error here, not a crash on access later."""
    import os

    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
