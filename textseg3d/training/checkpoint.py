"""Checkpoints: one safetensors file with weights, their average and AdamW's moments."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from torch import Tensor, nn

from textseg3d.errors import InputError

NAME = "checkpoint.safetensors"
BEST = "checkpoint_best.safetensors"


def save_checkpoint(
    folder: Path,
    network: nn.Module,
    average: dict[str, Tensor],
    optimizer: torch.optim.AdamW,
    step: int,
    settings: dict[str, object],
) -> None:
    """Write atomically; ``step`` is the number of finished optimiser steps."""
    tensors = {f"model.{k}": v for k, v in network.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.items()}
    for name, parameter in network.named_parameters():
        state = optimizer.state.get(parameter, {})
        for key in ("exp_avg", "exp_avg_sq"):
            if key in state:
                tensors[f"{key}.{name}"] = state[key]
    _write(folder / NAME, tensors, {"step": str(step), "settings": json.dumps(settings)})


def save_average(path: Path, average: dict[str, Tensor], step: int) -> None:
    """Write the averaged weights alone, atomically."""
    _write(path, {f"average.{k}": v for k, v in average.items()}, {"step": str(step)})


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    from safetensors.torch import save_file

    for leftover in path.parent.glob(f".{path.name}.*"):  # of a run that was killed while writing
        leftover.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, temporary, metadata)
    os.replace(temporary, path)


def load_checkpoint(
    folder: Path, network: nn.Module, average: dict[str, Tensor], optimizer: torch.optim.AdamW
) -> int:
    """Restore in place; returns the number of finished steps.

    Raises:
        InputError: if there is no checkpoint, or it is of another network.
    """
    from safetensors import safe_open

    path = folder / NAME
    if not path.is_file():
        raise InputError(f"{folder}: no {NAME} to continue from; start without --continue")
    device = next(network.parameters()).device
    with safe_open(path, framework="pt", device=str(device)) as file:
        step = int(file.metadata()["step"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    try:
        network.load_state_dict({k: tensors[f"model.{k}"] for k in network.state_dict()})
        for key, value in average.items():
            value.copy_(tensors[f"average.{key}"])
    except (KeyError, RuntimeError) as error:
        raise InputError(f"{path}: does not fit this network ({str(error)[:200]})") from None
    for name, parameter in network.named_parameters():
        if f"exp_avg.{name}" in tensors:
            optimizer.state[parameter] = {
                "step": torch.tensor(float(step)),
                "exp_avg": _like(parameter, tensors[f"exp_avg.{name}"]),
                "exp_avg_sq": _like(parameter, tensors[f"exp_avg_sq.{name}"]),
            }
    return step


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """The value in the parameter's memory layout, which the optimiser needs to be fast."""
    return torch.empty_like(parameter).copy_(value)
