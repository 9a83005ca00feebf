"""A model of two stages whose weights are rules about the scan's values, and a scan for it.

The main network calls "lungs" (and every other concept) what is darker than -100 HU, the stage
"pulmonary nodule" what is brighter than 400 HU; both on their own grids, so that what comes out is
known in the world.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.model_factory import EMBED_DIM, write_bank, write_random_card

CONCEPTS = ("lungs", "left lung", "liver", "pulmonary nodule")
LUNGS_BELOW_HU, NODULE_ABOVE_HU = -100.0, 400.0
# LPS millimetres: two lungs, a nodule in the first, and a bright thing in their box but in none.
LUNGS = (((-26.0, -10.0, -20.0), 16.0), ((26.0, 12.0, 20.0), 16.0))
NODULE = ((-22.0, -7.0, -23.0), 5.0)
ELSEWHERE = ((-26.0, 10.0, 20.0), 6.0)
HALF_EXTENT = (76.0, 60.0, 70.0)


def make_stage_model(folder: Path, *, random_stage: bool = False, lungs: bool = True) -> Path:
    """Write the model folder.

    Args:
        folder: made if needed.
        random_stage: the stage has random weights instead of its rule.
        lungs: False makes a main network that finds nothing anywhere.
    """
    import torch
    from safetensors.torch import save_file

    from textseg3d.networks import build_network
    from textseg3d.plans.schema import Architecture, Configuration, Intensity, Plans

    folder.mkdir(parents=True, exist_ok=True)
    kwargs = {
        "widths": (8, 8, 8, 8), "blocks": (1, 1, 1, 1), "feature_channels": 4,
        "embed_dim": EMBED_DIM, "attention_width": 16, "attention_heads": 2, "attention_layers": 1,
    }  # fmt: skip
    common = {
        "architecture": Architecture(arch_kwargs=kwargs),
        "intensity": (Intensity(windows=((-1000.0, 1000.0),)),),
    }
    configurations = {
        "fine": Configuration(
            (2.0,) * 3, (16,) * 3, cascade="coarse", within=("lungs",),
            answers=("pulmonary nodule",), window_step=1.0, **common,
        ),
        "coarse": Configuration((4.0,) * 3, (32,) * 3, **common),
    }  # fmt: skip
    Plans("Rules", folder.name, configurations).save(folder / "plans.json")
    rules = {"coarse": (-40.0, LUNGS_BELOW_HU), "fine": (40.0, NODULE_ABOVE_HU)}
    files = {"coarse": "model.safetensors", "fine": "fine.safetensors"}
    for name, (steepness, threshold) in rules.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            network = build_network(configurations[name])
        with torch.no_grad():
            if name == "fine" and random_stage:
                network.prompt.coarse_query.weight *= 10
                for query in network.prompt.queries:
                    query[-1].weight *= 10
                network.prompt.presence[-1].bias += 4
            else:
                _follow_rule(network, steepness, threshold / 1000)
            if name == "coarse" and not lungs:
                network.prompt.presence[-1].bias -= 9
        save_file(
            {k: v.contiguous() for k, v in network.state_dict().items()}, folder / files[name]
        )
    write_bank(folder / "bank.safetensors", CONCEPTS, 0)
    write_random_card(folder, folder.name, CONCEPTS)
    return folder


def _follow_rule(network, steepness: float, threshold: float) -> None:
    """Let every logit be steepness · (intensity - threshold), for every prompt."""
    channels = network.fine2.weight.shape[0]
    for layer in (network.to_fine, network.fine1, network.fine2):
        layer.weight.zero_()
        layer.bias.zero_()
    for channel, sign in enumerate((1, -1)):  # what leaky units let through on either side
        network.fine1.weight[channel, channels, 1, 1, 1] = sign
        network.fine1.bias[channel] = -sign * threshold
        network.fine2.weight[channel, channel, 1, 1, 1] = 1
    prompt = network.prompt
    for layer in (prompt.coarse_query, prompt.coarse_bias, *(q[-1] for q in prompt.queries)):
        layer.weight.zero_()
        layer.bias.zero_()
    prompt.queries[0][-1].bias[0] = steepness
    prompt.queries[0][-1].bias[1] = -steepness
    prompt.presence[-1].weight.zero_()
    prompt.presence[-1].bias.fill_(4)


def make_scan(spacing_zyx: tuple[float, float, float]) -> tuple[NDArray, NDArray[np.float64]]:
    """int16 HU [i, j, k] (x to the left, y to the back, z up) and its LPS affine."""
    step = np.array(spacing_zyx[::-1])
    shape = [max(1, round(2 * h / s)) for h, s in zip(HALF_EXTENT, step)]
    affine = np.diag([*step, 1.0])
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * step
    hu = np.zeros(shape)
    for balls, value in ((LUNGS, -200.0), ((NODULE, ELSEWHERE), 1000.0)):
        for centre, radius in balls:
            hu[distances(shape, affine, centre) <= radius] = value
    return hu.astype(np.int16), affine


def distances(shape, affine_lps, centre) -> NDArray[np.float64]:
    """Distance in mm of every voxel centre [i, j, k] from a point."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    return np.linalg.norm(index @ affine_lps[:3, :3].T + affine_lps[:3, 3] - centre, axis=-1)
