"""How much memory a prediction takes, said before it starts, and what to do with less.

The largest items are the features of the windows in play. They are kept for the whole scan where
there is room, else only for the rows of windows that a slab of planes needs, else in a file that
has no name any more (so that a killed process leaves nothing).
"""

from __future__ import annotations

import logging
import math
import os
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from textseg3d.errors import MemoryBudgetError, UsageError
from textseg3d.inference.windows import PLANES

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)
_ROOMY = 2**30  # features that are kept without need
_SHARE = 0.9  # of what is free; the rest is for whatever else the machine does
_UNITS = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

Kept = Literal["memory", "rows", "disk"]


@dataclass(frozen=True)
class MemoryPlan:
    """What a prediction will take on top of what the process holds already.

    Attributes:
        needed_bytes: at the peak, on the device that is scarce.
        available_bytes: free there, or what is left of the limit; None if nobody knows.
        kept: where features of windows stay: all in "memory", only the "rows" in play, or on
            "disk".
        planes: of the largest slab of sums.
        windows_kept: windows whose features exist at once.
        windows: windows that run.
        device: "RAM" or the name of a GPU.
    """

    needed_bytes: int
    available_bytes: int | None
    kept: Kept
    planes: int
    windows_kept: int
    windows: int
    device: str = "RAM"

    def __str__(self) -> str:
        have = "" if self.available_bytes is None else f", have {gigabytes(self.available_bytes)}"
        where = {"memory": "kept", "rows": "at a time", "disk": "on disk"}[self.kept]
        return (
            f"needs {gigabytes(self.needed_bytes)} of {self.device}{have} "
            f"(windows {self.windows}, features of {self.windows_kept} {where}, slabs of "
            f"{self.planes} planes)"
        )

    def to_json(self) -> dict[str, object]:
        """For records and logs."""
        return {
            "needed_mb": round(self.needed_bytes / 2**20, 1),
            "available_mb": None
            if self.available_bytes is None
            else round(self.available_bytes / 2**20, 1),
            "features": self.kept,
            "slab_planes": self.planes,
        }


@dataclass(frozen=True)
class Costs:
    """Bytes of the parts of a prediction.

    Attributes:
        fixed: the scan on the network's grid and on the way there, and the masks.
        activation: the network while it runs one window.
        features: of one window, kept for prompts.
        plane: sums and masks in the making, per plane of the network's grid.
    """

    fixed: int
    activation: int
    features: int
    plane: int


def plan_memory(
    costs: Costs,
    rows: list[int],
    overlap: int,
    planes: int,
    available: int | None,
    device: str,
    *,
    keep_all: bool = False,
) -> MemoryPlan:
    """The fastest way that fits, and takes no gigabytes without need.

    Args:
        costs: of the parts.
        rows: windows that run in each row along z.
        overlap: rows of windows that one plane can lie in.
        planes: that the windows cover.
        available: bytes, None for no limit.
        device: for the message.
        keep_all: the features of all windows are wanted afterwards.

    Raises:
        MemoryBudgetError: if nothing fits; the message says what would.
    """
    total = sum(rows)
    in_play = max((sum(rows[i : i + overlap]) for i in range(len(rows))), default=0)
    ways: list[tuple[Kept, int, int]] = [("disk", 1, planes), ("disk", 1, PLANES)]
    if not keep_all:
        ways = [("rows", in_play, planes), ("rows", in_play, PLANES), *ways]
    if keep_all or total * costs.features <= _ROOMY or in_play == total:
        ways = [("memory", total, planes), ("memory", total, PLANES), *ways]
    needed = costs.fixed
    for kept, windows, thick in ways:
        work = max(costs.activation, thick * costs.plane)
        needed = costs.fixed + work + windows * costs.features
        plan = MemoryPlan(needed, available, kept, thick, windows, total, device)
        if available is None or needed <= available * _SHARE:
            return plan
    raise MemoryBudgetError(
        f"this scan needs {gigabytes(needed)} of {device} at the least, but only "
        f"{gigabytes(available or 0)} may be used; free some, raise --max-memory, or crop the scan"
    )


def available_bytes(device: torch.device, limit: int | None = None) -> tuple[int | None, str]:
    """Memory that may still be taken, and what it is called.

    Args:
        device: where the network runs.
        limit: bytes for this whole process (on a CPU) or its share of the GPU.
    """
    if device.type == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        room = free + held
        if limit is not None:
            room = min(room, limit - torch.cuda.memory_allocated(device))
        return max(0, room), torch.cuda.get_device_name(device)
    free_here = free_ram_bytes()
    if limit is not None:
        left = max(0, limit - resident_bytes())
        return (left if free_here is None else min(left, free_here)), "RAM"
    return free_here, "RAM"


def free_ram_bytes() -> int | None:
    """RAM for new allocations, within a container's own limit; None where nobody knows."""
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:
            free = re.search(r"^MemAvailable:\s+(\d+) kB", stream.read(), re.MULTILINE)
    except OSError:
        return None
    room = int(free.group(1)) * 1024 if free else None
    limit, used = (_number(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if limit is not None and used is not None:
        room = max(0, limit - used) if room is None else min(room, max(0, limit - used))
    return room


def resident_bytes() -> int:
    """What this process holds now (its largest so far, where the system says no more)."""
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        try:
            import resource
        except ImportError:
            return 0
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def parse_bytes(text: str) -> int:
    """Bytes from what a user writes: "2G", "1.5 GB", "800M"; a bare number is gigabytes.

    Raises:
        UsageError: for anything else.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGTB]?)(?:i?B)?\s*", text, re.IGNORECASE)
    if found is None:
        raise UsageError(f"{text!r} is no amount of memory; write for example 2G or 800M")
    unit = found.group(2).upper() or "G"
    size = float(found.group(1)) * _UNITS[unit]
    if not math.isfinite(size) or size < 1:
        raise UsageError(f"{text!r} is no amount of memory; write for example 2G or 800M")
    return int(size)


def gigabytes(size: int) -> str:
    """The size in words, such as "1.4 GB" or "80 MB"."""
    return f"{size / 2**30:.1f} GB" if size >= 0.1 * 2**30 else f"{size / 2**20:.0f} MB"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` is the system's, NumPy's or torch's way to say that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in text
        or "not enough memory: you tried to allocate" in text
        or "CUDA out of memory" in text
    )


def give_back(device: torch.device) -> None:
    """Return what is cached, after memory ran out."""
    import gc

    gc.collect()
    if device.type == "cuda":
        import torch

        torch.cuda.empty_cache()


def _number(path: str) -> int | None:
    try:
        with open(path, encoding="ascii") as stream:
            return int(stream.read())
    except (OSError, ValueError):
        return None
