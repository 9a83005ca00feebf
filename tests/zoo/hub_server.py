"""A hub on the loopback address: one repository of files, as the client library asks for it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves the files of ``folder`` as repository ``owner/repo``.

    Attributes:
        requests: "METHOD path" of every request so far.
        status: answer every request with this status instead, if set.
        cut_after: send so many bytes of each file and break off, if set.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.requests: list[str] = []
        self.status: int | None = None
        self.cut_after: int | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        files = sorted(p for p in self.server.folder.rglob("*") if p.is_file())
        names = {p.relative_to(self.server.folder).as_posix(): p for p in files}
        if self.server.status:
            self.reply(self.server.status, b"{}", body=body)
        elif path.startswith("/api/models/owner/repo/tree/"):
            rows = [
                {"type": "file", "path": n, "size": p.stat().st_size, "oid": _oid(p)}
                for n, p in names.items()
            ]
            self.reply(200, json.dumps(rows).encode(), body=body)
        elif path.startswith("/api/models/owner/repo"):
            info = {
                "id": "owner/repo",
                "sha": COMMIT,
                "siblings": [{"rfilename": n} for n in names],
            }
            self.reply(200, json.dumps(info).encode(), body=body)
        elif path.startswith("/owner/repo/resolve/"):
            file = names.get(path.split("/", 5)[5])
            if file is None:
                self.reply(404, b"", {"X-Error-Code": "EntryNotFound"}, body=body)
            else:
                self.send_file(file, body=body)
        else:
            self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body=body)

    def send_file(self, path: Path, *, body: bool) -> None:
        content = path.read_bytes()
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        headers = {"ETag": f'"{_oid(path)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        cut = self.server.cut_after
        self.reply(206 if start else 200, content[start:], headers, body=body, cut=cut)

    def reply(
        self,
        status: int,
        content: bytes,
        headers: dict[str, str] | None = None,
        *,
        body: bool,
        cut: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content if cut is None else content[:cut])
        if body and cut is not None and cut < len(content):
            self.close_connection = True


def _oid(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


@contextmanager
def running_hub(folder: Path) -> Iterator[Hub]:
    """A hub that serves until the block ends."""
    hub = Hub(folder)
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
