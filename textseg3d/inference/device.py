"""Where and how the network runs: device, precision, and the tuning that only a command may do."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textseg3d.errors import UsageError

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)
_SELF_CHECK_TOLERANCE = 0.03
_SWITCH_SECONDS = 5e-4
_TUNED: list[Any] = []  # the C library, once its allocator is told to keep what is freed


@dataclass(frozen=True)
class Runtime:
    """Device and precision of the network.

    Attributes:
        device: where weights and features live.
        autocast: dtype of convolutions and products, or None for plain float32.
        max_memory_bytes: what this process (on a GPU: its share there) may hold; None for all.
        openvino: precision of OpenVINO's convolutions; None where torch runs them.
    """

    device: torch.device
    autocast: torch.dtype | None
    max_memory_bytes: int | None = None
    openvino: str | None = None

    @property
    def precision(self) -> str:
        """Of the convolutions: "fp32", "bf16" or "int8"."""
        return self.openvino or ("fp32" if self.autocast is None else "bf16")

    @property
    def feature_dtype(self) -> torch.dtype:
        """Dtype in which dense features are kept between image side and prompts."""
        import torch

        return self.autocast or torch.float32


def choose_runtime(device: str = "auto", precision: str = "auto") -> Runtime:
    """Device and precision from what a user writes.

    Args:
        device: "auto" (the first GPU if there is one), "cpu", "cuda", "cuda:N", "mps", or
            "openvino" with, if wanted, ":fp32", ":bf16" or ":int8" instead of ``precision``.
        precision: "auto", "bf16" or "fp32". "auto" takes bf16 where the hardware multiplies
            it natively and (on a CPU) a small convolution agrees with float32.

    Raises:
        UsageError: for other words, or a device that is not there.
        MissingDependencyError: for "openvino" without the package.
    """
    import torch

    if device.partition(":")[0] == "openvino":
        return _openvino(device, precision)
    chosen = _device(device)
    if precision not in ("auto", "bf16", "fp32"):
        raise UsageError(f"precision {precision!r} is not one of 'auto', 'bf16', 'fp32'")
    if precision == "fp32":
        return Runtime(chosen, None)
    if precision == "bf16":
        return Runtime(chosen, torch.bfloat16)
    if chosen.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return Runtime(chosen, torch.bfloat16 if native else None)
    if chosen.type == "cpu" and cpu_has_bf16() and bf16_self_check():
        return Runtime(chosen, torch.bfloat16)
    return Runtime(chosen, None)


def _openvino(device: str, precision: str) -> Runtime:
    """OpenVINO on the CPU; what torch does beside it is as precise as it is without OpenVINO."""
    from textseg3d.networks.openvino_unet import PRECISIONS, openvino_version

    asked = device.partition(":")[2]
    if device != "openvino" and asked not in PRECISIONS:
        raise UsageError(
            f"device {device!r} is not one of openvino, openvino:{', openvino:'.join(PRECISIONS)}"
        )
    if asked and precision not in ("auto", asked):
        raise UsageError(f"device {device!r} and precision {precision!r} contradict; give one")
    log.debug("OpenVINO %s", openvino_version())
    runtime = choose_runtime("cpu", "auto" if asked == "int8" else asked or precision)
    return replace(runtime, openvino="int8" if asked == "int8" else runtime.precision)


def autocast(runtime: Runtime, *, exact: bool = False) -> AbstractContextManager[Any]:
    """Context of the runtime's precision; ``exact`` stays in float32."""
    import torch

    if runtime.autocast is None or exact:
        return nullcontext()
    return torch.autocast(runtime.device.type, dtype=runtime.autocast)


def _device(text: str) -> torch.device:
    import torch

    match = re.fullmatch(r"auto|cpu|mps|cuda(?::(\d+))?", text)
    if match is None:
        raise UsageError(f"device {text!r} is not one of auto, cpu, cuda, cuda:N, mps, openvino")
    if text == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if text.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(match.group(1) or 0) >= count:
            raise UsageError(f"device {text!r} was asked for, but {count} CUDA devices are there")
    if text == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device 'mps' was asked for, but this machine or torch has none")
    return torch.device(text)


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 itself (AVX512-BF16, AMX, or ARM's BF16)."""
    import torch

    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        probe = getattr(torch.cpu, name, None)
        if probe is not None and probe():
            return True
    try:
        return (
            re.search(r"^Features.*\bbf16\b", Path("/proc/cpuinfo").read_text(), re.M) is not None
        )
    except OSError:
        return False


@lru_cache(maxsize=1)
def bf16_self_check() -> bool:
    """Whether bf16 convolutions on this CPU agree with float32 ones.

    Strides and an output one voxel wide are part of it: some releases were wrong there.
    """
    import torch
    from torch.nn.functional import conv3d

    rng = torch.Generator().manual_seed(0)
    weight = torch.randn((16, 16, 3, 3, 3), generator=rng) / 20
    with torch.inference_mode():
        for side, stride in ((8, 1), (8, 2), (2, 2)):
            x = torch.randn((1, 16, side, side, side), generator=rng)
            x = x.contiguous(memory_format=torch.channels_last_3d)
            exact = conv3d(x, weight, stride=stride, padding=1)
            fast = conv3d(x.bfloat16(), weight.bfloat16(), stride=stride, padding=1).float()
            error = float((fast - exact).abs().max() / exact.abs().max())
            if not error < _SELF_CHECK_TOLERANCE:
                log.warning("bf16 convolutions are wrong on this CPU (%.3g); using fp32", error)
                return False
    return True


def physical_cores() -> int:
    """Cores that this process may use, hyper-threads counted once (at least 1)."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    if allowed is None:
        return max(1, os.cpu_count() or 1)
    cores = set()
    for cpu in allowed:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            cores.add(path.read_text().strip())
        except OSError:
            cores.add(str(cpu))
    return max(1, len(cores))


def tune_process() -> None:
    """Threads and memory allocator for a process of our own. Commands call it, the library never.

    One thread per physical core unless OMP_NUM_THREADS says otherwise; glibc keeps freed
    buffers instead of giving them back after every layer (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD), in
    one arena for all threads (M_ARENA_MAX), since the others give back what is freed last. A thread
    that comes back from numpy, torch or a decoder does not wait 5 ms for one that runs Python.
    nibabel comes without its way to read DICOM headers inside NIfTI, which we do not use and which
    takes half of its import.
    """
    import torch

    if "nibabel" not in sys.modules and "pydicom" not in sys.modules:
        sys.modules["pydicom"] = None  # type: ignore[assignment]
        try:
            import nibabel  # noqa: F401
        finally:
            del sys.modules["pydicom"]
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(physical_cores())
    sys.setswitchinterval(_SWITCH_SECONDS)
    if sys.platform.startswith("linux"):
        try:
            libc = ctypes.CDLL(None)
            libc.mallopt(-3, 1 << 30)
            libc.mallopt(-1, 2**31 - 1)
            libc.mallopt(-8, 1)
            _TUNED.append(libc)
        except (OSError, AttributeError):
            log.debug("mallopt is not available")


def trim_memory() -> None:
    """Give freed memory back to the system, where :func:`tune_process` keeps it.

    Between steps that use memory differently: what one has left over is of no use to the next.
    """
    for libc in _TUNED:
        libc.malloc_trim(0)
