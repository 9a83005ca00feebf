"""Server processes that misbehave, and environments: real processes, real pip, no network."""

import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest
from TextSeg3DLib.errors import ServerError, Stopped, TextSegError
from TextSeg3DLib.install import MARKER, Installer, run_lines
from TextSeg3DLib.process import LocalServer
from TextSeg3DLib.prompts import PromptBook

from tests.slicer.slicer_window import Store

READY = '{"event": "listening", "url": "http://127.0.0.1:1", "token": "t"}'


def server(tmp_path, body, log=lambda line: None):
    """A server whose program is ``body``."""
    program = tmp_path / "program.py"
    program.write_text(f"import os, subprocess, sys, time\n{body}\n")
    return LocalServer([sys.executable, str(program)], log=log)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_it_starts_and_stops(tmp_path):
    lines = []
    made = server(
        tmp_path,
        f"print('hello'); sys.stderr.buffer.write(b'\\xff caf\\xe9\\n'); sys.stderr.flush()\n"
        f"print('{READY}', flush=True); sys.stdin.read()",
        lines.append,
    )
    assert made.start(threading.Event()) == ("http://127.0.0.1:1", "t")
    pid = made.pid
    deadline = time.monotonic() + 20
    while len(lines) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sorted(lines) == ["hello", "\ufffd caf\ufffd"]  # and the line with the token is not
    assert made.is_alive()
    made.stop()
    made.stop()
    assert not is_alive(pid)


def test_a_grandchild_and_a_deaf_process_are_killed(tmp_path):
    note = tmp_path / "pids"
    made = server(
        tmp_path,
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(note)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        f"print('{READY}', flush=True); time.sleep(600)",
    )
    made.start(threading.Event())
    pids = [int(text) for text in note.read_text().split()]
    made.stop(seconds=0.2)
    deadline = time.monotonic() + 20
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(is_alive, pids))


@pytest.mark.skipif(os.name == "nt", reason="has no SIGKILL")
def test_what_goes_wrong_at_the_start_is_said(tmp_path):
    for body, message in (
        ("sys.exit('no module named textseg3d')", "no module named textseg3d"),
        ("os.kill(os.getpid(), 9)", "it wrote nothing"),
    ):
        with pytest.raises(ServerError, match=message):
            server(tmp_path, body).start(threading.Event())
    with pytest.raises(ServerError, match="cannot be run"):
        LocalServer([str(tmp_path / "nothing")]).start(threading.Event())
    hanging = server(tmp_path, "time.sleep(600)")
    with pytest.raises(ServerError, match="did not start"):
        hanging.start(threading.Event(), seconds=0.3)
    stopped = threading.Event()
    threading.Timer(0.3, stopped.set).start()
    hanging = server(tmp_path, "sys.stdin.read()")
    with pytest.raises(Stopped):
        hanging.start(stopped)
    assert hanging.pid is None


@pytest.mark.skipif(os.name == "nt", reason="has no SIGKILL")
def test_the_server_ends_when_the_program_that_started_it_is_killed(tmp_path):
    """The real command: a parent that is killed leaves no server behind."""
    from tests.model_factory import make_model
    from tests.slicer.test_segmentation import environment

    model = make_model(tmp_path / "tiny")
    command = [sys.executable, "-m", "textseg3d", "serve", "--stop-with-stdin", "--model", model]
    parent = subprocess.Popen(
        [sys.executable, "-c",
         "import subprocess, sys\n"
         f"child = subprocess.Popen({list(map(str, command))!r}, stdin=subprocess.PIPE)\n"
         "print(child.pid, flush=True); child.wait()"],
        stdout=subprocess.PIPE, env=environment(), text=True,
    )  # fmt: skip
    pid = int(parent.stdout.readline())
    assert "listening" in parent.stdout.readline()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 60
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    parent.stdout.close()


def wheel(folder, text="print('textseg3d 9.9')"):
    """A package of the name, as small as pip takes."""
    path = folder / "textseg3d-9.9-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("textseg3d/__init__.py", "")
        archive.writestr("textseg3d/__main__.py", text)
        info = "textseg3d-9.9.dist-info"
        archive.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: textseg3d\nVersion: 9.9\nProvides-Extra: server\n",
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def test_an_environment_of_its_own(tmp_path):
    """Real venv, real pip: what it makes is found, a failure leaves nothing."""
    empty = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    installer = Installer(tmp_path / "settings" / "environment", empty)
    assert installer.find() is None
    lines, never = [], threading.Event()
    offline = ("--no-index",)
    command = installer.install(str(wheel(tmp_path)), sys.executable, lines.append, never, offline)
    assert any("Successfully installed textseg3d-9.9" in line for line in lines)
    assert installer.find() == command == [str(installer.folder / "bin/python"), "-m", "textseg3d"]
    assert installer.version(command) == "textseg3d 9.9"
    assert (installer.folder / MARKER).is_file()
    with pytest.raises(TextSegError, match="failed"):
        installer.install("no-such-package", sys.executable, lines.append, never, offline)
    assert not installer.folder.exists()
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Stopped):
        installer.install("x", sys.executable, lines.append, stopped, offline)
    assert not installer.folder.exists()
    installer.folder.mkdir()
    (installer.folder / "thesis.txt").write_text("years of work")
    with pytest.raises(TextSegError, match="no environment of this module"):
        installer.install("x", sys.executable, lines.append, never, offline)
    assert (installer.folder / "thesis.txt").exists()


def test_where_textseg3d_is_looked_for(tmp_path):
    beside = tmp_path / "textseg3d"
    beside.write_text("#!/bin/sh\necho textseg3d 0.1\n")
    beside.chmod(0o755)
    installer = Installer(tmp_path / "environment", {"PATH": str(tmp_path)})
    assert installer.find() == [str(beside)]
    assert installer.find(sys.executable) == [sys.executable, "-m", "textseg3d"]
    assert installer.find(str(Path(sys.prefix)))[1:] == ["-m", "textseg3d"]
    with pytest.raises(TextSegError, match="neither the program"):
        installer.find(str(tmp_path / "gone"))
    with pytest.raises(TextSegError, match=r"no Python 3\.10"):
        installer.base_python()
    with pytest.raises(TextSegError, match="is no textseg3d"):
        installer.version(["/bin/echo"])
    slicers = tmp_path / "Slicer-5.10" / "bin"
    slicers.mkdir(parents=True)
    (slicers / "python3").write_text("#!/bin/sh\necho 3.12\n")
    (slicers / "python3").chmod(0o755)
    with pytest.raises(TextSegError, match=r"no Python 3\.10"):
        Installer(tmp_path, {"PATH": str(slicers)}).base_python()
    found, version = Installer(tmp_path, dict(os.environ)).base_python()
    assert Path(found).exists()
    assert tuple(map(int, version.split("."))) >= (3, 10)


def test_a_program_is_killed_when_the_user_stops(tmp_path):
    stopped = threading.Event()
    threading.Timer(0.3, stopped.set).start()
    start = time.monotonic()
    with pytest.raises(Stopped):
        list(run_lines([sys.executable, "-c", "import time; time.sleep(60)"], None, stopped))
    assert time.monotonic() - start < 60


def test_completion_history_and_presets():
    store = Store()
    phrases = ["liver", "lesion of liver", "left kidney", "right kidney", "left lung"]
    book = PromptBook(store, phrases)
    assert book.complete("li") == ["liver", "lesion of liver"]
    assert book.complete("KID le") == ["left kidney"]
    assert book.complete("iver") == []
    assert book.complete("") == []
    book.remember(["left  lung", "LLL nodule"])
    assert book.complete("") == ["left lung", "LLL nodule"]
    assert book.complete("l")[:3] == ["left lung", "LLL nodule", "liver"]
    book.know(["spleen"])
    assert book.complete("sp") == ["spleen"]
    book.remember(f"prompt {n}" for n in range(200))
    assert len(book.history()) == 100
    book.forget()
    assert book.history() == []
    book.save_preset("Lungs", ["left lung"])
    book.save_preset("mine", [" liver "])
    assert PromptBook(store).presets()["mine"] == ("liver",)
    assert PromptBook(store).presets()["Lungs"] == ("left lung",)
    book.save_preset("Lungs", [])
    assert book.presets()["Lungs"] == ("left lung", "right lung")  # the built-in one is back
    for damage in ("{", '{"a": 1}', "[1, null]", '"x"'):
        store.setValue("TextSeg3D/presets", damage)
        store.setValue("TextSeg3D/history", damage)
        assert "Lungs" in book.presets()
        assert book.history() == []
