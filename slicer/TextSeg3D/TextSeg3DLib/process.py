"""A server on this computer, as a child process that never outlives what started it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from .errors import ServerError, Stopped

START_SECONDS = 300.0
STOP_SECONDS = 5.0
_KEPT_LINES = 20


class LocalServer:
    """`textseg3d serve` with a model that stays loaded.

    It stops when :meth:`stop` is called, and by itself when the program that started it ends in
    whatever way, because its standard input is closed then.

    Args:
        command: that runs textseg3d, such as ``["textseg3d"]``.
        arguments: of ``serve``.
        environment: of the process; in Slicer the one without Slicer's own paths.
        log: called from a thread with each line that the process writes.
    """

    def __init__(
        self,
        command: Sequence[str],
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._command = [*command, "serve", "--stop-with-stdin", *arguments]
        self._environment = environment
        self._log = log
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._last: deque[str] = deque(maxlen=_KEPT_LINES)
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: str | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """Of the process, or None."""
        return self._process.pid if self._process is not None else None

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self, stopped: threading.Event, seconds: float = START_SECONDS) -> tuple[str, str]:
        """Start, and wait until it listens.

        Args:
            stopped: an event; setting it ends the waiting.
            seconds: to wait at most (loading a model may take a while).

        Returns:
            ``(url, token)``.

        Raises:
            ServerError: if it does not start; the message holds what it wrote last.
            Stopped: if ``stopped`` was set.
        """
        with self._lock:
            if stopped.is_set():
                raise Stopped("cancelled")
            self._launch()
        deadline = time.monotonic() + seconds
        while True:
            if stopped.is_set():
                self.stop()
                raise Stopped("cancelled")
            try:
                line = self._lines.get(timeout=0.1)
            except queue.Empty:
                if self.is_alive() and time.monotonic() < deadline:
                    continue
                line = None
            if line is None:
                self.stop()
                wrote = "\n".join(self._last) or "it wrote nothing"
                raise ServerError(f"textseg3d did not start:\n{wrote}")
            ready = _ready(line)
            if ready is not None:
                return ready

    def _launch(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="textseg3d-slicer-")
        environment = dict(os.environ if self._environment is None else self._environment)
        # Scans that were sent lie there; whatever happens to the process, stop() removes them.
        environment.update(TMPDIR=self._folder, TEMP=self._folder, TMP=self._folder)
        apart = (
            {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
            if sys.platform == "win32"
            else {"start_new_session": True}
        )
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                cwd=self._folder,
                **apart,
            )
        except OSError as error:
            self._tidy()
            raise ServerError(f"{self._command[0]} cannot be run: {error}") from None
        for stream, keep in ((self._process.stdout, self._lines.put), (self._process.stderr, None)):
            threading.Thread(target=self._read, args=(stream, keep), daemon=True).start()

    def _read(self, stream: IO[bytes], keep: Callable[[str | None], None] | None) -> None:
        with contextlib.suppress(ValueError, OSError):  # the stream is closed by stop()
            for raw in stream:
                line = raw.decode("utf-8", "replace").rstrip()
                if keep is not None:
                    keep(line)
                if _ready(line) is None:  # that line holds the token
                    self._last.append(line)
                    self._log(line)
        if keep is not None:
            keep(None)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """End the process and all that it started; it has ``seconds`` to do so by itself."""
        with self._lock:
            process, self._process = self._process, None
            if process is None:
                return
            with contextlib.suppress(OSError):
                process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
            kill_tree(process)
            process.wait()
            for stream in (process.stdout, process.stderr):
                with contextlib.suppress(OSError):
                    stream.close()
            self._tidy()

    def _tidy(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that was started apart, with everything that it started."""
    if sys.platform == "win32":
        command = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
        subprocess.run(command, capture_output=True, check=False)
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _ready(line: str | None) -> tuple[str, str] | None:
    """``(url, token)`` if a line says that the server listens."""
    if line is None or not line.startswith("{"):
        return None
    try:
        said = json.loads(line)
    except ValueError:
        return None
    if not isinstance(said, dict) or said.get("event") != "listening":
        return None
    return said["url"], said["token"]
