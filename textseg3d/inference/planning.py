"""What one scan costs a prompted network in memory, from sizes alone."""

from __future__ import annotations

import logging
import math
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from textseg3d.errors import MemoryBudgetError
from textseg3d.inference.head import chunk_size
from textseg3d.inference.memory import Costs, MemoryPlan, available_bytes, plan_memory
from textseg3d.inference.windows import Triple

if TYPE_CHECKING:
    from textseg3d.inference.device import Runtime
    from textseg3d.inference.engine import PromptImage
    from textseg3d.plans.schema import Configuration

log = logging.getLogger(__name__)
_SMALL_THINGS = 2**26


def check_memory(
    configuration: Configuration, runtime: Runtime, scan_shape: Triple, shape: Triple
) -> None:
    """Refuse a scan for which even one window at a time is too much, before allocating anything.

    Args:
        configuration: of the network.
        runtime: device and limit.
        scan_shape: (D, H, W) of the scan.
        shape: of the network's grid.

    Raises:
        MemoryBudgetError: in one line, with what it needs and what may be used.
    """
    room, name = available_bytes(runtime.device, runtime.max_memory_bytes)
    costs = image_costs(configuration, runtime, scan_shape, shape)
    plan_memory(costs, [1], 1, shape[0], room, name)


def window_fits(
    configuration: Configuration, runtime: Runtime, shape: Triple, size: Triple
) -> bool:
    """Whether there is memory for windows of a size, one after the other, over a whole scan.

    Args:
        configuration: of the network.
        runtime: device and limit.
        shape: of the network's grid.
        size: of the windows.
    """
    room, name = available_bytes(runtime.device, runtime.max_memory_bytes)
    costs = image_costs(configuration, runtime, shape, shape, size)
    try:
        return plan_memory(costs, [1], 1, shape[0], room, name).kept == "memory"
    except MemoryBudgetError:
        return False


def plan_image(
    configuration: Configuration, runtime: Runtime, image: PromptImage, *, keep_all: bool = False
) -> MemoryPlan:
    """How the windows of a prepared scan will run; says so in the log.

    Args:
        configuration: of the network.
        runtime: device and limit.
        image: with its windows.
        keep_all: the features of all windows are wanted afterwards.

    Raises:
        MemoryBudgetError: if nothing fits.
    """
    grid = image.grid
    costs = image_costs(configuration, runtime, image.scan_shape, grid.shape, grid.size)
    costs = replace(costs, fixed=max(0, costs.fixed - image.x.numel() * 4))  # that is there now
    starts = grid.starts[0]
    count = Counter(z for z, _, _ in grid)
    reach = max(sum(a <= b < a + grid.size[0] for b in starts) for a in starts)
    room, name = available_bytes(runtime.device, runtime.max_memory_bytes)
    z = grid.region[0]
    rows = [count[start] for start in starts]
    plan = plan_memory(costs, rows, reach, z.stop - z.start, room, name, keep_all=keep_all)
    log.info("memory: %s", plan)
    return plan


def image_costs(
    configuration: Configuration,
    runtime: Runtime,
    scan_shape: Triple,
    shape: Triple,
    size: Triple | None = None,
) -> Costs:
    """Bytes of the parts. Activations are those of the full-resolution convolutions.

    Args:
        configuration: of the network.
        runtime: device and precision.
        scan_shape: (D, H, W) of the scan.
        shape: of the network's grid.
        size: of the windows; that of the configuration's patch without.
    """
    arguments = configuration.architecture.arch_kwargs
    fine, widths = int(arguments.get("feature_channels", 24)), arguments.get("widths", (32, 64))
    inputs, channels = configuration.network_channels, len(configuration.intensity)
    item = 4 if runtime.autocast is None else 2
    patch = math.prod(size or configuration.patch_size)
    masks = scan_shape[1] * scan_shape[2] * math.ceil(scan_shape[0] / shape[0])
    return Costs(
        fixed=math.prod(shape) * 4 * (inputs + 2 * channels) + _SMALL_THINGS,
        activation=patch * (item * (5 * fine + 2 * inputs) + 8 * inputs),
        features=int(patch * item * (fine + widths[0] / 8 + widths[1] / 64 + 1)),
        plane=shape[1] * shape[2] * 4 * (chunk_size(runtime.device) + 2) + masks,
    )
