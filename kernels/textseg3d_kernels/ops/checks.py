"""Argument checks shared by the public functions; every message says got, expected."""

from __future__ import annotations

from collections.abc import Sequence

import torch

FLOATS = (torch.float32, torch.float16, torch.bfloat16)


def dtype(name: str, tensor: torch.Tensor, allowed: Sequence[torch.dtype]) -> None:
    """Raise TypeError unless the tensor has one of the allowed dtypes."""
    if tensor.dtype not in allowed:
        listed = ", ".join(str(each).removeprefix("torch.") for each in allowed)
        raise TypeError(f"{name} has dtype {tensor.dtype}; expected one of {listed}")


def dimensions(name: str, tensor: torch.Tensor, axes: str) -> None:
    """Raise ValueError unless the tensor has one axis per letter of ``axes``."""
    if tensor.ndim != len(axes):
        wanted = ", ".join(axes)
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}; expected axes [{wanted}]")


def shape(name: str, tensor: torch.Tensor, expected: Sequence[int]) -> None:
    """Raise ValueError unless the tensor has exactly this shape."""
    if tuple(tensor.shape) != tuple(expected):
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}; expected {tuple(expected)}")


def same_device(**tensors: torch.Tensor | None) -> None:
    """Raise ValueError unless all given tensors lie on one device."""
    devices = {name: tensor.device for name, tensor in tensors.items() if tensor is not None}
    if len(set(devices.values())) > 1:
        listed = ", ".join(f"{name} on {device}" for name, device in devices.items())
        raise ValueError(f"tensors lie on different devices ({listed}); move them to one")
