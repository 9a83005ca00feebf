"""One run: the scan to the server, the prompts, the answer into the scene.

The waiting is done in a thread that touches no node. What it has to say lies in a queue, which
:meth:`Logic.poll` empties; the window calls that from a timer, in the thread that owns the scene.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Sequence
from typing import Any

from . import mrml
from .backends import Backend
from .client import Client
from .errors import ServerError, Stopped, TextSegError
from .install import Installer
from .prompts import clean
from .scan import Scan, read_segments
from .signals import Signal

_SHARE = {"start": (0, 5), "send": (5, 15), "read": (15, 20), "preprocess": (20, 30),
          "network": (30, 90), "export": (90, 95), "fetch": (95, 100)}  # fmt: skip
_WORDS = {"start": "starting", "send": "sending the scan", "read": "reading the scan",
          "preprocess": "preparing", "network": "segmenting", "export": "writing",
          "fetch": "fetching the masks"}  # fmt: skip
CANCEL_SECONDS = 5.0


class Logic:
    """Runs prompts about volumes, one run at a time.

    Signals, all emitted by :meth:`poll`: ``progress(percent, text)``,
    ``finished(segmentation node, rows, ids of the new segments)``, ``failed(message)``,
    ``cancelled()``, ``log(line)``, ``connected(capabilities)``, ``installed(command)``.

    Args:
        scene: of MRML.
        backend: where to run; it may be changed between runs.
    """

    def __init__(self, scene: Any, backend: Backend) -> None:
        self.scene, self.backend = scene, backend
        self.progress = Signal("percent", "text")
        self.finished = Signal("segmentation", "rows", "ids")
        self.failed = Signal("message")
        self.cancelled = Signal()
        self.log = Signal("line")
        self.connected = Signal("capabilities")
        self.installed = Signal("command")
        self._said: queue.Queue[tuple[str, tuple[Any, ...]]] = queue.Queue()
        self._run: _Run | _Setup | None = None
        self._nodes: tuple[Any, Any, Any] = (None, None, None)
        self._sent: tuple[Any, str, Client] | None = None  # key of the scan, image's id, where

    @property
    def is_running(self) -> bool:
        """Whether a run has not ended yet; one that is being cancelled has not."""
        return self._run is not None

    def start(
        self, volume: Any, prompts: Sequence[str], segmentation: Any = None, table: Any = None
    ) -> None:
        """Begin a run; returns at once.

        Args:
            volume: volume node.
            prompts: texts; those that are empty or there twice are left out.
            segmentation: node that the segments are added to; None makes one.
            table: table node that the measurements are added to.

        Raises:
            TextSegError: if there is nothing to run, or a run is under way.
        """
        texts = list(dict.fromkeys(t for t in map(clean, prompts) if t))
        if self.is_running:
            raise TextSegError("a run is under way")
        if not texts:
            raise TextSegError("type what to look for, such as 'left kidney'")
        scan = mrml.scan_of(volume)
        self._nodes = (volume, segmentation, table)
        self._run = _Run(self, scan, texts)
        self._run.thread.start()

    def test(self) -> None:
        """Begin to connect, as a run without a scan; ``connected`` or ``failed`` follows.

        Raises:
            TextSegError: if a run is under way.
        """
        if self.is_running:
            raise TextSegError("a run is under way")
        self._run = _Run(self, None, [])
        self._run.thread.start()

    def install(self, installer: Installer, source: str, python: str) -> None:
        """Begin to make an environment, which the user has agreed to; see :class:`Installer`.

        Raises:
            TextSegError: if a run is under way.
        """
        if self.is_running:
            raise TextSegError("a run is under way")
        self._run = _Setup(self, installer, source, python)
        self._run.thread.start()

    def cancel(self) -> None:
        """End the run; returns at once, ``cancelled`` follows when no process is left."""
        if self._run is not None:
            self._run.cancel()

    def close(self) -> None:
        """End the run and the server, and wait for both."""
        run, self._run = self._run, None
        if run is not None:
            run.cancel()
            run.thread.join()
        self.forget()
        self.backend.stop()

    def forget(self) -> None:
        """Delete the scan on the server, which would keep it for a while."""
        sent, self._sent = self._sent, None
        if sent is not None:
            with contextlib.suppress(TextSegError):
                sent[2].sibling(CANCEL_SECONDS).delete(sent[1])

    def poll(self) -> None:
        """Emit what has happened since; to be called often, from the scene's thread."""
        while True:
            try:
                name, values = self._said.get_nowait()
            except queue.Empty:
                return
            if name in ("answer", "failed", "cancelled", "connected", "installed"):
                self._run = None
            if name == "answer":
                self._finish(*values)
            else:
                getattr(self, name).emit(*values)

    def say(self, name: str, *values: Any) -> None:
        """Put something into the queue; may be called from any thread."""
        self._said.put((name, values))

    def _finish(self, record: dict[str, Any], segments: Sequence[Any]) -> None:
        volume, chosen, table = self._nodes
        self._nodes = (None, None, None)
        try:
            if not self.scene.IsNodePresent(volume):
                raise TextSegError("the volume is gone, so there is no place for the segments")
            if chosen is not None and not self.scene.IsNodePresent(chosen):
                chosen = None
            node, ids = chosen, []
            if any(segment.voxels.size for segment in segments):
                node = mrml.segmentation_for(self.scene, volume, chosen)
                ids = mrml.add_segments(node, volume, segments)
            rows = mrml.measurements(record)
            if table is not None and self.scene.IsNodePresent(table):
                mrml.write_table(table, rows)
        except TextSegError as error:
            self.failed.emit(str(error))
            return
        for warning in record["warnings"]:
            self.log.emit(warning)
        self.progress.emit(100, "done")
        self.finished.emit(node, rows, ids)


class _Run:
    """The thread of one run."""

    def __init__(self, logic: Logic, scan: Scan | None, prompts: list[str]) -> None:
        self._logic, self._scan, self._prompts = logic, scan, prompts
        self._backend = logic.backend
        self._stopped, self._worked = threading.Event(), threading.Event()
        self._client: Client | None = None
        self._job: str | None = None
        self._canceller: threading.Thread | None = None
        self.thread = threading.Thread(target=self._main, name="TextSeg3D", daemon=True)

    def cancel(self) -> None:
        """Begin to end the run; once is enough."""
        if self._canceller is None:
            self._canceller = threading.Thread(target=self._end, name="TextSeg3D-cancel")
            self._canceller.start()
            self._stopped.set()

    def _end(self) -> None:
        """Ask the server first, so that a remote one stops working; then break off."""
        self._stopped.wait()
        client, job = self._client, self._job
        if client is not None:
            if job is not None:
                with contextlib.suppress(TextSegError):
                    client.sibling(CANCEL_SECONDS).cancel(job)
                self._worked.wait(CANCEL_SECONDS)
            client.abort()
        self._backend.stop()

    def _main(self) -> None:
        try:
            answer = self._work()
        except TextSegError as error:
            answer = ("failed", str(error))
        except Exception as error:
            answer = ("failed", f"unexpected {type(error).__name__}: {error}")
        self._worked.set()
        if self._stopped.is_set() and self._canceller is not None:
            self._canceller.join()  # no process is left when the user reads "cancelled"
            answer = ("cancelled",)
        self._logic.say(*answer)

    def _work(self) -> tuple[Any, ...]:
        self._show("start", 0, 1)
        client = self._backend.connect(self._stopped, lambda line: self._logic.say("log", line))
        self._client = client
        self._check()
        if self._scan is None:
            return ("connected", client.capabilities())
        for attempt in (1, 2):
            try:
                self._job = client.submit(self._image(client), self._prompts)
                break
            except ServerError as error:  # a server forgets a scan that was long not used
                self._logic._sent = None
                if error.status != 404 or attempt == 2:
                    raise
        self._follow(client)
        self._show("fetch", 0, 1)
        record, files = client.result(self._job)
        content = next((data for name, data in files.items() if name.endswith(".seg.nrrd")), None)
        return ("answer", record, read_segments(content, record) if content is not None else [])

    def _image(self, client: Client) -> str:
        """The id of the scan on the server, which keeps the last one."""
        sent, self._logic._sent = self._logic._sent, None
        if sent is not None and sent[2].url == client.url:
            if sent[0] == self._scan.key:
                self._logic._sent = sent
                return sent[1]
            client.delete(sent[1])
        self._show("send", 0, 1)
        image = client.upload(self._scan.encode())
        self._logic._sent = (self._scan.key, image, client)
        return image

    def _follow(self, client: Client) -> None:
        last: dict[str, Any] = {}
        for last in client.events(self._job):
            if last["event"] == "progress":
                self._show(last["stage"], last["done"], last["total"], last.get("eta_s"))
            elif last["event"] == "waiting":
                self._logic.say("log", "waiting for other jobs of the server")
        self._check()
        if last.get("event") == "cancelled":
            raise ServerError("the server cancelled the job")
        if last.get("event") != "done":
            number = last.get("id", "none")
            kind = last.get("kind", "it was deleted")
            raise ServerError(f"the job failed: {kind}; the server's log says why (id {number})")

    def _check(self) -> None:
        if self._stopped.is_set():
            raise Stopped("cancelled")

    def _show(self, stage: str, done: int, total: int, eta: float | None = None) -> None:
        low, high = _SHARE.get(stage, (90, 95))
        text = _WORDS.get(stage, stage)
        if total > 1:
            text += f", {done} of {total}"
        if eta:
            text += f", about {duration(eta)} left"
        self._logic.say("progress", round(low + (high - low) * done / max(total, 1)), text)


class _Setup:
    """The thread that makes an environment."""

    def __init__(self, logic: Logic, installer: Installer, source: str, python: str) -> None:
        self._logic, self._stopped = logic, threading.Event()
        self._arguments = (installer, source, python)
        self.thread = threading.Thread(target=self._main, name="TextSeg3D-setup", daemon=True)

    def cancel(self) -> None:
        """Begin to end it."""
        self._stopped.set()

    def _main(self) -> None:
        installer, source, python = self._arguments
        say = self._logic.say
        say("progress", 0, "installing, which may take several minutes")
        try:
            command = installer.install(
                source, python, lambda line: say("log", line), self._stopped
            )
            say("installed", command)
        except Stopped:
            say("cancelled")
        except TextSegError as error:
            say("failed", str(error))
        except Exception as error:
            say("failed", f"unexpected {type(error).__name__}: {error}")


def duration(seconds: float) -> str:
    """Seconds in words: "41 s", "3 min"."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
