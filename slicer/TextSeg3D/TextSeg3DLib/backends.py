"""Where the model runs: in a server that is started here, or in one that somebody runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from .client import Client
from .errors import TextSegError
from .install import Installer
from .process import LocalServer

Log = Callable[[str], None]


class ProcessProtocol(Protocol):
    """What a :class:`LocalBackend` needs of a server process."""

    def start(self, stopped: threading.Event) -> tuple[str, str]:
        """Start, wait until it listens, return ``(url, token)``."""

    def is_alive(self) -> bool:
        """Whether it runs."""

    def stop(self) -> None:
        """End it with all that it started."""


class Backend(Protocol):
    """A place to run."""

    def connect(self, stopped: threading.Event, log: Log) -> Client:
        """A client of the server, which is started if need be. Blocks; called from a thread."""

    def stop(self) -> None:
        """End what was started here. Blocks; called from any thread."""


class LocalBackend:
    """A server on this computer; it stays while the options stay the same.

    Args:
        installer: finds textseg3d.
        environment: of the process.
        start: makes the process, see :class:`LocalServer`.
    """

    def __init__(
        self,
        installer: Installer,
        environment: Mapping[str, str] | None = None,
        start: Callable[..., ProcessProtocol] = LocalServer,
    ) -> None:
        self._installer, self._environment, self._start = installer, environment, start
        self._server: ProcessProtocol | None = None
        self._address = ("", "")
        self._used: tuple[str, ...] = ()
        self._wanted: tuple[str, ...] = ("", "", "auto")
        self._lock = threading.Lock()

    def choose(self, program: str = "", model: str = "", device: str = "auto") -> None:
        """What the next run uses: a textseg3d ("" looks for one), a model ("": the bundled)."""
        self._wanted = (program.strip(), model.strip(), device.strip() or "auto")

    def connect(self, stopped: threading.Event, log: Log) -> Client:
        """See :class:`Backend`.

        Raises:
            TextSegError: if there is no textseg3d, or it does not start.
        """
        program, model, device = self._wanted
        command = self._installer.find(program)
        if command is None:
            raise TextSegError("there is no textseg3d on this computer yet; press 'Set up…' first")
        used = (*command, model, device)
        with self._lock:
            server = self._server
        if server is None or used != self._used or not server.is_alive():
            self.stop()
            arguments = ["--device", device, *(["--model", model] if model else [])]
            server = self._start(command, arguments, self._environment, log)
            with self._lock:
                self._server, self._used = server, used
            log(f"starting {' '.join(command)} on {device}")
            self._address = server.start(stopped)
        return Client(*self._address)

    def stop(self) -> None:
        """See :class:`Backend`."""
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.stop()


class RemoteBackend:
    """A server that somebody else runs."""

    def __init__(self) -> None:
        self._url, self._token = "", ""

    def choose(self, url: str, token: str) -> None:
        """Which one the next run uses."""
        self._url, self._token = url, token

    def connect(self, stopped: threading.Event, log: Log) -> Client:
        """See :class:`Backend`."""
        return Client(self._url, self._token)

    def stop(self) -> None:
        """See :class:`Backend`; nothing was started here."""
