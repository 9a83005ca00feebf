"""Products along one axis with matrices whose rows are zero but near the diagonal."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_ROWS = 32  # of the matrix at a time, with the columns that any of them has


def along_axis(block: torch.Tensor, operator: NDArray[Any], axis: int) -> torch.Tensor:
    """What a matrix makes of one axis of a block; zeros around its band cost nothing.

    Args:
        block: [D, H, W], contiguous.
        operator: [n_out, n_in], n_in the length of that axis.
        axis: 0 to 2.

    Returns:
        the block with n_out along ``axis``, in its dtype and on its device.
    """
    shape = [*block.shape[:axis], len(operator), *block.shape[axis + 1 :]]
    result = block.new_empty(shape)
    for first in range(0, len(operator), _ROWS):
        part = operator[first : first + _ROWS]
        used = np.flatnonzero(part.any(axis=0))
        near = slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 1)
        weights = torch.tensor(part[:, near], dtype=block.dtype, device=block.device)
        rows = slice(first, first + len(part))
        if axis == 0:
            torch.mm(weights, block[near].flatten(1), out=result[rows].flatten(1))
        elif axis == 1:
            torch.matmul(weights, block[:, near], out=result[:, rows])
        else:
            lines = block.view(-1, block.shape[2])[:, near]
            torch.mm(lines, weights.T, out=result.view(-1, len(operator))[:, rows])
    return result
