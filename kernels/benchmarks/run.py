"""Benchmark of all kernels: correctness first, then time, bytes and fraction of the roofline.

``python kernels/benchmarks/run.py [--small] [--csv FILE]``. Three columns of times: "stock" is
the usual chain of PyTorch calls, "reference" the PyTorch implementation of this package, "triton"
the kernel. Without a GPU the last one says "not measured" and the others are CPU times.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [path for path in (str(HERE), str(HERE.parent)) if path not in sys.path]

import torch  # noqa: E402
from kernel_cases import Case, all_cases  # noqa: E402
from textseg3d_kernels import triton_available, use_backend  # noqa: E402

NOT_MEASURED = "not measured"
COLUMNS = ("kernel", "size", "device", "max_difference", "sign_flips", "stock_ms")
COLUMNS += ("reference_ms", "triton_ms", "mega_bytes", "giga_flops", "roofline_fraction")
PEAKS = {
    "H200": (4.8e12, 989e12),
    "H100": (3.35e12, 989e12),
    "A100": (2.0e12, 312e12),
    "4090": (1.0e12, 165e12),
    "3090": (0.94e12, 71e12),
    "MI300X": (5.3e12, 1307e12),
}
"""Vendors' bytes per second and dense bf16 FLOP per second."""


def device_name(device: str) -> str:
    """Name for the table."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads"


def compare(case: Case, backend: str) -> tuple[float, float]:
    """Run a case once by this implementation and once by the stock chain, from equal states.

    Returns:
        Largest absolute difference and share of the values whose sign (for bits: value) differs.

    Raises:
        RuntimeError: where the difference exceeds the case's tolerance, or more than 1e-3 of
            the signs differ.
    """
    with use_backend(backend):
        result = case.kernel()
    wanted = case.stock()
    difference = float((result.double() - wanted.double()).abs().max())
    flips = 0.0
    if case.signs and result.dtype == torch.uint8:
        flips = float((result != wanted).double().mean())
    elif case.signs:
        flips = float(((result > 0) != (wanted > 0)).double().mean())
    if not difference <= case.tolerance or flips > 1e-3:
        raise RuntimeError(
            f"{case.name} ({backend}) differs by {difference:g} (allowed {case.tolerance:g}), "
            f"sign flips {flips:g}: no time is reported for a wrong result"
        )
    return difference, flips


def milliseconds(call: Callable[[], torch.Tensor], device: str, repeats: int) -> float:
    """Median time of a call."""
    if device == "cuda":
        from triton.testing import do_bench

        return float(do_bench(call, return_mode="median"))
    call()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - begin))
    return statistics.median(times)


def roofline(case: Case, name: str, measured_ms: float) -> str:
    """Share of the time that the device's bandwidth and arithmetic alone would need."""
    for key, (bandwidth, arithmetic) in PEAKS.items():
        if key in name:
            ideal = max(case.read_write_bytes / bandwidth, case.flops / arithmetic)
            return f"{1000 * ideal / measured_ms:.2f}"
    return "peak unknown"


def measure(case: Case, device: str, repeats: int) -> dict[str, str]:
    """One row of the table."""
    has_kernel = device == "cuda" and triton_available()
    difference, flips = compare(case, "triton" if has_kernel else "reference")
    name = device_name(device)
    stock = milliseconds(case.stock, device, repeats)
    with use_backend("reference"):
        reference = milliseconds(case.kernel, device, repeats)
    triton_ms, fraction = NOT_MEASURED, NOT_MEASURED
    if has_kernel:
        with use_backend("triton"):
            kernel_ms = milliseconds(case.kernel, device, repeats)
        triton_ms, fraction = f"{kernel_ms:.3f}", roofline(case, name, kernel_ms)
    values = (case.name, case.size, name, f"{difference:.2g}", f"{flips:.2g}", f"{stock:.3f}")
    values += (f"{reference:.3f}", triton_ms, f"{case.read_write_bytes / 1e6:.1f}")
    values += (f"{case.flops / 1e9:.2f}", fraction)
    return dict(zip(COLUMNS, values))


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="sizes for a CPU")
    parser.add_argument("--kernel", help="only rows whose name contains this")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls on a CPU")
    parser.add_argument("--csv", type=Path, help="also write the table to this file")
    options = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    rows = []
    with torch.no_grad():
        for make in all_cases(device, options.small):
            case = make()
            if options.kernel and options.kernel not in case.name:
                continue
            rows.append(measure(case, device, options.repeats))
            sys.stdout.write(" | ".join(rows[-1].values()) + "\n")
            sys.stdout.flush()
    if options.csv:
        with options.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
