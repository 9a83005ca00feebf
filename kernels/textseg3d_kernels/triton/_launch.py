"""Small helpers shared by the kernels and launchers."""

from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit
def dot(left, right, UPCAST: tl.constexpr):
    """Matrix product with float32 accumulation, without rounding float32 operands to tf32.

    UPCAST converts the operands first: Triton's interpreter stores bf16 as integers and would
    multiply those.
    """
    if UPCAST:
        left = left.to(tl.float32)
        right = right.to(tl.float32)
    return tl.dot(left, right, input_precision="ieee")


def on_hip() -> bool:
    """Tell whether this torch drives AMD GPUs: some block sizes differ to avoid spills there."""
    return torch.version.hip is not None


def interpreting() -> bool:
    """Tell whether kernels run in Triton's interpreter."""
    return bool(triton.knobs.runtime.interpret)


def tuning_configs(blocks: list[tuple[dict[str, int], int]]) -> list[triton.Config]:
    """Candidate configurations, only the first one under the interpreter.

    Args:
        blocks: (constexpr values, number of warps) for each candidate.
    """
    configs = [triton.Config(values, num_warps=warps, num_stages=1) for values, warps in blocks]
    return configs[:1] if interpreting() else configs


def size_bucket(count: int) -> int:
    """Power-of-two bucket of an element count: tuning is repeated per bucket, not per size."""
    return max(count, 1).bit_length()
