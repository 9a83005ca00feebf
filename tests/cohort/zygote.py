"""A process with torch and everything else imported, whose forks run commands in milliseconds.

Reads one JSON object per line: {"argv": […], "log": path, "environment": {…}, "file_bytes": n}
starts a command and answers its process id; {"wait": pid} answers its exit status. Commands are
real processes: they can be killed, limited, and know nothing of each other.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import sys
import tempfile
from pathlib import Path


def child(request: dict) -> None:
    """Run a command in this process, which is a fork, and leave."""
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(request.get("environment", {}))
    if "file_bytes" in request:
        limit = request["file_bytes"]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    from textseg3d.cli.main import main

    code = 1
    try:
        if request.get("daemonic"):  # as the workers of Airflow and of Celery are
            process = multiprocessing.get_context("fork").Process(
                target=lambda: os._exit(main(request["argv"])), daemon=True
            )
            process.start()
            process.join()
            code = process.exitcode or 0
        else:
            code = main(request["argv"])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def warm_up(model: str) -> None:
    """Import whatever a prediction imports, by making one."""
    import nibabel as nib
    import numpy as np

    from textseg3d.cli.main import main

    with tempfile.TemporaryDirectory() as folder:
        scan = Path(folder) / "ct.nii.gz"
        nib.save(nib.Nifti1Image(np.zeros((8, 24, 22), np.int16), np.diag([3.0, 3, 4, 1])), scan)
        argv = ["predict", "--quiet", "-i", str(scan), "-p", "liver", "--model", model]
        code = main([*argv, "-o", folder, "--summary"])
        assert code == 0, code


def main() -> None:
    """Serve until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warm_up(sys.argv[1])
    answers.write("ready\n")
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answers.write(json.dumps(os.waitstatus_to_exitcode(status)) + "\n")
            continue
        pid = os.fork()
        if pid == 0:
            child(request)
        answers.write(f"{pid}\n")


if __name__ == "__main__":
    main()
