"""What the figures were measured on, without anything that names the machine."""

from __future__ import annotations

import datetime
import os
import platform
from importlib import metadata
from typing import Any

PACKAGES = ("torch", "nnunetv2", "monai", "scikit-image")


def describe_machine() -> dict[str, Any]:
    """Date, processor, cores, memory, threads and versions."""
    import textseg3d

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    total = _meminfo("MemTotal")
    threads = os.environ.get("OMP_NUM_THREADS")
    return {
        "date": datetime.date.today().isoformat(),
        "processor": _processor(),
        "cores": usable,
        "memory_gb": None if total is None else round(total / 1e9, 1),
        "threads": f"OMP_NUM_THREADS={threads}" if threads else "one per core",
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {"textseg3d": textseg3d.__version__, **_versions()},
    }


def _processor() -> str:
    name = platform.processor() or platform.machine()
    features: list[str] = []
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            for line in stream:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    name = " ".join(value.split())
                elif key.strip() == "flags":
                    known = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
                    features = [flag for flag in known if flag in value.split()]
                    break
    except OSError:
        pass  # not Linux
    return f"{name} ({', '.join(features)})" if features else name


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def available_bytes() -> int | None:
    """Memory that a new process can have; None where the system does not say."""
    return _meminfo("MemAvailable")


def _meminfo(key: str) -> int | None:
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:
            for line in stream:
                if line.startswith(f"{key}:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None
