"""The further channels of a scan whose files are named as nnU-Net wants them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np

from textseg3d.errors import InputError
from textseg3d.io import Volume, read_volume


def complete_channels(volume: Volume, channels: int, **read_options: Any) -> Volume:
    """Add the files `NAME_0001…`, `NAME_0002…` beside a scan read from `NAME_0000…`.

    Args:
        volume: the scan; anything but one channel from a file of that name is passed on.
        channels: how many the model takes.
        read_options: of :func:`textseg3d.io.read_volume`.

    Raises:
        InputError: if a file is missing or lies on another grid.
    """
    path = volume.source.path
    match = re.fullmatch(r"(.+)_0000(\..+)", path.name) if path is not None else None
    if path is None or match is None or channels < 2 or volume.array.shape[0] != 1:
        return volume
    arrays = [volume.array]
    for number in range(1, channels):
        other = path.with_name(f"{match[1]}_{number:04d}{match[2]}")
        if not other.exists():
            raise InputError(f"{other} is missing; the model takes {channels} channels")
        found = read_volume(other, **read_options)
        same = found.shape == volume.shape and np.allclose(
            found.affine_lps, volume.affine_lps, atol=1e-3
        )
        if not same or found.array.shape[0] != 1:
            raise InputError(f"{other} lies on another grid than {path.name}; resample it first")
        arrays.append(found.array)
    return replace(volume, array=np.concatenate(arrays))
