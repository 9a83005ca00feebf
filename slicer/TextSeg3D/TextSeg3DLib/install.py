"""Finds a `textseg3d` on this computer, or makes an environment of its own for one.

Slicer brings its own numpy, SimpleITK and requests, and breaks when a package replaces them. So
nothing is ever installed into Slicer's Python: the environment is a folder that can be deleted.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from .errors import Stopped, TextSegError
from .process import kill_tree

OLDEST_PYTHON = (3, 10)
MARKER = "textseg3d-slicer.json"
_PYTHONS = ("python3.12", "python3.11", "python3.13", "python3.10", "python3", "python", "py")
_PROBE = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
_NO_WINDOW = {"creationflags": 0x08000000} if sys.platform == "win32" else {}
Run = Callable[..., Iterator[str]]


def checkout() -> Path | None:
    """The sources that this extension lies in, if it does."""
    for folder in Path(__file__).resolve().parents:
        if (folder / "setup.py").is_file() and (folder / "textseg3d" / "__init__.py").is_file():
            return folder
    return None


def run_lines(
    command: list[str], environment: Mapping[str, str] | None, stopped: threading.Event
) -> Iterator[str]:
    """Run a program and yield its lines.

    Raises:
        TextSegError: if it fails.
        Stopped: if ``stopped`` was set; the program is killed.
    """
    apart = {"start_new_session": True} if sys.platform != "win32" else _NO_WINDOW
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=None if environment is None else dict(environment),
            cwd=Path(sys.executable).parent,  # `-m` looks there first, so not where anybody writes
            **apart,
        )  # fmt: skip
    except OSError as error:
        raise TextSegError(f"{command[0]} cannot be run: {error}") from None
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            if stopped.is_set():
                kill_tree(process)
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    last = ""
    try:
        for raw in process.stdout:
            last = raw.decode("utf-8", "replace").rstrip()
            yield last
    finally:
        if process.poll() is None and stopped.is_set():
            kill_tree(process)
        code = process.wait()
        process.stdout.close()
        done.set()
        watcher.join()
    if stopped.is_set():
        raise Stopped("cancelled")
    if code:
        raise TextSegError(f"{Path(command[0]).name} failed ({code}): {last}")


class Installer:
    """Where textseg3d is, and how it gets there.

    Args:
        folder: for the environment; need not exist.
        environment: for child processes; in Slicer the one without Slicer's own paths.
        run: runs a program, see :func:`run_lines`.
    """

    def __init__(
        self, folder: Path, environment: Mapping[str, str] | None = None, run: Run = run_lines
    ) -> None:
        self.folder = Path(folder)
        self._environment = environment
        self._run = run

    def find(self, chosen: str = "") -> list[str] | None:
        """The command that runs textseg3d, or None.

        Args:
            chosen: by the user: the program, a Python, or the folder of an environment; empty
                looks into the own environment and on the search path.

        Raises:
            TextSegError: if ``chosen`` is none of these.
        """
        if chosen.strip():
            found = command_of(Path(chosen.strip()).expanduser())
            if found is None:
                raise TextSegError(
                    f"{chosen} is neither the program textseg3d, nor a Python, nor an environment"
                )
            return found
        if (self.folder / MARKER).is_file():
            found = command_of(self.folder)
            if found is not None:
                return found
        search = None if self._environment is None else self._environment.get("PATH", "")
        program = shutil.which("textseg3d", path=search)
        return [program] if program else None

    def version(self, command: list[str]) -> str:
        """What a command says of its version.

        Raises:
            TextSegError: if it is no textseg3d.
        """
        lines = list(self._run([*command, "--version"], self._environment, threading.Event()))
        if not lines or "textseg3d" not in lines[-1]:
            raise TextSegError(f"{' '.join(command)} is no textseg3d")
        return lines[-1]

    def base_python(self) -> tuple[str, str]:
        """A Python that can make an environment, and its version.

        Raises:
            TextSegError: if there is none on the search path.
        """
        search = None if self._environment is None else self._environment.get("PATH", "")
        for name in _PYTHONS:
            program = shutil.which(name, path=search)
            if program is None or _is_slicers(program):
                continue
            try:
                said = list(
                    self._run([program, "-c", _PROBE], self._environment, threading.Event())
                )
                version = tuple(int(n) for n in said[-1].split("."))
            except (TextSegError, IndexError, ValueError):
                continue
            if version >= OLDEST_PYTHON:
                return program, said[-1]
        raise TextSegError(
            "no Python 3.10 or newer was found to make an environment with; install one from "
            "python.org (on Debian also python3-venv), or choose a textseg3d that is there"
        )

    def describe(self, source: str, python: str) -> str:
        """What :meth:`install` would do, for the user to agree to."""
        return (
            f"TextSeg3D runs outside of Slicer, in an environment of its own. With {python}, "
            f"this makes the folder\n\n{self.folder}\n\nand installs into it\n\n{source}\n\n"
            "with the packages that it needs (PyTorch among them: several gigabytes from the "
            "package index). Nothing is installed into Slicer's own Python. Deleting the folder "
            "removes all of it.\n\nResearch use only, not a medical device."
        )

    def install(
        self,
        source: str,
        python: str,
        log: Callable[[str], None],
        stopped: threading.Event,
        options: tuple[str, ...] = (),
    ) -> list[str]:
        """Make the environment anew and install into it; the user has agreed.

        Args:
            source: what pip installs: a folder of sources, a wheel, or a requirement.
            python: that makes the environment.
            log: called with each line of output.
            stopped: setting it ends the work and removes what was made.
            options: more arguments of ``pip install``.

        Returns:
            The command that runs textseg3d.

        Raises:
            TextSegError: if it fails; nothing is left then.
            Stopped: if ``stopped`` was set.
        """
        marker = self.folder / MARKER
        if self.folder.exists() and not marker.is_file() and any(self.folder.iterdir()):
            raise TextSegError(f"{self.folder} is no environment of this module; remove it first")
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            made = [python, "-m", "venv", str(self.folder)]
            inner = str(python_of(self.folder))
            pip = [inner, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
            pip += ["--progress-bar", "off", *options, with_server(source)]
            for command in (made, pip):
                for line in self._run(command, self._environment, stopped):
                    log(line)
            command = [inner, "-m", "textseg3d"]
            version = self.version(command)
            text = json.dumps({"source": source, "version": version}, indent=1)
            marker.write_text(text + "\n", encoding="utf-8")  # last: it says that all is there
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return command


def with_server(source: str) -> str:
    """A source together with the packages that serving needs."""
    return source if "[" in source else f"{source}[server]"


def python_of(folder: Path) -> Path:
    """The Python of an environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def command_of(path: Path) -> list[str] | None:
    """The command that runs textseg3d, of a program, a Python or an environment."""
    if path.is_dir():
        python = python_of(path)
        return [str(python), "-m", "textseg3d"] if python.is_file() else None
    if not path.is_file():
        return None
    if path.stem.lower().startswith("python"):
        return [str(path), "-m", "textseg3d"]
    return [str(path)]


def _is_slicers(program: str) -> bool:
    """Whether a Python lies in a folder of Slicer's, which must stay as it is."""
    return "slicer" in os.path.realpath(program).lower()
