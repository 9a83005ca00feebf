"""Chooses between the Triton kernels and the PyTorch references.

Rule ("auto"): Triton when all tensors lie on one CUDA or HIP device, triton can be imported and
no gradient is asked for (the kernels have no backward pass); otherwise the reference.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from functools import lru_cache
from typing import Literal

import torch

Backend = Literal["auto", "triton", "reference"]

_LOG = logging.getLogger(__name__)
_BACKENDS = ("auto", "triton", "reference")
_backend: ContextVar[str] = ContextVar("textseg3d_kernels_backend", default="auto")


@lru_cache(maxsize=1)
def triton_available() -> bool:
    """Tell whether triton is installed (it is not imported for the answer)."""
    return importlib.util.find_spec("triton") is not None


@contextlib.contextmanager
def use_backend(backend: Backend) -> Iterator[None]:
    """Force one implementation inside a ``with`` block (tests, benchmarks, comparisons).

    Args:
        backend: "auto", "triton" or "reference". "triton" on CPU tensors works only under
            Triton's interpreter (environment variable TRITON_INTERPRET=1).

    Raises:
        ValueError: for another name.
    """
    if backend not in _BACKENDS:
        raise ValueError(f"backend {backend!r} is unknown; use one of {', '.join(_BACKENDS)}")
    token = _backend.set(backend)
    try:
        yield
    finally:
        _backend.reset(token)


def _interpreting() -> bool:
    """Tell whether Triton runs in its interpreter, where CPU tensors are allowed."""
    import triton

    return bool(triton.knobs.runtime.interpret)


@lru_cache(maxsize=1)
def _warn_missing_triton() -> None:
    _LOG.warning("triton is not installed: the PyTorch implementations run on the GPU (slower)")


def selected(*tensors: torch.Tensor | None) -> Literal["triton", "reference"]:
    """Return the implementation to use for these tensors (None entries are ignored).

    Raises:
        RuntimeError: when "triton" is forced where it cannot run.
    """
    given = [tensor for tensor in tensors if tensor is not None]
    choice = _backend.get()
    if choice == "reference":
        return "reference"
    on_gpu = bool(given) and all(tensor.is_cuda for tensor in given)
    if choice == "triton":
        if not triton_available():
            raise RuntimeError("backend 'triton' was forced, but triton is not installed")
        if not on_gpu and not _interpreting():
            raise RuntimeError(
                "backend 'triton' was forced on tensors outside a GPU; move them to one device "
                "or set TRITON_INTERPRET=1 before the first import of triton"
            )
        return "triton"
    if not on_gpu:
        return "reference"
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given):
        return "reference"
    if not triton_available():
        _warn_missing_triton()
        return "reference"
    return "triton"


def device_guard(tensor: torch.Tensor) -> contextlib.AbstractContextManager[object]:
    """Context in which kernels are launched on the device of ``tensor``."""
    if tensor.is_cuda:
        return torch.cuda.device(tensor.device)
    return contextlib.nullcontext()
