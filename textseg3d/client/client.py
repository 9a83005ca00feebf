"""`Client`: upload a scan, ask prompts with progress, cancel."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import ArrayLike, NDArray

from textseg3d.client.frames import pack_scan, unpack_mask
from textseg3d.client.nrrd import decode_mask, encode
from textseg3d.errors import Cancelled, InputError, TextSegError, UsageError

OnProgress = Callable[[str, int, int], "bool | None"]


class ServerError(TextSegError):
    """The server refused or failed.

    Attributes:
        status: of HTTP, 0 if a job failed or the server cannot be reached.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Result(Mapping[str, "dict[str, Any]"]):
    """The answer to one job: prompt text → its entry in the record.

    Attributes:
        record: the JSON record, as the command line writes it.
        files: content of all files, by name, the record included.
    """

    record: dict[str, Any]
    files: dict[str, bytes] = field(repr=False)

    def __getitem__(self, text: str) -> dict[str, Any]:
        for entry in self.record["prompts"]:
            if entry["text"] == text:
                return dict(entry)
        raise KeyError(text)

    def __iter__(self) -> Iterator[str]:
        return (entry["text"] for entry in self.record["prompts"])

    def __len__(self) -> int:
        return len(self.record["prompts"])

    def array(self, text: str) -> NDArray[np.bool_]:
        """The mask of a prompt, of a job with the format "nrrd" or "blosc2".

        Bool [k, j, i] in file order; "blosc2" needs the package of that name.

        Of a scan that was sent as an array this is [z, y, x] of that array.

        Raises:
            UsageError: if the prompt has no mask, or the job had another format.
        """
        name = self[text]["mask"]
        if name is not None and name.endswith(".b2nd"):
            return unpack_mask(self.files[name])
        if name is None or not name.endswith(".nrrd") or name.endswith(".seg.nrrd"):
            raise UsageError(
                f"{text!r} has no mask as array; ask with format='nrrd' or format='blosc2'"
            )
        return decode_mask(self.files[name])

    def save(self, folder: str | Path) -> list[Path]:
        """Write all files into a folder, the record last."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (target / name).write_bytes(content)
        return [target / name for name in self.files]


class Client:
    """Talks to one server. One image is current; prompts are about it.

    Args:
        url: as `textseg3d serve` prints it.
        token: the same.
        timeout: seconds that the server may be silent.
    """

    def __init__(self, url: str, token: str, *, timeout: float = 60.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{url!r} is no address of a server; expected http://host:port")
        self._parts, self._token, self._timeout = parts, token, timeout
        self._image: str | None = None
        self._job: str | None = None

    def capabilities(self) -> dict[str, Any]:
        """Model, concepts, formats and limits of the server."""
        return dict(self._json("GET", "/capabilities"))

    def upload(self, scan: str | Path | bytes) -> str:
        """Send a scan.

        Args:
            scan: a file (NIfTI, NRRD, MetaImage, one DICOM file or a zip of them), a DICOM folder
                (sent as a zip), or the content of a file.

        Returns:
            The id of the image, for :meth:`set_image` and :meth:`delete`.

        Raises:
            InputError: if there is no such file.
            ServerError: if the server refuses it.
        """
        if isinstance(scan, bytes):
            body = scan
        elif Path(scan).is_dir():
            body = _zipped(Path(scan))
        else:
            try:
                body = Path(scan).read_bytes()
            except OSError as error:
                raise InputError(f"{scan} cannot be read: {error.strerror}") from None
        return str(self._json("POST", "/images", body)["image"])

    def set_image(
        self,
        scan: str | Path | NDArray[Any],
        *,
        spacing_mm: tuple[float, float, float] | None = None,
        direction: ArrayLike | None = None,
        origin_mm: tuple[float, float, float] | None = None,
        blosc2: bool = False,
    ) -> str:
        """Upload a scan and make it current; the one before is deleted on the server.

        Args:
            scan: see :meth:`upload`, or an array [z, y, x].
            spacing_mm, direction, origin_mm: of an array, see :func:`textseg3d.client.nrrd.encode`.
            blosc2: send an array packed by that package, which is quicker than gzip.

        Returns:
            The id of the image.

        Raises:
            UsageError: if an array has no spacing, or a file has one.
            ServerError: if the server refuses it.
        """
        is_array = isinstance(scan, np.ndarray)
        if is_array != (spacing_mm is not None):
            raise UsageError("spacing_mm=(z, y, x) goes with an array, and only with an array")
        before, self._image = self._image, None
        if before is not None:
            self.delete(before)
        if isinstance(scan, np.ndarray) and spacing_mm is not None:
            pack = pack_scan if blosc2 else encode
            self._image = self.upload(pack(scan, spacing_mm, direction, origin_mm))
        else:
            self._image = self.upload(scan)  # type: ignore[arg-type]
        return self._image

    def predict(
        self,
        prompts: str | Sequence[str],
        *,
        format: str = "nrrd",
        on_progress: OnProgress | None = None,
    ) -> Result:
        """Ask prompts about the current image and wait.

        Args:
            prompts: one text or several.
            format: of the masks: "nrrd", "nifti", "seg.nrrd", "blosc2".
            on_progress: ``(stage, done, total)``; returning False cancels.

        Raises:
            UsageError: if no image was set.
            Cancelled: if ``on_progress`` returned False, or :meth:`cancel` was called.
            ServerError: if the server refuses or fails.
        """
        if self._image is None:
            raise UsageError("there is no image; call set_image first")
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        body = {"image": self._image, "prompts": texts, "format": format}
        job = str(self._json("POST", "/jobs", json.dumps(body).encode())["job"])
        self._job = job
        last: dict[str, Any] = {}
        for event in self.events(job):
            last = event
            if on_progress is not None and event["event"] == "progress":
                answer = on_progress(event["stage"], event["done"], event["total"])
                if answer is False:
                    self.cancel()
        if last.get("event") == "cancelled":
            raise Cancelled("the job was cancelled")
        if last.get("event") != "done":
            number = last.get("id", "none")
            rule = f", rule {last['rule']}: {last['expected']}" if "rule" in last else ""
            raise ServerError(
                f"the job failed ({last.get('kind', 'it was deleted')}{rule}); the server's log "
                f"says why under the id {number}"
            )
        return _result(self._request("GET", f"/jobs/{job}/result"))

    def events(self, job: str) -> Iterator[dict[str, Any]]:
        """The events of a job as they come, from its first to its last."""
        connection = self._connection()
        try:
            response = self._send(connection, "GET", f"/jobs/{job}/events", None)
            while line := response.readline():
                yield json.loads(line)
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(f"the connection to the server broke: {error}") from None
        finally:
            connection.close()

    def cancel(self) -> None:
        """Stop the job that runs, from any thread; nothing happens if there is none."""
        if self._job is not None:
            self._json("POST", f"/jobs/{self._job}/cancel", b"")

    def delete(self, image: str) -> None:
        """Remove an image with its jobs from the server; one that is gone already is no error."""
        try:
            self._request("DELETE", f"/images/{image}")
        except ServerError as error:
            if error.status != 404:
                raise

    def close(self) -> None:
        """Delete the current image."""
        image, self._image = self._image, None
        if image is not None:
            self.delete(image)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _json(self, method: str, path: str, body: bytes | None = None) -> Any:
        return json.loads(self._request(method, path, body))

    def _request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        connection = self._connection()
        try:
            return self._send(connection, method, path, body).read()
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(f"the server at {self._parts.netloc} failed: {error}") from None
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        kind = kinds[self._parts.scheme]
        return kind(str(self._parts.hostname), self._parts.port, timeout=self._timeout)

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
    ) -> http.client.HTTPResponse:
        headers = {"Authorization": f"Bearer {self._token}"}
        # A server that refuses a body answers before all of it is sent; read what it said.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, self._parts.path.rstrip("/") + path, body, headers)
        response = connection.getresponse()
        if response.status >= 400:
            try:
                reason = json.loads(response.read())
                text = f"{reason['error']} {reason.get('id', '')}".strip()
            except (ValueError, KeyError, TypeError):
                text = response.reason
            raise ServerError(f"the server said {response.status}: {text}", response.status)
        return response


def _zipped(folder: Path) -> bytes:
    """All files of a folder in a zip, under numbers for names."""
    stream = io.BytesIO()
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    if not files:
        raise InputError(f"{folder} holds no file; give a scan")
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target:
        for number, file in enumerate(files):
            target.write(file, f"{number:06d}")
    return stream.getvalue()


def _result(content: bytes) -> Result:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {Path(name).name: archive.read(name) for name in archive.namelist()}
    record = next(json.loads(files[name]) for name in reversed(files) if name.endswith(".json"))
    return Result(record, files)
