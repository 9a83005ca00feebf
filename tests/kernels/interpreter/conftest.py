"""These modules run the Triton kernels on CPU tensors, in Triton's interpreter.

The interpreter must be switched on before triton is imported for the first time, so they are
collected only where the environment says TRITON_INTERPRET=1; the module
``test_kernels_interpreter.py`` beside this folder starts them in a process of their own.
"""

import os

import pytest

collect_ignore_glob = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["test_*.py"]


@pytest.fixture(autouse=True)
def force_triton():
    """Send every public function to its Triton kernel."""
    from textseg3d_kernels import use_backend

    with use_backend("triton"):
        yield
