"""`textseg3d serve`: a server on this machine that keeps the model warm."""

from __future__ import annotations

import argparse
import ipaddress
import json
import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from textseg3d.errors import MissingDependencyError, UsageError

HELP = (
    "Serve a model over HTTP to programs on this machine (textseg3d.client, 3D Slicer). Prints "
    "one JSON line with url and token when it is ready. Research use only, not a medical device."
)
log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    add("--port", type=int, default=0, help="port (default: a free one)")
    add("--token", help="what clients must send (default: a random one, printed)")
    add("--allow-host", action="append", default=[], metavar="NAME",
        help="name under which clients reach another --host; may be given again")  # fmt: skip
    add_shared_arguments(parser)


def add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that `ui` has too."""
    add = parser.add_argument
    add("--model", metavar="MODEL", help="name, folder, or hf-hub:owner/repo@revision")
    add(
        "--device",
        default="auto",
        help="auto, cpu, cuda, cuda:N, mps or openvino (default %(default)s)",
    )
    add("--max-body", type=int, default=2048, metavar="MIB", help="largest scan (%(default)s MiB)")
    add("--max-images", type=int, default=8, metavar="N", help="scans kept at once (%(default)s)")
    add("--idle", type=float, default=1800, metavar="SECONDS",
        help="after which a scan that nobody asks about is dropped (%(default)s)")  # fmt: skip
    add("--silence", type=float, default=30, metavar="SECONDS",
        help="after which a client that stopped sending is cut off (%(default)s)")  # fmt: skip
    add("--stop-with-stdin", action="store_true",
        help="stop when standard input closes, as when the starting program dies")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Run the command until it is interrupted.

    Raises:
        UsageError: see :func:`serve`.
        MissingDependencyError: see :func:`serve`.
    """

    def announce(url: str, token: str) -> None:
        print(json.dumps({"event": "listening", "url": url, "token": token}), flush=True)

    return serve(args, announce)


def serve(
    args: argparse.Namespace, announce: Callable[[str, str], None], *, page: bool = False
) -> int:
    """Serve until the process is interrupted.

    Args:
        args: of :func:`add_arguments`.
        announce: called with address and token when clients can connect.
        page: also serve the page for browsers.

    Raises:
        UsageError: for another host than loopback without a token, or a port that is taken.
        MissingDependencyError: without FastAPI and uvicorn.
    """
    check_host(args.host, args.token)
    if min(args.max_body, args.max_images, args.idle, args.silence) <= 0:
        raise UsageError("--max-body, --max-images, --idle and --silence must be positive")
    try:
        import fastapi  # noqa: F401
        import uvicorn
    except ImportError:
        raise MissingDependencyError(
            "this needs FastAPI and uvicorn; install textseg3d[server]"
        ) from None
    from textseg3d.api import Segmenter
    from textseg3d.inference.device import tune_process
    from textseg3d.server.app import build_app
    from textseg3d.server.guard import LOOPBACK
    from textseg3d.server.jobs import Desk, Limits
    from textseg3d.server.protocol import impatient
    from textseg3d.zoo import default_model

    if args.stop_with_stdin:
        threading.Thread(target=interrupt_at_end, args=(sys.stdin.fileno(),), daemon=True).start()
    listener = listen(args.host, args.port)
    token = args.token or secrets.token_urlsafe(32)
    limits = Limits(
        body_bytes=args.max_body << 20,
        images=args.max_images,
        idle_seconds=args.idle,
        chunk_seconds=args.silence,
    )
    with listener, tempfile.TemporaryDirectory(prefix="textseg3d-serve-") as folder:
        tune_process()
        desk = Desk(Segmenter(args.model or default_model(), args.device), Path(folder), limits)
        named = f"[{args.host}]" if ":" in args.host else args.host
        app = build_app(desk, token, (*LOOPBACK, named, *args.allow_host), page=page)
        config = uvicorn.Config(
            app, http=impatient(args.silence), log_level="warning", access_log=False,
            limit_concurrency=64, timeout_keep_alive=15, timeout_graceful_shutdown=2,
            server_header=False,
        )  # fmt: skip
        listener.listen(128)  # from here on a client that knows the port can connect
        url = f"http://{named}:{listener.getsockname()[1]}"
        announce(url, token)
        try:
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            desk.close()
    return 0


def interrupt_at_end(descriptor: int) -> None:
    """Read an open file until it ends, then interrupt the process as Ctrl-C does.

    Again and again: an interrupt that falls into an import or a finaliser is lost.
    """
    while os.read(descriptor, 1 << 16):
        pass
    while True:
        signal.raise_signal(signal.SIGINT)
        time.sleep(5)


def check_host(host: str, token: str | None) -> None:
    """Refuse an address that others can reach, unless a token was chosen for them.

    Raises:
        UsageError: if there is none, or it is shorter than 16 characters.
    """
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback and not token:
        raise UsageError(
            f"--host {host} can be reached by others; give --token, or leave out --host"
        )
    if token is not None and (len(token) < 16 or not token.isascii() or token.split() != [token]):
        raise UsageError("--token must be at least 16 ASCII characters without spaces")


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound.

    Raises:
        UsageError: if the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise UsageError(f"cannot listen on {host} port {port}: {error}") from None
    return listener
