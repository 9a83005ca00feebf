"""Who may ask at all: host, origin and token are checked before any route is looked at."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = ("/healthz",)
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Guard:
    """ASGI middleware: 403 for a foreign Host or Origin, 401 without the token.

    Args:
        app: what comes behind.
        token: that every request but those to open paths carries as a bearer.
        hosts: names that the Host header may have, without port.
        open_paths: that need no token, beside ``OPEN_PATHS``; files that are the same for all.
    """

    def __init__(
        self, app: App, token: str, hosts: tuple[str, ...], open_paths: tuple[str, ...] = ()
    ) -> None:
        self._app = app
        self._open = frozenset((*OPEN_PATHS, *open_paths))
        self._token = token.encode()
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that may not pass, else hand it on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        status, message = self.verdict(scope)
        if status == 200:
            with contextlib.suppress(Exception):  # answered and logged under its number already
                await self._app(scope, receive, send)
            return
        body = json.dumps({"error": message}).encode()
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        headers += [(b"content-length", str(len(body)).encode())]
        headers += [(b"www-authenticate", b"Bearer")] if status == 401 else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def verdict(self, scope: Scope) -> tuple[int, str]:
        """Status and message for a request; 200 lets it pass."""
        found: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            found.setdefault(name.lower(), []).append(value)
        hosts, origins = found.get(b"host", []), found.get(b"origin", [])
        if len(hosts) != 1 or host_name(hosts[0].decode("latin-1")) not in self._hosts:
            return 403, "this server does not answer to that Host"
        if any(o.decode("latin-1").lower() != f"http://{hosts[0].decode('latin-1').lower()}"
               for o in origins):  # fmt: skip
            return 403, "requests from other origins are refused"
        if scope["path"] in self._open:
            return 200, ""
        tokens = found.get(b"authorization", [])
        scheme, _, given = tokens[0].partition(b" ") if len(tokens) == 1 else (b"", b"", b"")
        if scheme.lower() == b"bearer" and secrets.compare_digest(given.strip(), self._token):
            return 200, ""
        return 401, "the token is missing or wrong"


def host_name(value: str) -> str:
    """The name in a Host header, lower case, without the port."""
    if value.startswith("["):
        return value.partition("]")[0].lower() + "]"
    return value.partition(":")[0].lower()
