"""`check_scan` in a child process with limits: damaged DICOM can crash a decoder (rule D12)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from textseg3d.io.findings import Finding, FindingLog
from textseg3d.io.options import ReadOptions

DEFAULT_TIMEOUT_SECONDS = 600.0
DEFAULT_MEMORY_BYTES = 16 << 30


def check_in_child(
    path: Path,
    log: FindingLog,
    options: ReadOptions,
    *,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
) -> list[Finding]:
    """Findings of `check_scan`, made in a child that may die, hang or run out of memory.

    Args:
        path: the scan.
        log: gets D12 if the child does not come back with findings.
        options: as in `check_scan`.
        timeout_seconds: the child is killed after this.
        memory_bytes: limit of its address space, where the system knows such a limit.

    Raises:
        InputError: D12.
    """
    request = {"path": os.fspath(path), "options": asdict(options), "memory_bytes": memory_bytes}
    package_root = str(Path(__file__).resolve().parents[2])
    known = os.environ.get("PYTHONPATH")
    environment = {
        **os.environ,
        "PYTHONPATH": package_root + (os.pathsep + known if known else ""),
    }
    try:
        child = subprocess.run(
            [sys.executable, "-m", "textseg3d.io.isolated"],
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=timeout_seconds,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        log.reject("D12", f"decoding took more than {timeout_seconds:g} s and was stopped")
    if child.returncode == 0:
        return [Finding(**finding) for finding in json.loads(child.stdout)]
    if child.returncode < 0:
        try:
            name = signal.Signals(-child.returncode).name
        except ValueError:
            name = str(-child.returncode)
        log.reject("D12", f"the decoder crashed ({name}) on this data; do not use it")
    reason = child.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no reason"]
    if "MemoryError" in reason[0]:
        log.reject("D12", f"decoding needs more than {memory_bytes >> 20} MiB and was stopped")
    log.reject("D12", f"the decoder failed on this data ({reason[0][:160]}); do not use it")


_in_child = False


def may_crash() -> bool:
    """Whether this process is a child that was made to decode, so that it may as well do it."""
    return _in_child


def limit_memory(memory_bytes: int) -> None:
    """Limit the address space of this process, a child, where the system knows such a limit."""
    global _in_child
    _in_child = True
    try:
        import resource
    except ImportError:  # Windows knows no such limit
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    wanted = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))


def limit_cpu(seconds: int) -> None:
    """Let the system kill this process once it has computed for so long, where it can."""
    try:
        import resource
    except ImportError:
        return
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    wanted = seconds if hard == resource.RLIM_INFINITY else min(seconds, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (wanted, hard))


def main() -> int:
    """Child side: request as JSON on standard input, findings as JSON on standard output."""
    request = json.load(sys.stdin)
    limit_memory(int(request["memory_bytes"]))
    from textseg3d.io.reader import check_scan

    findings = check_scan(request["path"], **request["options"])
    json.dump([asdict(finding) for finding in findings], sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
