"""The routes of the server. Handlers take what clients send as ids and words, never as paths."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import secrets
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

import textseg3d
from textseg3d.errors import Cancelled, PromptError
from textseg3d.inference.prompts import Vocabulary
from textseg3d.server.decode import RefusedScanError
from textseg3d.server.guard import App, Guard
from textseg3d.server.jobs import ENDED, Desk, FullError, Image, Job, error_id
from textseg3d.server.page import PAGE_PATHS, add_page

MAX_JSON_BYTES = 1 << 20
POLL_SECONDS = 0.1
HEARTBEAT_SECONDS = 10.0
JOB_KEYS = ("image", "prompts", "format")
RESULT_FORMATS = ("nifti", "nrrd", "seg.nrrd", "blosc2")
SCAN_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
JOB_SCHEMA = {
    "type": "object",
    "properties": {
        "image": {"type": "string"},
        "prompts": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "format": {"enum": list(RESULT_FORMATS)},
    },
    "required": ["image", "prompts"],
    "additionalProperties": False,
}
JOB_BODY = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": JOB_SCHEMA}}}
}


def build_app(desk: Desk, token: str, hosts: tuple[str, ...], *, page: bool = False) -> App:
    """The ASGI application.

    Args:
        desk: images, jobs and the model.
        token: that every request carries, but those to ``/healthz`` and to the page.
        hosts: names that the Host header may have.
        page: also serve the page for browsers.
    """
    app = FastAPI(title="textseg3d", version=textseg3d.__version__, docs_url=None, redoc_url=None)
    vocabulary = Vocabulary.of(desk.segmenter.card)

    @app.get("/healthz")
    async def healthz() -> Any:
        return {"status": "ok"}

    @app.get("/capabilities")
    async def capabilities() -> Any:
        return describe(desk)

    _image_routes(app, desk)
    _job_routes(app, desk, vocabulary)

    @app.get("/vocabulary")
    async def wordings() -> Any:
        return await asyncio.to_thread(completions, vocabulary)

    _error_answers(app)
    if page:
        add_page(app)
    return Guard(app, token, hosts, PAGE_PATHS if page else ())


def _image_routes(app: FastAPI, desk: Desk) -> None:
    """Upload a scan, look at it, delete it."""

    @app.post("/images", status_code=201, openapi_extra=SCAN_BODY)
    async def upload(request: Request) -> Any:
        limit = desk.limits.body_bytes
        refuse_length(request, limit)
        image = desk.new_image()
        try:
            size = await receive_file(request, image.scan, limit, desk.limits.chunk_seconds)
        except BaseException:
            desk.delete_image(image)
            raise
        return {"image": image.id, "bytes": size}

    @app.get("/images/{name}/scan")
    async def scan(name: str) -> Response:
        image = _image(desk, name)
        try:
            path = await asyncio.to_thread(desk.preview, image)
        except RefusedScanError as error:
            number = error_id(error, f"image {name}")
            answer = {"error": "the scan cannot be used", "id": number}
            return JSONResponse({**answer, "rule": error.rule, "expected": error.expected}, 422)
        except Cancelled:
            raise HTTPException(404, "there is no such image (any more)") from None
        return FileResponse(path, media_type="application/octet-stream")

    @app.delete("/images/{name}", status_code=204)
    async def delete(name: str) -> Response:
        desk.delete_image(_image(desk, name))
        return Response(status_code=204)


def _job_routes(app: FastAPI, desk: Desk, vocabulary: Vocabulary) -> None:
    """Ask prompts of an image, follow the work, fetch what came out."""

    @app.post("/jobs", status_code=201, openapi_extra=JOB_BODY)
    async def submit(request: Request) -> Any:
        refuse_length(request, MAX_JSON_BYTES)
        body = await receive_json(request, desk.limits.chunk_seconds)
        name, prompts, format = job_fields(body, desk.limits.prompts)
        image = _image(desk, name)
        try:
            vocabulary.understand_all(prompts)
        except PromptError as error:  # speaks of the prompt alone
            raise HTTPException(400, str(error)) from None
        job = desk.new_job(image, prompts, format)
        return {"job": job.id}

    @app.get("/jobs/{name}/events")
    async def events(name: str) -> Response:
        job = _job(desk, name)
        return StreamingResponse(event_lines(job), media_type="application/x-ndjson")

    @app.post("/jobs/{name}/cancel")
    async def cancel(name: str) -> Any:
        job = _job(desk, name)
        desk.cancel(job)
        return {"status": job.status if job.status in ENDED else "cancelling"}

    @app.get("/jobs/{name}/result")
    async def result(name: str) -> Response:
        path = await asyncio.to_thread(archive, _done(desk, name))
        return FileResponse(path, media_type="application/zip")

    @app.get("/jobs/{name}/record")
    async def record(name: str) -> Response:
        text = await asyncio.to_thread(public_record, _done(desk, name))
        return Response(text, media_type="application/json")

    @app.get("/jobs/{name}/masks/{number}")
    async def mask(name: str, number: int) -> Response:
        path = await asyncio.to_thread(mask_file, _done(desk, name), number)
        if path is None:
            raise HTTPException(404, "this prompt has no mask")
        return FileResponse(path, media_type="application/octet-stream")


def _error_answers(app: FastAPI) -> None:
    """Errors as JSON: an id instead of what went wrong inside."""

    @app.exception_handler(FullError)
    async def full(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, 429, {"Retry-After": "5"})

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = {"Connection": "close"} if error.status_code in (408, 413) else None
        return JSONResponse({"error": error.detail}, error.status_code, headers)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        number = error_id(error, request.url.path)
        return JSONResponse({"error": "internal error", "id": number}, 500)


def describe(desk: Desk) -> dict[str, Any]:
    """What the server can do, for ``GET /capabilities``."""
    limits = dataclasses.asdict(desk.limits)
    return {
        "textseg3d": textseg3d.__version__,
        "model": desk.segmenter.card.name,
        "device": desk.segmenter.device,
        "concepts": list(desk.segmenter.concepts),
        "formats": list(RESULT_FORMATS),
        "limits": limits,
    }


def refuse_length(request: Request, limit: int) -> None:
    """Raise 413 or 400 by what the request says of its length, before a byte is read."""
    text = request.headers.get("content-length", "0")
    if not text.isascii() or not text.isdigit():
        raise HTTPException(400, "Content-Length is no number")
    if int(text) > limit:
        raise HTTPException(413, f"the body is larger than {limit} bytes")


async def chunks(request: Request, limit: int, silence_seconds: float) -> AsyncIterator[bytes]:
    """The body, piece by piece; 413 above the limit, 408 if the client falls silent."""
    stream, size = request.stream(), 0
    while True:
        try:
            chunk = await asyncio.wait_for(anext(stream), silence_seconds)
        except StopAsyncIteration:
            return
        except (asyncio.TimeoutError, TimeoutError):
            raise HTTPException(408, f"no data for {silence_seconds:g} seconds") from None
        except ClientDisconnect:
            raise HTTPException(400, "the client went away") from None
        size += len(chunk)
        if size > limit:
            raise HTTPException(413, f"the body is larger than {limit} bytes")
        yield chunk


async def receive_file(request: Request, path: Path, limit: int, silence_seconds: float) -> int:
    """Write the body to a file of the server's own name; return its size."""
    size = 0
    with open(path, "xb") as file:
        async for chunk in chunks(request, limit, silence_seconds):
            await asyncio.to_thread(file.write, chunk)
            size += len(chunk)
    if not size:
        raise HTTPException(400, "the body is empty; send a scan")
    return size


async def receive_json(request: Request, silence_seconds: float) -> Any:
    """The body as JSON, at most 1 MiB."""
    body = b"".join([c async for c in chunks(request, MAX_JSON_BYTES, silence_seconds)])
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is no JSON") from None


def job_fields(body: Any, most: int) -> tuple[str, tuple[str, ...], str]:
    """Image id, prompts and format of a job; 400 if they are not what was agreed."""
    if not isinstance(body, dict) or not set(body) <= set(JOB_KEYS):
        raise HTTPException(400, f"expected an object with the keys {', '.join(JOB_KEYS)}")
    image, prompts, format = body.get("image"), body.get("prompts"), body.get("format", "nifti")
    if not isinstance(image, str):
        raise HTTPException(400, "'image' must be the id of an uploaded image")
    if not isinstance(prompts, list) or not all(isinstance(p, str) for p in prompts):
        raise HTTPException(400, "'prompts' must be a list of texts")
    if not 1 <= len(prompts) <= most:
        raise HTTPException(400, f"{len(prompts)} prompts; expected 1 to {most}")
    if format not in RESULT_FORMATS:
        raise HTTPException(400, f"'format' must be one of {', '.join(RESULT_FORMATS)}")
    return image, tuple(prompts), format


async def event_lines(job: Job) -> AsyncIterator[bytes]:
    """The events of a job as NDJSON, from the first to the one that ends it.

    A client that goes away does not stop the job; it may come back and read all of them.
    """
    sent, silent = 0, 0.0
    while True:
        ended = job.status in ENDED  # asked first: the last event is there before the status
        while sent < len(job.events):
            yield json.dumps(job.events[sent]).encode() + b"\n"
            sent, silent = sent + 1, 0.0
        if ended:
            return
        await asyncio.sleep(POLL_SECONDS)
        silent += POLL_SECONDS
        if silent >= HEARTBEAT_SECONDS:
            yield json.dumps({"event": "waiting" if job.status == "waiting" else "alive"}).encode()
            yield b"\n"
            silent = 0.0


def archive(job: Job) -> Path:
    """A zip of a job's files (which are compressed already), made when it is first asked for."""
    path = job.files[-1].parent / ".result.zip"
    if not path.exists():
        part = path.with_name(f".{secrets.token_hex(8)}.part")
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as target:
            for file in job.files[:-1]:
                target.write(file, file.name)
            target.writestr(job.files[-1].name, public_record(job))
        part.replace(path)
    return path


def mask_file(job: Job, number: int) -> Path | None:
    """The file with the mask of the prompt ``number``, from 0."""
    entries = json.loads(job.files[-1].read_text(encoding="utf-8"))["prompts"]
    wanted = entries[number]["mask"] if 0 <= number < len(entries) else None
    return next((file for file in job.files[:-1] if file.name == wanted), None)


def completions(vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """Everything that the model knows, each with the wordings that mean it."""
    found = []
    for name in vocabulary.names:
        try:
            wordings = vocabulary.tree.wordings(vocabulary.tree.resolve_label(name))
        except PromptError:  # a class of a converted model that the tree has no place for
            wordings = []
        every = dict.fromkeys([*vocabulary.wordings.get(name, ()), *wordings])
        found.append({"name": name, "wordings": [text for text in every if text != name]})
    return found


def public_record(job: Job) -> str:
    """The record without the places of this machine's files."""
    record = json.loads(job.files[-1].read_text(encoding="utf-8"))
    record["image"]["path"] = None
    text = json.dumps(record, indent=1, ensure_ascii=False)
    return text.replace(f"{job.image.folder}{os.sep}", "")


def _image(desk: Desk, name: str) -> Image:
    image = desk.image(name)
    if image is None:
        raise HTTPException(404, "there is no such image (any more)")
    return image


def _done(desk: Desk, name: str) -> Job:
    job = _job(desk, name)
    if job.status != "done":
        raise HTTPException(409, f"the job is {job.status}")
    return job


def _job(desk: Desk, name: str) -> Job:
    job = desk.job(name)
    if job is None:
        raise HTTPException(404, "there is no such job (any more)")
    return job
