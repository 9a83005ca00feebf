"""Which implementation runs, what is imported for it, and the messages of refused arguments."""

import subprocess
import sys

import pytest
import textseg3d_kernels as kernels
import torch
from textseg3d_kernels import dispatch


def test_cpu_tensors_take_the_reference_unless_forced():
    x = torch.zeros(2)
    assert dispatch.selected(x, None) == "reference"
    with kernels.use_backend("reference"):
        assert dispatch.selected(x) == "reference"
    assert dispatch.selected() == "reference"


def test_unknown_backend_is_refused():
    unknown = kernels.use_backend("cuda")
    with pytest.raises(ValueError, match="use one of auto, triton, reference"), unknown:
        pass


def test_choice_ends_with_the_block_also_after_an_error():
    with pytest.raises(KeyError), kernels.use_backend("reference"):
        raise KeyError
    assert dispatch._backend.get() == "auto"


def test_import_is_lean_and_forcing_triton_on_cpu_explains_itself(kernel_environment):
    """Importing loads neither triton nor textseg3d; the refusal is one line."""
    code = (
        "import sys, torch\n"
        "from textseg3d_kernels import use_backend, instance_norm\n"
        "print([name for name in ('triton', 'textseg3d') if name in sys.modules])\n"
        "try:\n"
        "    with use_backend('triton'):\n"
        "        instance_norm(torch.zeros(1, 2, 2, 2, 2))\n"
        "except RuntimeError as error:\n"
        "    print(error)\n"
    )
    environment = {k: v for k, v in kernel_environment.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    loaded, message = done.stdout.strip().splitlines()
    assert loaded == "[]"
    assert "backend 'triton' was forced" in message


def volume_tables(channels=1):
    return dict.fromkeys(("low", "high", "mean", "std"), torch.ones(channels))


LINE = kernels.identity_operator(2)
REFUSED = [
    (lambda: kernels.head_accumulate(*_head(channels=129)), ValueError, "129 channels"),
    (lambda: kernels.head_accumulate(*_head(bias=3)), ValueError, "bias has shape"),
    (lambda: kernels.head_accumulate(*_head(dtype=torch.float64)), TypeError, "float64"),
    (
        lambda: kernels.export_pack(torch.zeros(1, 3, 2, 2), (LINE, LINE, LINE)),
        ValueError,
        "operator z takes 2",
    ),
    (
        lambda: kernels.export_pack(torch.zeros(2, 2, 2), (LINE, LINE, LINE)),
        ValueError,
        "P, D, H, W",
    ),
    (
        lambda: kernels.export_pack(
            torch.zeros(1, 2, 2, 2), (kernels.dense_operator(-torch.eye(2)), LINE, LINE)
        ),
        ValueError,
        "negative",
    ),
    (
        lambda: kernels.prepare_volume(
            torch.zeros(1, 2, 2, 2), (LINE,) * 3, **volume_tables(), pad_before=(0, -1, 0)
        ),
        ValueError,
        "non-negative",
    ),
    (
        lambda: kernels.prepare_volume(
            torch.zeros(1, 2, 2, 2, dtype=torch.int32), (LINE,) * 3, **volume_tables()
        ),
        TypeError,
        "int32",
    ),
    (
        lambda: kernels.prepare_volume(
            torch.zeros(2, 2, 2, 2), (LINE,) * 3, **volume_tables(2), channels_out=1
        ),
        ValueError,
        "2 channels in, 1 out",
    ),
    (
        lambda: kernels.instance_norm(torch.zeros(1, 2, 2, 2, 2), negative_slope=-1),
        ValueError,
        "negative_slope",
    ),
    (
        lambda: kernels.instance_norm(torch.zeros(1, 2, 2, 2, 2), torch.ones(3)),
        ValueError,
        r"expected \(2,\)",
    ),
    (
        lambda: kernels.image_to_text_attention(*[torch.zeros(1, 33, 1, 8)] * 3),
        ValueError,
        "33 text tokens",
    ),
    (
        lambda: kernels.text_to_image_attention(
            torch.zeros(1, 3, 1, 8), torch.zeros(1, 9, 1, 8).half(), torch.zeros(1, 9, 1, 8)
        ),
        TypeError,
        "key has dtype",
    ),
    (
        lambda: kernels.window_gather(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2).long(), (1, 1, 1)),
        ValueError,
        "starts has shape",
    ),
]


def _head(channels=4, bias=2, dtype=torch.float32):
    return (
        torch.zeros(1, 1, 1, channels, dtype=dtype),
        torch.zeros(2, channels),
        torch.zeros(bias),
        (torch.ones(1), torch.ones(1), torch.ones(1)),
        torch.zeros(2, 1, 1, 1),
        (0, 0, 0),
    )


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_refused_arguments(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
