"""Images and jobs of the server: one worker thread, one model, limits on all that is kept."""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from textseg3d.errors import Cancelled, TextSegError
from textseg3d.server.decode import DecodeLimits, RefusedScanError, decode

if TYPE_CHECKING:
    from textseg3d.inference.segmenter import Segmenter
    from textseg3d.inference.session import ImageSession
    from textseg3d.io import Volume

log = logging.getLogger(__name__)
Status = Literal["waiting", "running", "done", "cancelled", "failed"]
ENDED = ("done", "cancelled", "failed")
MAX_EVENTS = 2000
MIN_EVENT_SECONDS = 0.1


@dataclass(frozen=True)
class Limits:
    """What a client may ask for.

    Attributes:
        body_bytes: of an uploaded scan.
        images: that are kept at once.
        jobs: that wait or are kept at once.
        prompts: of one job.
        idle_seconds: after which an image that nobody asks about is dropped, with its jobs.
        job_seconds: after which a job is stopped.
        chunk_seconds: that a client may be silent while it sends.
        decode_seconds: that a scan may take to be decoded.
        decode_bytes: of memory that this may take.
    """

    body_bytes: int = 2 << 30
    images: int = 8
    jobs: int = 64
    prompts: int = 200
    idle_seconds: float = 1800.0
    job_seconds: float = 3600.0
    chunk_seconds: float = 30.0
    decode_seconds: float = 300.0
    decode_bytes: int = 16 << 30


class FullError(TextSegError):
    """A limit on what is kept at once is reached."""


@dataclass
class Image:
    """An uploaded scan: its id, its folder (the scan is ``scan`` in it), when it was last used."""

    id: str
    folder: Path
    used: float
    closed: bool = False
    decoding: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def scan(self) -> Path:
        """The file as it was uploaded; its name is the server's."""
        return self.folder / "scan"


@dataclass
class Job:
    """Prompts about an image, and how far they are.

    Attributes:
        events: what the client is told, in order; the last one ends the job.
        files: of the result, by name; empty until it is done.
    """

    id: str
    image: Image
    prompts: tuple[str, ...]
    format: str
    status: Status = "waiting"
    events: list[dict[str, Any]] = field(default_factory=list)
    files: tuple[Path, ...] = ()
    cancelled: threading.Event = field(default_factory=threading.Event)
    stop_at: float = 0.0


class Desk:
    """Keeps images and jobs, and runs the jobs one after the other.

    Args:
        segmenter: the model.
        folder: private, for uploads and results.
        limits: see :class:`Limits`.
    """

    def __init__(self, segmenter: Segmenter, folder: Path, limits: Limits) -> None:
        self.segmenter, self.limits = segmenter, limits
        self._folder, self._clock = folder, time.monotonic
        self._lock = threading.RLock()
        self._images: dict[str, Image] = {}
        self._jobs: dict[str, Job] = {}
        self._warm: tuple[str, ImageSession] | None = None  # only the worker touches it
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="textseg3d-job")
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="textseg3d-idle", daemon=True)
        self._watcher.start()

    def new_image(self) -> Image:
        """An image without a scan yet.

        Raises:
            FullError: if too many are kept.
        """
        with self._lock:
            self.drop_idle()
            if len(self._images) >= self.limits.images:
                raise FullError("too many images are kept; delete one")
            name = secrets.token_hex(16)
            image = Image(name, self._folder / name, self._clock())
            image.folder.mkdir(mode=0o700)
            self._images[name] = image
            return image

    def image(self, name: str) -> Image | None:
        """An image that is kept; asking for it keeps it longer."""
        with self._lock:
            self.drop_idle()
            image = self._images.get(name)
            if image is not None:
                image.used = self._clock()
            return image

    def delete_image(self, image: Image) -> None:
        """Forget an image with its files and jobs; what runs is cancelled first."""
        with self._lock:
            self._images.pop(image.id, None)
            image.closed = True
            for job in [job for job in self._jobs.values() if job.image is image]:
                job.cancelled.set()
                del self._jobs[job.id]
        self._worker.submit(self._tidy, image)

    def volume(self, image: Image, check: Callable[[], None] | None = None) -> Volume:
        """The scan of an image; it is decoded, in a child process, when first asked for.

        Args:
            image: with its scan.
            check: called while the child works; what it raises ends the child.

        Raises:
            RefusedScanError: if the scan cannot be used.
            Cancelled: if the image was deleted meanwhile.
        """

        def go_on() -> None:
            if image.closed:
                raise Cancelled("the image was deleted")
            if check is not None:
                check()

        limits = DecodeLimits(self.limits.decode_seconds, self.limits.decode_bytes)
        with image.decoding:
            go_on()
            return decode(image.scan, image.folder, limits, go_on)

    def preview(self, image: Image) -> Path:
        """The scan as an unpacked NIfTI file on its own grid, for programs that show it.

        Raises:
            RefusedScanError: if the scan cannot be used.
            Cancelled: if the image was deleted meanwhile.
        """
        from textseg3d.io import write_volume_like

        path = image.folder / "preview.nii"
        if not path.exists():
            volume = self.volume(image)
            array = volume.array[0]
            if array.dtype.itemsize == 8:
                array = array.astype(np.float32)
            write_volume_like(path, array, volume)
        return path

    def drop_idle(self) -> None:
        """Delete images that were not asked about for too long and have no unfinished job."""
        with self._lock:
            busy = {job.image.id for job in self._jobs.values() if job.status not in ENDED}
            limit = self._clock() - self.limits.idle_seconds
            for image in list(self._images.values()):
                if image.used < limit and image.id not in busy:
                    self.delete_image(image)

    def new_job(self, image: Image, prompts: tuple[str, ...], format: str) -> Job:
        """Put a job into the queue.

        Raises:
            FullError: if too many wait.
        """
        with self._lock:
            for old in list(self._jobs.values()):
                if len(self._jobs) < self.limits.jobs:
                    break
                if old.status in ENDED:
                    del self._jobs[old.id]
                    shutil.rmtree(self._result_folder(old), ignore_errors=True)
            if len(self._jobs) >= self.limits.jobs:
                raise FullError("too many jobs wait")
            job = Job(secrets.token_hex(16), image, prompts, format)
            self._jobs[job.id] = job
            self._worker.submit(self._run, job)
            return job

    def job(self, name: str) -> Job | None:
        """A job that is kept; asking for it keeps its image longer."""
        with self._lock:
            job = self._jobs.get(name)
            if job is not None:
                job.image.used = self._clock()
            return job

    def cancel(self, job: Job) -> None:
        """Ask a job to stop; nothing happens to one that has ended."""
        job.cancelled.set()

    def close(self) -> None:
        """Stop all jobs and wait for the one that runs (at most one window)."""
        self._closing.set()
        self._watcher.join()
        with self._lock:
            for job in self._jobs.values():
                job.cancelled.set()
        self._worker.shutdown(wait=True, cancel_futures=True)
        self._close_warm()

    def _watch(self) -> None:
        """Drop idle images also while nobody asks anything."""
        while not self._closing.wait(min(30.0, self.limits.idle_seconds / 4)):
            self.drop_idle()

    def _run(self, job: Job) -> None:
        """Work on a job; whatever happens, its last event says so."""
        try:
            job.stop_at = self._clock() + self.limits.job_seconds
            self._check(job)
            job.status = "running"
            job.files = self._work(job)
            self._end(job, "done", {"event": "done"})
        except Cancelled:
            self._end(job, "cancelled", {"event": "cancelled"})
        except BaseException as error:
            number = error_id(error, f"job {job.id}")
            event = {"event": "error", "id": number, "kind": type(error).__name__}
            if isinstance(error, RefusedScanError):
                event |= {"kind": "InputError", "rule": error.rule, "expected": error.expected}
            self._end(job, "failed", event)

    def _work(self, job: Job) -> tuple[Path, ...]:
        from textseg3d.export import save_prediction
        from textseg3d.export.naming import output_names
        from textseg3d.server.arrays import masks_as_arrays

        shown: dict[str, tuple[float, float]] = {}  # stage -> (begin, last event)

        def on_progress(stage: str, done: int, total: int) -> bool:
            self._check(job)
            now = self._clock()
            begin, last = shown.get(stage, (now, -1e9))
            if done >= total or now - last >= MIN_EVENT_SECONDS:
                last = now
                event = {"event": "progress", "stage": stage, "done": done, "total": total}
                if done:
                    event["eta_s"] = round((now - begin) / done * (total - done), 1)
                if len(job.events) < MAX_EVENTS:
                    job.events.append(event)
            shown[stage] = (begin, last)
            return True

        session = self._session(job, on_progress)
        prediction = session.predict(list(job.prompts), on_progress=on_progress)
        folder = self._result_folder(job)
        format = "nrrd" if job.format == "blosc2" else job.format
        names = output_names(folder, job.image.scan, len(job.prompts), format)
        files = tuple(save_prediction(prediction, None, names=names, format=format))
        return masks_as_arrays(files, prediction) if job.format == "blosc2" else files

    def _session(self, job: Job, on_progress: Callable[[str, int, int], bool]) -> ImageSession:
        """The image side of a scan; that of the last one asked about is kept."""
        image = job.image
        if self._warm is not None and self._warm[0] == image.id:
            return self._warm[1]
        self._close_warm()
        on_progress("read", 0, 1)
        volume = self.volume(image, lambda: self._check(job))
        session = self.segmenter.set_image(volume, on_progress=on_progress)
        self._warm = (image.id, session)
        return session

    def _check(self, job: Job) -> None:
        if job.cancelled.is_set() or job.image.closed:
            raise Cancelled("the client asked for it")
        if self._clock() > job.stop_at:
            raise TimeoutError("the job took longer than it may")

    def _end(self, job: Job, status: Status, event: dict[str, Any]) -> None:
        job.events.append(event)
        job.status = status

    def _tidy(self, image: Image) -> None:
        if self._warm is not None and self._warm[0] == image.id:
            self._close_warm()
        shutil.rmtree(image.folder, ignore_errors=True)

    def _close_warm(self) -> None:
        if self._warm is not None:
            self._warm[1].close()
            self._warm = None

    def _result_folder(self, job: Job) -> Path:
        return job.image.folder / job.id


def error_id(error: BaseException, where: str) -> str:
    """Log an error, and return the number by which it is found in the log.

    Clients get the number only: messages of errors name files of this machine.
    """
    number = secrets.token_hex(6)
    log.error("error %s in %s: %s: %s", number, where, type(error).__name__, error)
    log.debug("error %s", number, exc_info=error)
    return number
