"""The page for browsers: files that come with the package, and nothing from any other host."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.responses import Response

FOLDER = Path(__file__).parent
JAVASCRIPT = "text/javascript; charset=utf-8"
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page/style.css": ("style.css", "text/css; charset=utf-8"),
    "/page/niivue.umd.js": ("niivue.umd.js.gz", JAVASCRIPT),
    "/page/niivue.LICENSES.txt": ("niivue.LICENSES.txt", "text/plain; charset=utf-8"),
    **{
        f"/page/{name}.js": (f"{name}.js", JAVASCRIPT)
        for name in ("app", "prompts", "results", "server", "viewer", "zip")
    },
}
PAGE_PATHS = tuple(FILES)
# Scripts, styles and requests of this server alone; pictures also from the viewer's own font.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def add_page(app: FastAPI) -> None:
    """Give an application the routes of the page's files."""
    for path, (name, kind) in FILES.items():
        _add_file(app, path, (FOLDER / name).read_bytes(), kind, packed=name.endswith(".gz"))


def _add_file(app: FastAPI, path: str, content: bytes, kind: str, *, packed: bool) -> None:
    headers = {**HEADERS, **({"Content-Encoding": "gzip"} if packed else {})}

    @app.get(path, include_in_schema=False)
    async def file() -> Response:
        return Response(content, media_type=kind, headers=headers)
