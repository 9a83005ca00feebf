"""`textseg3d doctor`: what this machine has, and what is missing."""

from __future__ import annotations

import argparse
import json
import os
import platform
from typing import Any

HELP = "Show versions, device, threads, CPU features and free memory, and what is missing."

# Import name → (distribution, what needs it). Core packages come with `pip install textseg3d`.
CORE_PACKAGES = {
    "torch": ("torch", "running the network"),
    "torchvision": ("torchvision", "the text encoder"),
    "open_clip": ("open_clip_torch", "the text encoder"),
    "numpy": ("numpy", "everything"),
    "scipy": ("scipy", "resampling"),
    "nibabel": ("nibabel", "NIfTI"),
    "nrrd": ("pynrrd", "NRRD"),
    "pydicom": ("pydicom", "DICOM"),
    "cc3d": ("connected-components-3d", "instances"),
    "edt": ("edt", "distances"),
    "isal": ("isal", "fast gzip"),
    "safetensors": ("safetensors", "weights"),
    "matplotlib": ("matplotlib", "previews and loss curves"),
    "huggingface_hub": ("huggingface_hub", "models from a hub"),
    "filelock": ("filelock", "models from a hub, several runs on one folder"),
    "blosc2": ("blosc2", "preprocessed cases"),
}
OPTIONAL_PACKAGES = {
    "highdicom": ("highdicom", "DICOM segmentations: pip install 'textseg3d[dicom]'"),
    "pylibjpeg": ("pylibjpeg", "compressed DICOM: pip install 'textseg3d[dicom]'"),
    "jpeg_ls": ("pyjpegls", "JPEG-LS DICOM: pip install 'textseg3d[dicom]'"),
    "transformers": ("transformers", "other text encoders: pip install 'textseg3d[huggingface]'"),
    "fastapi": ("fastapi", "the local server: pip install 'textseg3d[server]'"),
    "starlette": ("starlette", "the local server: pip install 'textseg3d[server]'"),
    "uvicorn": ("uvicorn", "the local server: pip install 'textseg3d[server]'"),
    "h11": ("h11", "the local server: pip install 'textseg3d[server]'"),
    "ipyniivue": ("ipyniivue", "masks in a notebook: pip install 'textseg3d[notebook]'"),
    "openvino": ("openvino", "--device openvino: pip install 'textseg3d[openvino]'"),
    "ray": ("ray", "predict on several machines: pip install 'textseg3d[ray]'"),
    "dynamic_network_architectures": (
        "dynamic_network_architectures",
        "converted nnU-Nets: pip install 'textseg3d[nnunet]'",
    ),
}
CPU_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the report; exit code 4 if something that `predict` needs is missing."""
    report = collect()
    if args.json:
        print(json.dumps(report, indent=1, ensure_ascii=False))
    else:
        _print(report)
    return 4 if report["missing"] else 0


def collect() -> dict[str, Any]:
    """Everything that the command prints.

    Keys: textseg3d, python, platform, packages (distribution → version or null), device, cpu,
    memory, models, environment, missing (what `predict` needs and does not find), optional
    (what else is not there).
    """
    import textseg3d

    packages, missing, optional = _packages()
    models = _models()
    usable = [model for model in models if model["folder"] and not model["problem"]]
    if not usable:
        missing.append("a model: no bundled or downloaded model is whole on this machine")
    return {
        "textseg3d": textseg3d.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "device": _device(),
        "cpu": _cpu(),
        "memory": _memory(),
        "models": models,
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(("TEXTSEG3D_", "nnUNet_", "OMP_NUM_THREADS")) and "TOKEN" not in name
        },
        "missing": missing,
        "optional": optional,
    }


def _packages() -> tuple[dict[str, str | None], list[str], list[str]]:
    from importlib import metadata

    versions: dict[str, str | None] = {}
    missing: list[str] = []
    optional: list[str] = []
    for table, absent in ((CORE_PACKAGES, missing), (OPTIONAL_PACKAGES, optional)):
        for distribution, purpose in table.values():
            try:
                versions[distribution] = metadata.version(distribution)
            except metadata.PackageNotFoundError:
                versions[distribution] = None
                absent.append(f"{distribution} ({purpose})")
    return versions, missing, optional


def _device() -> dict[str, Any]:
    """The accelerator that `--device auto` takes, and how torch would use the CPU."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return {"chosen": None, "problem": f"torch cannot be imported: {error}"}
    report: dict[str, Any] = {
        "chosen": "cpu",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "cuda": [],
    }
    if torch.cuda.is_available():
        report["chosen"] = "cuda"
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            name = torch.cuda.get_device_name(index)
            report["cuda"].append({"name": name, "free_bytes": free, "total_bytes": total})
    elif torch.backends.mps.is_available():
        report["chosen"] = "mps"
    return report


def _cpu() -> dict[str, Any]:
    """Model name, logical and usable cores, and the features that decide the speed."""
    name, flags = platform.processor() or platform.machine(), set[str]()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            for line in stream:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    name = value.strip()
                elif key.strip() in ("flags", "Features"):
                    flags = set(value.split())
                    break
    except OSError:
        pass  # not Linux; torch's own capability is reported beside this
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "name": name,
        "cores": os.cpu_count(),
        "usable_cores": usable,
        "features": [feature for feature in CPU_FEATURES if feature in flags],
    }


def _memory() -> dict[str, int | None]:
    """Bytes of memory in all and free for a new program, within a container's own limit."""
    total = available = None
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:
            table = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in stream}
        total, available = table.get("MemTotal"), table.get("MemAvailable")
    except (OSError, ValueError):
        if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit, used = _number("/sys/fs/cgroup/memory.max"), _number("/sys/fs/cgroup/memory.current")
    if limit is not None and total is not None and limit < total:
        total = limit
        available = min(available or limit, max(limit - (used or 0), 0))
    return {"total_bytes": total, "available_bytes": available}


def _number(path: str) -> int | None:
    try:
        with open(path, encoding="ascii") as stream:
            return int(stream.read())
    except (OSError, ValueError):
        return None


def _models() -> list[dict[str, Any]]:
    from textseg3d.errors import TextSegError
    from textseg3d.zoo import known_models, verify_model
    from textseg3d.zoo.find import local_folder

    rows: list[dict[str, Any]] = []
    try:
        entries = known_models()
    except TextSegError as error:
        return [{"name": None, "folder": None, "problem": str(error)}]
    for entry in entries:
        row: dict[str, Any] = {"name": entry.name, "folder": None, "problem": None}
        try:
            folder = local_folder(entry)
            if folder is not None:
                row["folder"] = str(folder)
                verify_model(folder)
        except TextSegError as error:
            row["problem"] = str(error)
        rows.append(row)
    return rows


def _print(report: dict[str, Any]) -> None:
    device, cpu, memory = report["device"], report["cpu"], report["memory"]
    print(f"textseg3d {report['textseg3d']}, Python {report['python']}, {report['platform']}")
    print(f"cpu      {cpu['name']}, {cpu['usable_cores']} of {cpu['cores']} cores usable")
    print(f"         features: {', '.join(cpu['features']) or 'none of note'}")
    if "problem" in device:
        print(f"device   {device['problem']}")
    else:
        print(f"device   {device['chosen']}, {device['threads']} threads")
        for gpu in device["cuda"]:
            print(f"         {gpu['name']}, {_gb(gpu['free_bytes'])} of {_gb(gpu['total_bytes'])}")
    print(f"memory   {_gb(memory['available_bytes'])} free of {_gb(memory['total_bytes'])}")
    for model in report["models"]:
        state = model["problem"] or model["folder"] or "not on this machine"
        print(f"model    {model['name']}: {state}")
    shown = [f"{name} {version}" for name, version in report["packages"].items() if version]
    print(f"packages {', '.join(shown)}")
    for name, value in report["environment"].items():
        print(f"setting  {name}={value}")
    for text in report["optional"]:
        print(f"optional {text}")
    for text in report["missing"]:
        print(f"MISSING  {text}")
    print("nothing is missing" if not report["missing"] else "install what is missing, then retry")


def _gb(size_bytes: int | None) -> str:
    return "unknown" if size_bytes is None else f"{size_bytes / 1e9:.1f} GB"
