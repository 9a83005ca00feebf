"""`textseg3d ui`: the page for browsers, on this machine alone."""

from __future__ import annotations

import argparse
import logging
import threading
import webbrowser

from textseg3d.cli import serve

HELP = (
    "Open a page in the browser: drop a scan, type what you are looking for, see the masks. "
    "Everything stays on this machine. Prints the page's address, which holds a secret token. "
    "Research use only, not a medical device."
)
log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add = parser.add_argument
    add("--no-browser", action="store_true", help="only print the address")
    add("--port", type=int, default=0, help="port (default: a free one)")
    serve.add_shared_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command until it is interrupted.

    Raises:
        UsageError: for a port that is taken, or a limit that is not positive.
        MissingDependencyError: without FastAPI and uvicorn.
    """
    args.host, args.token, args.allow_host = "127.0.0.1", None, []

    def announce(url: str, token: str) -> None:
        page = f"{url}/#token={token}"
        print(page, flush=True)
        log.info("open that address in a browser on this machine; Ctrl-C ends the server")
        if not args.no_browser:  # some browsers keep the caller waiting
            threading.Thread(target=webbrowser.open, args=(page,), daemon=True).start()

    return serve.serve(args, announce, page=True)
