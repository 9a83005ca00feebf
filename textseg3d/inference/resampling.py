"""A scan on the network's grid: on the CPU, or by the kernel K3 where the network is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def resample_scan(array: NDArray[Any], shape: tuple[int, int, int], device: torch.device) -> Tensor:
    """Antialiased linear resampling of [C, D, H, W] to float32 [C, *shape].

    On the CPU, or on ``device`` where that has the kernel.
    """
    import torch

    from textseg3d.networks.kernels import kernels_for
    from textseg3d.preprocessing import resample
    from textseg3d.preprocessing.resample import resize_operator

    array = native_order(array)
    kernels = kernels_for(torch.empty(0, device=device))
    if kernels is None:
        return resample(array, shape)
    stored = torch.as_tensor(np.ascontiguousarray(array))
    stored = stored if stored.dtype in (torch.int16, torch.float32) else stored.float()
    return _by_kernel(kernels, stored.to(device), shape, resize_operator)


def _by_kernel(kernels: Any, stored: Tensor, shape: tuple[int, int, int], operator: Any) -> Tensor:
    """K3 without clipping and scaling: the intensity schemes come after resampling."""
    import torch

    channels = stored.shape[0]
    axes = tuple(
        kernels.dense_operator(torch.from_numpy(operator(n, m)))
        for n, m in zip(stored.shape[1:], shape)
    )
    done: Tensor = kernels.prepare_volume(
        stored,
        axes,
        low=torch.full((channels,), -torch.inf),
        high=torch.full((channels,), torch.inf),
        mean=torch.zeros(channels),
        std=torch.ones(channels),
    )
    return done.permute(3, 0, 1, 2).contiguous()


def native_order(array: NDArray[Any]) -> NDArray[Any]:
    """The array in a dtype and byte order that torch takes."""
    if array.dtype.byteorder not in ("=", "|"):
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        wider = np.int32 if array.dtype.itemsize == 2 else np.float32
        return array.astype(wider)
    return array.astype(np.uint8) if array.dtype == np.bool_ else array
