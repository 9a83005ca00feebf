"""One-dimensional resampling operators as banded tables: shared by kernels and references.

Each axis of a separable resampling is a matrix ``[size_out, size_in]`` of which every row has
few neighbouring non-zero entries; it is stored as the first column of each row and its weights.
Both implementations read the same tables, so their source coordinates are equal bit by bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class AxisOperator:
    """Banded linear map along one axis.

    Attributes:
        start: int32 [size_out], first input index of each row. An index start + k outside
            [0, size_in) has weight zero; readers clamp it.
        weights: float32 [size_out, taps].
        size_in: number of input samples along the axis.
    """

    start: torch.Tensor
    weights: torch.Tensor
    size_in: int

    @property
    def size_out(self) -> int:
        """Number of output samples along the axis."""
        return self.start.shape[0]

    @property
    def taps(self) -> int:
        """Number of stored weights per row."""
        return self.weights.shape[1]

    @property
    def is_identity(self) -> bool:
        """True where the operator copies its input."""
        if self.size_out != self.size_in or self.taps != 1:
            return False
        counting = torch.arange(self.size_in, dtype=torch.int32, device=self.start.device)
        return bool((self.start == counting).all() and (self.weights == 1).all())

    def to(self, device: torch.device | str) -> AxisOperator:
        """Copy the tables to a device."""
        return AxisOperator(self.start.to(device), self.weights.to(device), self.size_in)

    def matrix(self) -> torch.Tensor:
        """Return the dense operator, float32 [size_out, size_in]."""
        dense = torch.zeros(self.size_out, self.size_in, device=self.start.device)
        columns = self.start.long()[:, None] + torch.arange(self.taps, device=self.start.device)
        columns = columns.clamp_(0, max(self.size_in - 1, 0))
        return dense.scatter_add_(1, columns, self.weights)

    def window(self, begin: int, end: int) -> AxisOperator:
        """Return rows ``begin:end`` (a slab of the output)."""
        return AxisOperator(self.start[begin:end], self.weights[begin:end], self.size_in)


def identity_operator(size: int, device: torch.device | str = "cpu") -> AxisOperator:
    """Operator that copies ``size`` samples."""
    start = torch.arange(size, dtype=torch.int32, device=device)
    return AxisOperator(start, torch.ones(size, 1, device=device), size)


def linear_operator(
    size_in: int,
    size_out: int,
    *,
    scale: float | None = None,
    input_window: tuple[int, int] | None = None,
    output_window: tuple[int, int] | None = None,
    device: torch.device | str = "cpu",
) -> AxisOperator:
    """Linear interpolation with the half-voxel-centre convention (align_corners=False).

    Output sample i lies at input coordinate ``(i + 0.5) * scale - 0.5``, clamped to
    [0, size_in - 1]; coordinates are computed in float64 and the two weights rounded to float32.

    Args:
        size_in: samples of the entire input axis.
        size_out: samples of the entire output axis.
        scale: input samples per output sample; None means size_in / size_out.
        input_window: the part [begin, end) of the input that will be present (a slab);
            None means all. Returned start indices are relative to its begin.
        output_window: the part [begin, end) of the output to compute; None means all.
        device: where the tables are put.

    Raises:
        ValueError: for empty or impossible sizes, or an output window that needs input samples
            outside ``input_window``.
    """
    if size_in < 1 or size_out < 0:
        raise ValueError(f"sizes {size_in} -> {size_out}: need size_in >= 1 and size_out >= 0")
    scale = (size_in / size_out if size_out else 1.0) if scale is None else float(scale)
    if not scale > 0:
        raise ValueError(f"scale {scale} is not positive; give input samples per output sample")
    begin_in, end_in = input_window or (0, size_in)
    begin, end = output_window or (0, size_out)
    if not 0 <= begin_in < end_in <= size_in or not 0 <= begin <= end <= size_out:
        raise ValueError(
            f"windows {input_window} and {output_window} do not lie in sizes {size_in}, {size_out}"
        )
    index = torch.arange(begin, end, dtype=torch.float64)
    position = ((index + 0.5) * scale - 0.5).clamp_(0.0, float(size_in - 1))
    if end - begin == end_in - begin_in and bool((position == index).all()) and begin == begin_in:
        return identity_operator(end - begin, device)
    lower = position.floor().clamp_(max=max(size_in - 2, 0))
    upper_weight = position - lower
    taps = min(2, size_in)
    weights = torch.stack([1.0 - upper_weight, upper_weight], dim=1)[:, :taps].float()
    start = lower.to(torch.int64) - begin_in
    columns = start[:, None] + torch.arange(taps)
    outside = (columns < 0) | (columns >= end_in - begin_in)
    if bool((outside & (weights != 0)).any()):
        raise ValueError(f"output window {output_window} needs input outside {input_window}")
    return AxisOperator(
        start.to(torch.int32).to(device).contiguous(),
        weights.to(device).contiguous(),
        end_in - begin_in,
    )


def dense_operator(
    matrix: torch.Tensor, *, tolerance: float = 0.0, device: torch.device | str = "cpu"
) -> AxisOperator:
    """Band of a dense operator, for example the cubic-spline operator of one axis.

    Args:
        matrix: floating [size_out, size_in].
        tolerance: entries with an absolute value up to this are dropped at the row ends.
        device: where the tables are put.

    Raises:
        ValueError: when the matrix is not two-dimensional or has no column.
    """
    if matrix.ndim != 2 or matrix.shape[1] < 1:
        raise ValueError(f"matrix of shape {tuple(matrix.shape)}: need [size_out, size_in >= 1]")
    matrix = matrix.detach().to("cpu", torch.float64)
    size_out, size_in = matrix.shape
    used = matrix.abs() > tolerance
    columns = torch.arange(size_in)
    first = torch.where(used, columns, size_in).amin(dim=1).clamp_(max=size_in - 1)
    last = torch.where(used, columns, -1).amax(dim=1)
    taps = max(1, int((last - first).max()) + 1) if size_out else 1
    start = first.clamp_(max=size_in - taps)
    inside = start[:, None] + torch.arange(taps)
    weights = matrix.gather(1, inside).float()
    return AxisOperator(
        start.to(torch.int32).to(device).contiguous(), weights.to(device).contiguous(), size_in
    )
