"""What a prompted network costs, by arithmetic alone: parameters, FLOPs, memory.

Counts follow `textseg3d.networks.prompt_unet.PromptUNet` layer by layer; tests compare them with
a built network (its parameters, torch's FLOP counter, the tensors that autograd saves). A
multiplication and an addition are two FLOPs; norms, activations and upsampling are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from textseg3d.errors import PlansError
from textseg3d.plans.schema import Configuration, Cost

CUBE = 27  # weights of a 3×3×3 kernel
STEM = 2  # edge of what the stem packs into channels
TEXT_TOKENS = 24
POSITION_FEATURES = 27
TRAINING_PROMPTS = 10
FINE_CROP = 64
# Weight, gradient, two moments of AdamW and the moving average, float32 each.
BYTES_PER_TRAINED_PARAMETER = 20
HALF, SINGLE = 2, 4  # bytes of bfloat16 and float32
# Float32 volumes that the loss of one prompt keeps per scale: logits, truth, probabilities, and
# factors of Dice and of the target's own cross-entropy.
LOGIT_COPIES = 5
DEFAULTS: dict[str, Any] = {
    "widths": (32, 64, 128, 192, 192),
    "blocks": (1, 1, 2, 2, 1),
    "feature_channels": 24,
    "embed_dim": 192,
    "attention_width": 128,
    "attention_heads": 4,
    "attention_layers": 2,
}


@dataclass(frozen=True)
class _Net:
    """Arguments of the network, and voxels per stage (``voxels[0]`` at stride 2)."""

    channels: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    fine: int
    embed: int
    width: int
    heads: int
    layers: int
    full: int
    voxels: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Image tokens, of strides 8 and 16."""
        return self.voxels[2] + self.voxels[3]


def cost(configuration: Configuration, *, prompts: int = TRAINING_PROMPTS) -> Cost:
    """Parameters, FLOPs and memory of a configuration's network.

    A batch is run window by window, its gradients added up, so it needs no more memory than one.

    Args:
        configuration: with the architecture PromptUNet; its patch is one window.
        prompts: asked per window in training.

    Raises:
        PlansError: for another architecture, or a patch that its strides do not divide.
    """
    net = _net(configuration)
    window, prompt = image_flops(net), prompt_flops(net)
    parameters = parameter_count(net)
    saved = saved_bytes(net, configuration.patch_size, prompts)
    # While the gradient of the largest map flows back, it, its input's and a copy are there.
    passing = 3 * 2 * net.widths[0] * net.voxels[0] * HALF
    training = saved + passing + BYTES_PER_TRAINED_PARAMETER * parameters
    kept = HALF * (
        net.fine * net.full
        + net.widths[0] * net.voxels[0]
        + net.widths[1] * net.voxels[1]
        + (2 * net.layers + 1) * net.tokens * net.width
    )
    # The encoder's maps until the decoder has used them, then three maps at full resolution.
    skips = sum(w * v for w, v in zip(net.widths, net.voxels, strict=True))
    head = (3 * net.fine + net.channels) * net.full + net.fine * net.full
    inference = SINGLE * parameters + kept + HALF * max(skips + 4 * skips, head)
    return Cost(
        parameters=parameters,
        gflops_per_window=round(window / 1e9, 2),
        gflops_per_prompt=round(prompt / 1e9, 3),
        training_gb=round(training / 1e9, 2),
        inference_gb=round(inference / 1e9, 2),
        kept_mb_per_window=round(kept / 1e6, 1),
    )


def image_flops(net: _Net) -> int:
    """FLOPs of the image side for one window, with what prompts share of the attention."""
    w, v, d = net.widths, net.voxels, net.width
    total = CUBE * (net.channels * STEM**3 + 3) * w[0] * v[0]
    total += sum(_block_macs(a, b, v[stage]) for stage, a, b in _blocks(net))
    for stage in range(len(w) - 1):
        total += w[stage + 1] * w[stage] * v[stage + 1]
        total += _block_macs(2 * w[stage], w[stage], v[stage])
    total += w[0] * net.fine * STEM**3 * v[0]
    total += CUBE * (net.fine + net.channels + net.fine) * net.fine * net.full
    total += (w[2] * v[2] + w[3] * v[3]) * d + net.tokens * (POSITION_FEATURES + d) * d
    total += net.layers * 2 * net.tokens * d * d + 2 * v[2] * d * d
    return 2 * total


def prompt_flops(net: _Net) -> int:
    """FLOPs that one more prompt costs on a window."""
    w, v, d, t = net.widths, net.voxels, net.width, TEXT_TOKENS + 1
    layer = 4 * t * d * d + 2 * t * t * d  # to itself
    layer += 2 * t * d * d + 2 * t * net.tokens * d  # to the image
    layer += 4 * t * d * d
    total = net.embed * d * t + net.layers * layer
    total += 2 * t * d * d + 2 * v[2] * t * d + v[2] * d * d  # the image to the prompt
    total += d * d + d + v[2] * d
    total += sum(d * d + d * (c + 1) for c in (net.fine, w[0], w[1], 0))
    total += net.fine * net.full + w[0] * v[0] + w[1] * v[1]
    return 2 * total


def parameter_count(net: _Net) -> int:
    """Trained numbers of the network."""
    w, d, e, f = net.widths, net.width, net.embed, net.fine
    total = (CUBE * (net.channels * STEM**3 + 3) + 1) * w[0]
    total += sum(_block_parameters(a, b) for _, a, b in _blocks(net))
    for stage in range(len(w) - 1):
        total += w[stage + 1] * w[stage] + _block_parameters(2 * w[stage], w[stage])
    total += (w[0] + 1) * f * STEM**3 + (CUBE * (f + net.channels) + 1) * f + (CUBE * f + 1) * f
    attention = 4 * (d * d + d)
    total += 2 * (e * d + d) + 4 * e + (w[2] + w[3] + 2) * d + 2 * d
    total += (POSITION_FEATURES + 1) * d + d * d + d + 2 * d
    total += net.layers * (2 * attention + 4 * d * d + 3 * d + 6 * d)
    total += 2 * d + attention + 2 * d + d * d + d + d + 1
    total += sum(d * d + d + (d + 1) * (c + 1) for c in (f, w[0], w[1], 0))
    return total


def saved_bytes(net: _Net, patch_size: Sequence[int], prompts: int) -> int:
    """Activations that a training step keeps for its backward pass, in bytes."""
    w, v, d, t = net.widths, net.voxels, net.width, TEXT_TOKENS + 1
    crop = math.prod(min(FINE_CROP, n) for n in patch_size)
    values = (net.channels * STEM**3 + 3 + w[0]) * v[0]
    for stage, a, b in _blocks(net):
        values += 4 * b * v[stage]
        if stage > 0 and a != b:
            values += a * v[stage]  # the pooled input of the shortcut's convolution
    values += sum(6 * w[stage] * v[stage] for stage in range(len(w) - 1))
    values += (4 * net.fine + net.channels) * crop + w[0] * v[0] + w[1] * v[1]
    values += 12 * net.tokens * d
    each = net.layers * 2 * net.heads * t * net.tokens + 2 * net.heads * v[2] * t + 6 * v[2] * d
    logits = crop + v[0] + v[1] + v[2]
    return HALF * (values + prompts * each) + SINGLE * LOGIT_COPIES * prompts * logits


def _net(configuration: Configuration) -> _Net:
    architecture = configuration.architecture
    if architecture.network_class_name != "PromptUNet":
        raise PlansError(
            f"costs are known for PromptUNet, not for {architecture.network_class_name!r}"
        )
    given = {**DEFAULTS, **architecture.arch_kwargs}
    widths, blocks = tuple(given["widths"]), tuple(given["blocks"])
    if len(widths) != len(blocks) or len(widths) < 4:
        raise PlansError(f"widths {widths} and blocks {blocks} need one length, 4 or more")
    divisor = 2 ** len(widths)
    if any(n % divisor for n in configuration.patch_size):
        raise PlansError(
            f"patch_size is {list(configuration.patch_size)}, expected multiples of {divisor}"
        )
    full = math.prod(configuration.patch_size)
    return _Net(
        channels=configuration.network_channels,
        widths=widths,
        blocks=blocks,
        fine=given["feature_channels"],
        embed=given["embed_dim"],
        width=given["attention_width"],
        heads=given["attention_heads"],
        layers=given["attention_layers"],
        full=full,
        voxels=tuple(full // 8 ** (stage + 1) for stage in range(len(widths))),
    )


def _blocks(net: _Net) -> list[tuple[int, int, int]]:
    """(stage, input channels, output channels) of every encoder block."""
    result, previous = [], net.widths[0]
    for stage, (width, count) in enumerate(zip(net.widths, net.blocks, strict=True)):
        result += [(stage, previous if n == 0 else width, width) for n in range(count)]
        previous = width
    return result


def _block_macs(inputs: int, outputs: int, voxels: int) -> int:
    shortcut = inputs * outputs if inputs != outputs else 0
    return (CUBE * (inputs + outputs) * outputs + shortcut) * voxels


def _block_parameters(inputs: int, outputs: int) -> int:
    return _block_macs(inputs, outputs, 1) + 4 * outputs
