"""GPU kernels of textseg3d, each with a pure PyTorch reference of equal signature.

The package imports torch and nothing of ``textseg3d``; triton is imported only when a Triton
kernel is really launched. Layout: ``triton/<name>.py`` (private ``@triton.jit`` kernels and
launchers that allocate nothing), ``reference/<name>.py`` (PyTorch), ``ops/<name>.py`` (public
functions: checks, allocation, choice of the implementation), ``dispatch.py`` (the choice),
``operators.py`` (one-dimensional resampling operators), ``aot.py`` (ahead-of-time compilation).

Axis order everywhere: (z, y, x); a trailing ``C`` means channels-last.
"""

from textseg3d_kernels.dispatch import triton_available, use_backend
from textseg3d_kernels.operators import (
    AxisOperator,
    dense_operator,
    identity_operator,
    linear_operator,
)
from textseg3d_kernels.ops.export_pack import export_pack
from textseg3d_kernels.ops.head_accumulate import head_accumulate
from textseg3d_kernels.ops.instance_norm import instance_norm
from textseg3d_kernels.ops.prepare_volume import prepare_volume
from textseg3d_kernels.ops.token_attention import image_to_text_attention, text_to_image_attention
from textseg3d_kernels.ops.window_gather import window_gather

__all__ = [
    "AxisOperator",
    "dense_operator",
    "export_pack",
    "head_accumulate",
    "identity_operator",
    "image_to_text_attention",
    "instance_norm",
    "linear_operator",
    "prepare_volume",
    "text_to_image_attention",
    "triton_available",
    "use_backend",
    "window_gather",
]
