"""Stored pixels of DICOM files. Compressed ones are decoded in a child process (rule D12).

Decoders of compressed pixels are native code, which damaged data can crash, hang or bloat. One
child decodes all compressed files of a series; what happens to it happens to nobody else.
`python -m textseg3d.io.dicom_decoder` is that child.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.io import isolated
from textseg3d.io.dicom_index import ClampedFile
from textseg3d.io.findings import FindingLog

SILENCE_SECONDS = 120.0
CPU_SECONDS = 3600
_STDERR_CHARACTERS = 160
_TAIL_BYTES = 4096
log = logging.getLogger(__name__)


def read_data(path: Path) -> Any:
    """The pydicom data set of a file, with its pixels.

    Raises:
        Exception: whatever damaged data make pydicom raise; ValueError without pixels.
    """
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with ClampedFile(path) as opened:
            data = pydicom.dcmread(opened, force=True)
    if "PixelData" not in data:
        raise ValueError("there is no pixel data")
    return data


def stored_frames(data: Any, frames: Sequence[int]) -> Iterator[NDArray[Any]]:
    """Stored values [rows, columns] of some frames of a data set, decoded in this process.

    Raises:
        Exception: whatever damaged data make pydicom or a decoder raise.
    """
    from pydicom.pixels import pixel_array

    for frame in frames:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stored = pixel_array(data, index=frame, raw=True)
        yield stored


class Decoder:
    """Decodes compressed files one after the other, in a child that starts with the first.

    Where no child can be started, or this process is one that may crash, it decodes here.

    Args:
        findings: gets D12 or D7 if a file cannot be decoded.
        memory_bytes: limit of the child's address space, where the system knows such a limit.
        silence_seconds: the child is killed if it takes longer than this for one frame.
    """

    def __init__(
        self,
        findings: FindingLog,
        *,
        memory_bytes: int = isolated.DEFAULT_MEMORY_BYTES,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self._findings = findings
        self._memory_bytes = memory_bytes
        self._silence_seconds = silence_seconds
        self._child: subprocess.Popen[bytes] | None = None
        # A file, for nobody reads along: a full pipe would stop a decoder that complains a lot.
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - see __exit__
        self._here = isolated.may_crash() or not sys.executable

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *exception: object) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.communicate()
        self._complaints.close()

    def frames(self, path: Path, frames: Sequence[int]) -> Iterator[NDArray[Any]]:
        """Stored values [rows, columns] of some frames of a compressed file.

        Raises:
            InputError: D12 if the decoder crashed, hung or wanted too much memory.
            ValueError: with its own words if it refused the data.
        """
        if self._child is None and not self._here:
            self._start()
        if self._child is None:
            yield from stored_frames(read_data(path), frames)
            return
        request = {"path": os.fspath(path), "frames": list(frames)}
        for _ in frames:
            answer, pixels = self._ask(self._child, request, path)
            request = {}
            if "error" in answer:
                raise ValueError(answer["error"])
            yield pixels

    def _start(self) -> None:
        root = str(Path(__file__).resolve().parents[2])
        search = os.pathsep.join(p for p in (os.environ.get("PYTHONPATH"), root) if p)
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "textseg3d.io.dicom_decoder", str(self._memory_bytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                env={**os.environ, "PYTHONPATH": search},
            )
        except OSError as error:  # a sandbox without processes
            log.warning("no process for the decoder (%s); decoding in this one", error.strerror)
            self._here = True

    def _ask(
        self, child: subprocess.Popen[bytes], request: dict[str, Any], path: Path
    ) -> tuple[dict[str, Any], NDArray[Any]]:
        """Send a request, if there is one, and take the next answer."""
        assert child.stdin is not None
        assert child.stdout is not None
        hung = threading.Event()

        def stop() -> None:
            hung.set()
            child.kill()

        timer = threading.Timer(self._silence_seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            if request:
                child.stdin.write(json.dumps(request).encode() + b"\n")
                child.stdin.flush()
            answer: dict[str, Any] = json.loads(child.stdout.readline())
            if "memory" in answer:
                reason = f"decoding {path.name} needs more than {self._memory_bytes >> 20} MiB"
                self._findings.reject("D12", f"{reason} and was stopped")
            return answer, _take(child.stdout, answer)
        except (OSError, ValueError, EOFError):  # half an answer, or none
            if hung.is_set():
                seconds = self._silence_seconds
                reason = f"decoding {path.name} took more than {seconds:g} s and was stopped"
            else:
                how = _ending(child, self._complaints)
                reason = f"the decoder {how} on {path.name}; do not use this series"
            self._findings.reject("D12", reason)
        finally:
            timer.cancel()


def _take(stream: IO[bytes], answer: dict[str, Any]) -> NDArray[Any]:
    """The pixels that follow an answer."""
    if "error" in answer:
        return np.empty((0, 0))
    shape, dtype = tuple(answer["shape"]), np.dtype(answer["dtype"])
    content = stream.read(math.prod(shape) * dtype.itemsize)
    return np.frombuffer(content, dtype).reshape(shape)  # ValueError where it ends too early


def _ending(child: subprocess.Popen[bytes], complaints: IO[bytes]) -> str:
    """How the child ended, in words; ``complaints`` is what it wrote on standard error."""
    child.communicate()
    if child.returncode < 0:
        try:
            name = signal.Signals(-child.returncode).name
        except ValueError:
            name = str(-child.returncode)
        return f"crashed ({name})"
    complaints.seek(max(0, complaints.seek(0, os.SEEK_END) - _TAIL_BYTES))
    lines = complaints.read().decode("utf-8", "replace").strip().splitlines()
    reason = lines[-1][:_STDERR_CHARACTERS] if lines else f"exit code {child.returncode}"
    return f"failed ({reason})"


def main() -> int:
    """Child side: a request of one line per file on standard input, frames on standard output."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # decoders that print do not garble them
    isolated.limit_memory(int(sys.argv[1]))
    isolated.limit_cpu(CPU_SECONDS)  # whoever asked may be gone, and the decoder go in circles

    def tell(**answer: Any) -> None:
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()

    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            data = read_data(Path(request["path"]))
            for stored in stored_frames(data, request["frames"]):
                content = np.ascontiguousarray(stored)
                tell(shape=content.shape, dtype=content.dtype.str)
                answers.write(content.data)
                answers.flush()
        except MemoryError:
            tell(memory=True)
        except BrokenPipeError:
            return 1
        except Exception as error:  # so do decoders, in words of their own
            tell(error=f"{type(error).__name__}: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
