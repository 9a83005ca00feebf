"""Child side of a measured run: arguments as JSON on standard input, the result as a JSON file."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from textseg3d.errors import TextSegError

TASKS = {
    "enlarge": "textseg3d.benchmark.prepare",
    "fitted_nnunet": "textseg3d.benchmark.prepare",
    "many_prompts": "textseg3d.benchmark.prepare",
    "segment": "textseg3d.benchmark.ours",
    "prompt_counts": "textseg3d.benchmark.ours",
    "session": "textseg3d.benchmark.ours",
    "nnunetv2": "textseg3d.benchmark.peers",
    "monai": "textseg3d.benchmark.peers",
    "parity": "textseg3d.benchmark.parity",
    "flops": "textseg3d.benchmark.flops",
    "kernels": "textseg3d.benchmark.kernels",
    "cubic": "textseg3d.benchmark.resampling",
}


def peak_mb() -> float | None:
    """Peak resident memory of this process, MiB, without that of the one that started it."""
    try:
        for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return None


def _be_first_to_go() -> None:
    """When memory runs out, this process is to be ended, not another one."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def main(arguments: list[str]) -> int:
    """Run one task; its errors go into the reply."""
    task, target = arguments
    request: dict[str, Any] = json.load(sys.stdin)
    _be_first_to_go()
    try:
        function = getattr(importlib.import_module(TASKS[task]), task)
        reply = {"result": function(request), "peak_mb": peak_mb()}
    except (TextSegError, ImportError, MemoryError) as error:
        reply = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    Path(target).write_text(json.dumps(reply), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
