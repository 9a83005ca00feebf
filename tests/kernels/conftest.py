"""Shared set-up: the kernel package on the path, and ``torch.empty`` filled with poison."""

import os
import sys
from pathlib import Path

import pytest
import torch

KERNELS = Path(__file__).resolve().parents[2] / "kernels"
if str(KERNELS) not in sys.path:
    sys.path.insert(0, str(KERNELS))


@pytest.fixture(scope="session")
def kernel_environment():
    """Environment of a subprocess that can import the kernel package."""
    path = os.pathsep.join(filter(None, [str(KERNELS), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def _poison(tensor):
    if tensor.dtype.is_floating_point:
        return tensor.fill_(float("nan"))
    return tensor.fill_(True if tensor.dtype == torch.bool else 0x5A)


@pytest.fixture(autouse=True)
def poisoned_empty(monkeypatch):
    """Make every uninitialised tensor full of NaN (0x5A in integers): unwritten outputs show."""
    for name in ("empty", "empty_like", "empty_strided"):
        original = getattr(torch, name)

        def poisoned(*args, _original=original, **kwargs):
            return _poison(_original(*args, **kwargs))

        monkeypatch.setattr(torch, name, poisoned)


@pytest.fixture
def generator():
    """Seeded random numbers, new for each test."""
    return torch.Generator().manual_seed(20240517)
