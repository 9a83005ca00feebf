"""Benchmark cases: inputs, the kernel, a usual PyTorch formulation, bytes and FLOPs.

Sizes follow the reference case of the engine: windows of 128³ with 32 feature channels, a torso
at 1.5 mm. ``small`` is for machines without a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from textseg3d_kernels import (
    export_pack,
    head_accumulate,
    image_to_text_attention,
    instance_norm,
    linear_operator,
    prepare_volume,
    text_to_image_attention,
    window_gather,
)

functional = torch.nn.functional


@dataclass(frozen=True)
class Case:
    """One benchmark row.

    Attributes:
        name: kernel.
        size: what was computed, for the table.
        kernel: the public function on ready inputs; returns the result to compare.
        stock: the same result by the usual chain of PyTorch calls.
        read_write_bytes: bytes that must be moved (inputs once, outputs once).
        flops: floating-point operations.
        tolerance: largest allowed difference between the two results.
        signs: whether the results are logits or bits, whose sign flips are counted.
    """

    name: str
    size: str
    kernel: Callable[[], torch.Tensor]
    stock: Callable[[], torch.Tensor]
    read_write_bytes: int
    flops: int
    tolerance: float
    signs: bool = False


def head_case(device: str, small: bool, prompts: int) -> Case:
    """K1: one window of bf16 features, fp16 slab on a GPU and float32 on a CPU."""
    edge, channels = (32, 32) if small else (128, 32)
    slab_type = torch.float32 if device == "cpu" else torch.float16
    features = torch.randn(edge, edge, edge, channels, device=device).bfloat16()
    queries = torch.randn(prompts, channels, device=device)
    bias = torch.randn(prompts, device=device)
    share = torch.linspace(0.1, 1, edge, device=device)
    slab = torch.zeros(prompts, edge, edge, edge, dtype=slab_type, device=device)
    plain = torch.zeros_like(slab)

    def kernel() -> torch.Tensor:
        return head_accumulate(features, queries, bias, (share,) * 3, slab, (0, 0, 0))

    def stock() -> torch.Tensor:
        logits = functional.linear(features, queries.bfloat16(), bias.bfloat16())
        weight = share[:, None, None] * share[:, None] * share
        plain.add_((logits.float() * weight[..., None]).permute(3, 0, 1, 2).to(slab_type))
        return plain

    voxels = edge**3
    moved = voxels * (2 * channels + 2 * prompts * slab.element_size())
    flops = voxels * prompts * (2 * channels + 3)
    size = f"{edge}³×{channels}, P={prompts}"
    return Case("head_accumulate", size, kernel, stock, moved, flops, 0.25, signs=True)


def export_case(device: str, small: bool) -> Case:
    """K2: smooth logits of a torso grid to the scanner's grid."""
    coarse, fine = ((24, 24, 24), (32, 48, 48)) if small else ((200, 180, 240), (300, 360, 480))
    prompts = 2 if small else 8
    seeds = torch.randn(1, prompts, 6, 6, 6, device=device)
    logits = functional.interpolate(seeds, size=coarse, mode="trilinear")[0]
    logits = (logits - 0.5).to(torch.float32 if device == "cpu" else torch.float16)
    axes = tuple(map(linear_operator, coarse, fine))

    def kernel() -> torch.Tensor:
        return export_pack(logits, axes)

    def stock() -> torch.Tensor:
        values = functional.interpolate(logits.float()[None], size=fine, mode="trilinear")[0]
        bits = (values > 0).view(*values.shape[:3], -1, 8).to(torch.uint8)
        powers = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8, device=device)
        return (bits * powers).sum(-1, dtype=torch.uint8)

    voxels = fine[0] * fine[1] * fine[2] * prompts
    moved = logits.numel() * logits.element_size() + voxels // 8
    size = f"{'×'.join(map(str, coarse))} → {'×'.join(map(str, fine))}, P={prompts}"
    return Case("export_pack", size, kernel, stock, moved, 22 * voxels, 255, signs=True)


def prepare_case(device: str, small: bool) -> Case:
    """K3: int16 CT to a bf16 channels-last network input, linear axes."""
    source, target = ((24, 48, 48), (32, 40, 40)) if small else ((300, 512, 512), (300, 267, 267))
    volume = torch.randint(-1024, 2000, (1, *source), dtype=torch.int16, device=device)
    axes = tuple(operator.to(device) for operator in map(linear_operator, source, target))
    numbers = {"low": -1000.0, "high": 1000.0, "mean": 0.0, "std": 400.0}
    tables = {name: torch.tensor([value], device=device) for name, value in numbers.items()}

    def kernel() -> torch.Tensor:
        return prepare_volume(volume, axes, **tables, dtype=torch.bfloat16)

    def stock() -> torch.Tensor:
        scaled = volume.float().clamp(-1000, 1000) / 400
        resampled = functional.interpolate(scaled[None], size=target, mode="trilinear")
        return resampled[0].permute(1, 2, 3, 0).contiguous().bfloat16()

    outputs = target[0] * target[1] * target[2]
    moved = 2 * volume.numel() + 2 * outputs
    size = f"{'×'.join(map(str, source))} → {'×'.join(map(str, target))}"
    return Case("prepare_volume", size, kernel, stock, moved, 48 * outputs, 0.05)


def norm_case(device: str, small: bool, residual: bool) -> Case:
    """K4: bf16 channels-last activations of a full-resolution stage."""
    edge, channels = (32, 32) if small else (128, 32)
    shape = (1, channels, edge, edge, edge)
    x = torch.randn(shape, device=device).bfloat16()
    x = x.contiguous(memory_format=torch.channels_last_3d)
    weight, bias = torch.rand(channels, device=device), torch.rand(channels, device=device)
    added = torch.randn_like(x) if residual else None
    out = torch.empty_like(x)

    def kernel() -> torch.Tensor:
        return instance_norm(x, weight, bias, residual=added, out=out)

    def stock() -> torch.Tensor:
        result = functional.instance_norm(x, weight=weight.to(x.dtype), bias=bias.to(x.dtype))
        result = result if added is None else result + added
        return functional.leaky_relu(result, 0.01)

    moved = x.numel() * 2 * (4 if residual else 3)
    name = "instance_norm+residual" if residual else "instance_norm"
    size = f"{edge}³×{channels}"
    return Case(name, size, kernel, stock, moved, 10 * x.numel(), 0.1)


def attention_case(device: str, small: bool, to_text: bool) -> Case:
    """K5: bottleneck tokens and 24 text tokens of 8 prompts."""
    tokens, batch, heads, width, words = (512, 2, 4, 32, 24) if small else (13824, 8, 8, 32, 24)
    image = torch.randn(batch, tokens, heads, width, device=device).bfloat16()
    text = torch.randn(batch, words, heads, width, device=device).bfloat16()

    def kernel() -> torch.Tensor:
        if to_text:
            return image_to_text_attention(image, text, text)
        return text_to_image_attention(text, image, image)

    def stock() -> torch.Tensor:
        query, key = (image, text) if to_text else (text, image)
        score = torch.einsum("bqhd,bkhd->bhqk", query, key) * width**-0.5
        weight = score.float().softmax(-1).to(query.dtype)
        return torch.einsum("bhqk,bkhd->bqhd", weight, key)

    moved = 2 * (2 * image.numel() + 2 * text.numel())
    flops = 4 * batch * heads * tokens * words * width
    name = "image_to_text_attention" if to_text else "text_to_image_attention"
    size = f"B={batch} N={tokens} L={words} H={heads} d={width}"
    return Case(name, size, kernel, stock, moved, flops, 0.05)


def gather_case(device: str, small: bool) -> Case:
    """K6: four windows from an int16 volume."""
    volume_size, edge = ((40, 48, 48), 32) if small else ((300, 267, 267), 128)
    volume = torch.randint(-1024, 2000, (1, *volume_size), dtype=torch.int16, device=device)
    starts = torch.tensor([[-4, 0, 0], [8, 16, 20], [0, 7, 3], [1, 1, 1]], device=device)

    def kernel() -> torch.Tensor:
        return window_gather(volume, starts, (edge,) * 3, dtype=torch.bfloat16)

    def stock() -> torch.Tensor:
        padded = functional.pad(volume.float(), [edge] * 6)
        windows = [
            padded[:, z + edge : z + 2 * edge, y + edge : y + 2 * edge, x + edge : x + 2 * edge]
            for z, y, x in starts.tolist()
        ]
        return torch.stack(windows).permute(0, 2, 3, 4, 1).contiguous().bfloat16()

    moved = 4 * 4 * edge**3
    size = f"4 × {edge}³"
    return Case("window_gather", size, kernel, stock, moved, 0, 0.0)


def all_cases(device: str, small: bool) -> list[Callable[[], Case]]:
    """Makers of all rows; each allocates its inputs only when it is called."""
    return [
        lambda: head_case(device, small, 1),
        lambda: head_case(device, small, 100),
        lambda: export_case(device, small),
        lambda: prepare_case(device, small),
        lambda: norm_case(device, small, residual=False),
        lambda: norm_case(device, small, residual=True),
        lambda: attention_case(device, small, to_text=True),
        lambda: attention_case(device, small, to_text=False),
        lambda: gather_case(device, small),
    ]
