"""HTTP connections that have to say what they want within a time, or are closed."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_BODY = b'{"error": "the head of the request took too long"}'
_TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


class ImpatientProtocol(H11Protocol):
    """uvicorn's protocol, with a limit on the time that the head of a request may take.

    uvicorn limits how long an idle connection is kept between two requests, but not how long a
    client may take to send its first line and headers; the routes limit the pauses in a body.
    """

    head_seconds = 15.0
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the clock."""
        super().connection_made(transport)
        self._arm()

    def data_received(self, data: bytes) -> None:
        """Stop the clock when a head is complete; start it when the next one has begun."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._arm()
        elif self.conn.their_state is not h11.IDLE or self.cycle is not None:
            self._disarm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the clock."""
        self._disarm()
        super().connection_lost(exc)

    def _arm(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self.head_seconds, self._cut_off)

    def _disarm(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _cut_off(self) -> None:
        self._late = None
        if not self.transport.is_closing():
            self.transport.write(_TOO_SLOW)
            self.transport.close()


def impatient(head_seconds: float) -> type[H11Protocol]:
    """A protocol class for uvicorn.

    Args:
        head_seconds: that a client may take to send the head of a request.
    """

    class Protocol(ImpatientProtocol):
        pass

    Protocol.head_seconds = head_seconds
    return Protocol
