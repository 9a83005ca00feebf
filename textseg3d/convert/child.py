"""Reads one checkpoint in a child process with limits, and writes its weights as safetensors.

The parent never opens the checkpoint. The child has limits on memory, processor time and file
size; what it hands back is a safetensors file, read as strictly as any, and a few strings.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import ModelError, TextSegError

TIMEOUT_SECONDS = 900.0
MEMORY_BYTES = 16 << 30
MAX_REPLY_BYTES = 2**16


@dataclass(frozen=True)
class CheckpointFacts:
    """What a checkpoint says besides its weights.

    Attributes:
        trainer: class name.
        configuration: name in the plans.
        mirror_axes: axes along which the trainer mirrored.
    """

    trainer: str
    configuration: str
    mirror_axes: tuple[int, ...]


def extract_weights(
    checkpoint: Path,
    target: Path,
    *,
    key: str = "network_weights",
    facts: bool = True,
    timeout_seconds: float = TIMEOUT_SECONDS,
    memory_bytes: int = MEMORY_BYTES,
) -> CheckpointFacts:
    """Write the network's weights of a checkpoint to the safetensors file ``target``.

    Args:
        checkpoint: file of torch.
        target: file to write.
        key: of the weights in the checkpoint.
        facts: whether it must have an nnU-Net trainer's facts; otherwise these are empty.
        timeout_seconds: after which the child is stopped.
        memory_bytes: that it may take.

    Raises:
        ModelError: if the checkpoint is damaged, holds anything but data, or breaks a limit.
    """
    request = {
        "checkpoint": os.fspath(checkpoint.resolve()),
        "target": os.fspath(target.resolve()),
        "key": key,
        "facts": facts,
        "memory_bytes": memory_bytes,
        "cpu_seconds": int(timeout_seconds) + 1,
    }
    root = str(Path(__file__).resolve().parents[2])
    known = os.environ.get("PYTHONPATH")
    search = root + (os.pathsep + known if known else "")
    try:
        child = subprocess.run(
            [sys.executable, "-m", "textseg3d.convert.child"],
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=timeout_seconds,
            env={**os.environ, "PYTHONPATH": search, "OPENBLAS_NUM_THREADS": "1"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelError(
            f"reading {checkpoint} took more than {timeout_seconds:g} s and was stopped"
        ) from None
    try:
        if child.returncode != 0 or len(child.stdout) > MAX_REPLY_BYTES:
            raise ValueError
        reply = json.loads(child.stdout)
        if "error" not in reply:
            axes = tuple(int(axis) for axis in reply["mirror_axes"])
            return CheckpointFacts(str(reply["trainer"]), str(reply["configuration"]), axes)
    except (ValueError, KeyError, TypeError):
        last = child.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        reason = f"exit code {child.returncode}" + (f", {last[0][:120]}" if last else "")
        raise ModelError(
            f"{checkpoint} could not be read within its limits ({reason}); it is damaged, or "
            "larger than any nnU-Net"
        ) from None
    raise ModelError(str(reply["error"]))


def _limit(memory_bytes: int, cpu_seconds: int) -> None:
    try:
        import resource
    except ImportError:  # Windows knows no such limits; the timeout still holds
        return
    wanted = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_FSIZE: memory_bytes,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def facts_and_weights(
    path: Path, key: str = "network_weights", *, facts: bool = True
) -> tuple[CheckpointFacts, dict[str, NDArray[Any]]]:
    """Facts and float weights (name → array) of a checkpoint.

    Args:
        path: of the checkpoint.
        key: of the weights in it.
        facts: whether it must have an nnU-Net trainer's facts.

    Raises:
        ModelError: if it is not one.
    """
    from textseg3d.convert.pickles import read_checkpoint, refuse

    loaded = read_checkpoint(path)
    weights = loaded.get(key)
    if not isinstance(weights, dict) or not weights:
        refuse(path, f"has no {key!r}")
    arrays: dict[str, NDArray[Any]] = {}
    seen = set()
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, np.ndarray):
            refuse(path, f"has a weight {name!r:.80} that is no tensor")
        if value.dtype.kind in "iu" and not facts:
            continue  # counters and position numbers of text encoders
        if value.dtype.kind != "f":
            refuse(path, f"has a weight {name!r:.80} of type {value.dtype}")
        place = (value.ctypes.data, value.shape, value.strides)
        if place not in seen:  # nnU-Net's networks list most weights under several names
            arrays[name.removeprefix("module.").removeprefix("_orig_mod.")] = value
        seen.add(place)
    if not facts:
        return CheckpointFacts("", "", ()), arrays
    arguments = loaded.get("init_args")
    configuration = arguments.get("configuration") if isinstance(arguments, dict) else None
    trainer = loaded.get("trainer_name")
    if not isinstance(configuration, str) or not isinstance(trainer, str):
        refuse(path, "does not name its trainer and configuration")
    axes = loaded.get("inference_allowed_mirroring_axes") or ()
    if not isinstance(axes, (tuple, list)) or not set(axes) <= {0, 1, 2}:
        refuse(path, f"has mirror axes {axes!r:.80}")
    return CheckpointFacts(trainer, configuration, tuple(int(axis) for axis in axes)), arrays


def main() -> int:
    """Child side: request as JSON on standard input, facts or an error on standard output."""
    request = json.load(sys.stdin)
    from safetensors.numpy import save_file

    _limit(int(request["memory_bytes"]), int(request["cpu_seconds"]))
    try:
        facts, arrays = facts_and_weights(
            Path(request["checkpoint"]), str(request["key"]), facts=bool(request["facts"])
        )
        save_file(
            {n: np.ascontiguousarray(a, dtype=np.float32) for n, a in arrays.items()},
            request["target"],
        )
    except (TextSegError, OSError, MemoryError) as error:
        text = str(error) or type(error).__name__
        json.dump({"error": " ".join(text.split())}, sys.stdout)
        return 0
    json.dump(
        {
            "trainer": facts.trainer,
            "configuration": facts.configuration,
            "mirror_axes": list(facts.mirror_axes),
        },
        sys.stdout,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
