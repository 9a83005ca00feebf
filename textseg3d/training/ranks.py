"""Several processes that train one network together (torchrun), or one that needs none of it.

Each process runs its share of a step's windows; gradients are averaged once per step, in one
flat buffer. Every process holds the same weights, so only the first writes files.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

TIMEOUT = datetime.timedelta(minutes=20)


@dataclass(frozen=True)
class Ranks:
    """This process among ``size``."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share_weights(self, network: nn.Module) -> None:
        """Give all processes the weights of the first."""
        if self.size > 1:
            for tensor in network.state_dict().values():
                torch.distributed.broadcast(tensor, src=0)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace gradients by their mean over the processes; one that is missing counts as 0."""
        if self.size == 1:
            return
        trained = [p for p in parameters if p.requires_grad]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        flat = torch.cat([g.reshape(-1) for g in grads])
        torch.distributed.all_reduce(flat)
        flat /= self.size
        for parameter, part in zip(trained, flat.split([g.numel() for g in grads]), strict=True):
            parameter.grad = torch.empty_like(parameter).copy_(part.view(parameter.shape))

    def mean(self, values: list[float], device: torch.device) -> list[float]:
        """The mean of each value over the processes."""
        if self.size == 1:
            return values
        tensor = torch.tensor(values, device=device)
        torch.distributed.all_reduce(tensor)
        return [float(v) / self.size for v in tensor]

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether a process says so; all get the same answer."""
        if self.size == 1:
            return flag
        tensor = torch.tensor(int(flag), device=device)
        torch.distributed.all_reduce(tensor)
        return bool(tensor)

    def first_value(self, value: float, device: torch.device) -> float:
        """The first process' value, for all."""
        if self.size == 1:
            return value
        tensor: Tensor = torch.tensor(value, dtype=torch.float64, device=device)
        torch.distributed.broadcast(tensor, src=0)
        return float(tensor)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            torch.distributed.barrier()


def launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined(device: str) -> Iterator[tuple[Ranks, str]]:
    """Join the processes that torchrun started; alone if there are none.

    Args:
        device: what the user asked for; "auto" and "cuda" become this process' own GPU.

    Yields:
        the ranks, and the device of this process.
    """
    if not launched():
        yield Ranks(), device
        return
    if device in ("auto", "cuda", "gpu") and torch.cuda.is_available():
        device = f"cuda:{int(os.environ.get('LOCAL_RANK', '0'))}"
        torch.cuda.set_device(device)
    elif device == "auto":
        device = "cpu"
    backend = "nccl" if device.startswith("cuda") else "gloo"
    torch.distributed.init_process_group(backend, timeout=TIMEOUT)
    try:
        yield (
            Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size()),
            device,
        )
        torch.distributed.barrier()
    finally:
        torch.distributed.destroy_process_group()
