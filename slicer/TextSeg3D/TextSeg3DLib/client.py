"""Talks to `textseg3d serve` over HTTP with the standard library alone."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import socket
import threading
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from .errors import ServerError, Stopped

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_HINTS = {
    401: "the token is wrong; copy it from what `textseg3d serve` printed",
    403: "the server does not answer to that name; start it with --allow-host",
    404: "it is gone; the server may have been started anew",
    413: "the scan is larger than the server takes; start it with a larger --max-body",
    429: "the server is busy; try again in a moment",
}


def is_loopback(url: str) -> bool:
    """Whether what is sent to ``url`` stays on this computer."""
    return urlsplit(url).hostname in LOOPBACK


class Client:
    """One server. Every method blocks; :meth:`abort` makes all of them fail, from any thread.

    Args:
        url: ``http://host:port``, as the server prints it.
        token: the same.
        timeout: seconds that the server may be silent.

    Raises:
        ServerError: if ``url`` is no address.
    """

    def __init__(self, url: str, token: str, timeout: float = 60.0) -> None:
        try:
            self._parts = urlsplit(url.strip())
            valid = self._parts.scheme in ("http", "https") and self._parts.hostname
            self._port = self._parts.port
        except ValueError:
            valid = False
        if not valid:
            raise ServerError(f"{url!r} is no address of a server; expected http://host:port")
        self.url, self._token, self._timeout = url, token.strip(), timeout
        self._open: set[http.client.HTTPConnection] = set()
        self._lock = threading.Lock()
        self._aborted = False

    def sibling(self, timeout: float) -> Client:
        """A client of the same server that was not aborted."""
        return Client(self.url, self._token, timeout)

    def capabilities(self) -> dict[str, Any]:
        """Model, device, concepts, formats and limits of the server."""
        return self._json("GET", "/capabilities")

    def upload(self, content: bytes) -> str:
        """Send the content of a scan file; return the image's id."""
        return self._json("POST", "/images", content)["image"]

    def delete(self, image: str) -> None:
        """Remove an image with its jobs; one that is gone already is no error."""
        try:
            self._ask("DELETE", f"/images/{image}")
        except ServerError as error:
            if error.status != 404:
                raise

    def submit(self, image: str, prompts: Sequence[str], format: str = "seg.nrrd") -> str:
        """Ask prompts about an image; return the job's id."""
        body = {"image": image, "prompts": list(prompts), "format": format}
        return self._json("POST", "/jobs", json.dumps(body).encode())["job"]

    def events(self, job: str) -> Iterator[dict[str, Any]]:
        """The events of a job as they come; the last one is done, cancelled or error."""
        with self._connection() as connection:
            response = self._send(connection, "GET", f"/jobs/{job}/events", None)
            while True:
                try:
                    line = response.readline()
                except (OSError, http.client.HTTPException, ValueError) as error:
                    raise self._broken(error) from None
                if not line:
                    return
                yield json.loads(line)

    def cancel(self, job: str) -> None:
        """Ask for the end of a job; nothing happens to one that has ended."""
        self._ask("POST", f"/jobs/{job}/cancel", b"")

    def result(self, job: str) -> tuple[dict[str, Any], dict[str, bytes]]:
        """The JSON record of a job that is done, and its other files: name to content."""
        with zipfile.ZipFile(io.BytesIO(self._ask("GET", f"/jobs/{job}/result"))) as archive:
            files = {PurePosixPath(n).name: archive.read(n) for n in archive.namelist()}
        name = next(name for name in reversed(list(files)) if name.endswith(".json"))
        return json.loads(files.pop(name)), files

    def abort(self) -> None:
        """Break off whatever waits for the server, and refuse what comes."""
        with self._lock:
            self._aborted = True
            open_now = list(self._open)
        for connection in open_now:
            sock = connection.sock
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _json(self, method: str, path: str, body: bytes | None = None) -> Any:
        try:
            return json.loads(self._ask(method, path, body))
        except ValueError:
            raise ServerError(f"{self.url} answered, but is no textseg3d server") from None

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        with self._connection() as connection:
            response = self._send(connection, method, path, body)
            try:
                return response.read()
            except (OSError, http.client.HTTPException) as error:
                raise self._broken(error) from None

    @contextlib.contextmanager
    def _connection(self) -> Iterator[http.client.HTTPConnection]:
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        kind = kinds[self._parts.scheme]
        connection = kind(self._parts.hostname, self._port, timeout=self._timeout)
        with self._lock:
            if self._aborted:
                raise Stopped("cancelled")
            self._open.add(connection)
        try:
            yield connection
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
    ) -> http.client.HTTPResponse:
        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            # A server that refuses a body answers before all of it is sent; read what it said.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, self._parts.path.rstrip("/") + path, body, headers)
            response = connection.getresponse()
            if response.status < 400:
                return response
            said = response.read()
        except (OSError, http.client.HTTPException, UnicodeError, ValueError) as error:
            raise self._broken(error) from None
        raise ServerError(_refusal(response.status, response.reason, said), response.status)

    def _broken(self, error: Exception) -> ServerError | Stopped:
        if self._aborted:
            return Stopped("cancelled")
        if isinstance(error, TimeoutError):
            return ServerError(f"{self.url} said nothing for {self._timeout:g} seconds")
        return ServerError(f"{self.url} cannot be reached: {error}")


def _refusal(status: int, reason: str, said: bytes) -> str:
    """What to tell the user about a status of HTTP."""
    try:
        answer = json.loads(said)
        text = f"{answer['error']} {answer.get('id', '')}".strip()
    except (ValueError, KeyError, TypeError):
        text = reason
    hint = _HINTS.get(status)
    return f"the server said {status}: {text}" + (f" ({hint})" if hint else "")
