import argparse
import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from textseg3d import __version__
from textseg3d.cli.logs import progress_reporter
from textseg3d.cli.main import COMMANDS, main
from textseg3d.cli.parser import CommandParser
from textseg3d.errors import (
    Cancelled,
    CasesFailedError,
    InputError,
    MissingDependencyError,
    is_out_of_memory,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A command `boom` whose module raises ``module.error``."""
    from textseg3d.cli.main import Command

    module = types.ModuleType("textseg3d_test_boom")
    module.HELP = "Fails."  # type: ignore[attr-defined]
    module.add_arguments = lambda parser: None  # type: ignore[attr-defined]

    def run(args: argparse.Namespace) -> int:
        raise module.error

    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(COMMANDS, "boom", Command(module.__name__, "fails"))
    return module


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("bad scan"), 3, "bad scan"),
        (MissingDependencyError("no x"), 4, "no x"),
        (CasesFailedError("2 of 3"), 5, "2 of 3"),
        (Cancelled(), 130, "Cancelled"),
        (KeyboardInterrupt(), 130, "cancelled"),
        (MemoryError(), 4, "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 GB"), 4, "out of memory"),
        (ValueError("odd\nthing"), 1, "unexpected ValueError: odd thing; run again with --debug"),
    ],
)
def test_errors_are_one_line_with_their_exit_code(
    failing: types.ModuleType,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    words: str,
) -> None:
    failing.error = error  # type: ignore[attr-defined]
    assert main(["boom"]) == code
    text = capsys.readouterr().err
    assert text.startswith("textseg3d: error: ")
    assert words in text
    assert text.count("\n") == 1


def test_debug_shows_the_traceback(
    failing: types.ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    failing.error = ValueError("odd")  # type: ignore[attr-defined]
    assert main(["boom", "--debug"]) == 1
    text = capsys.readouterr().err
    assert "Traceback" in text
    assert text.splitlines()[-1] == "textseg3d: error: unexpected ValueError: odd"


def test_json_log_errors_are_objects(
    failing: types.ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    failing.error = InputError("bad scan")  # type: ignore[attr-defined]
    assert main(["--json-log", "boom"]) == 3
    expected = {"event": "error", "message": "bad scan", "exit_code": 3}
    assert json.loads(capsys.readouterr().err) == expected


def test_torch_out_of_memory_is_recognised() -> None:
    torch = pytest.importorskip("torch")
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shape mismatch"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predct"], "did you mean 'predict'"),
        (["--versoin"], "did you mean '--version'"),
        (["doctor", "--jso"], "did you mean '--json'"),
        (["doctor", "stray"], "unknown argument 'stray'"),
    ],
)
def test_wrong_use_is_exit_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(arguments) == 2
    text = capsys.readouterr().err
    assert words in text
    assert text.count("\n") == 1


def test_options_of_several_values_gather_them_when_repeated() -> None:
    parser = CommandParser(prog="x")
    parser.add_argument("-p", nargs="+", default=["lungs"])
    parser.add_argument("-s", nargs=3, type=float)
    parser.add_argument("-o")
    assert parser.parse([]).p == ["lungs"]
    once = parser.parse(["-p", "liver", "-s", "1", "2", "3", "-o", "a", "-p", "spleen", "heart"])
    assert once.p == ["liver", "spleen", "heart"]
    assert parser.parse(["-p", "liver"]).p == ["liver"]  # nothing is kept between two runs
    again = parser.parse(["-s", "1", "2", "3", "-s", "4", "5", "6", "-o", "a", "-o", "b"])
    assert (again.s, again.o) == ([4.0, 5.0, 6.0], "b")


def test_no_command_prints_the_overview(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    text = capsys.readouterr().err
    assert all(name in text for name in COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"textseg3d {__version__}\n"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: textseg3d {name}")
    for flag in ("--quiet", "--json-log", "--debug"):
        assert flag in out


def test_help_imports_no_torch() -> None:
    """Help of each command, in a fresh process: no heavy package may be imported for it."""
    code = (
        "import sys; from textseg3d.cli.main import COMMANDS, main\n"
        "heavy = {'torch', 'open_clip', 'SimpleITK', 'matplotlib', 'highdicom', 'scipy'}\n"
        "for name in ('', *sorted(COMMANDS)):\n"
        "    assert main([name, '--help'] if name else ['--help']) == 0, name\n"
        "    print('HEAVY', name, sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    found = [line for line in done.stdout.splitlines() if line.startswith("HEAVY ")]
    assert found == [f"HEAVY {name} []" for name in ("", *sorted(COMMANDS))]


def test_help_is_fast() -> None:
    """CPU time, as the wall clock depends on what else the machine does; the best of five."""
    import resource

    spent = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "textseg3d", "--help"], cwd=ROOT, check=True, capture_output=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_clean_up_and_exit_130(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "waiting.py").write_text(
        "import pathlib, time\n"
        "HELP = 'Waits.'\n"
        "def add_arguments(parser): pass\n"
        "def run(args):\n"
        "    half = pathlib.Path('half')\n"
        "    try:\n"
        "        half.touch()\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        "        half.unlink()\n"
    )
    code = (
        # A shell that starts a background job leaves SIGINT ignored; a person's shell doesn't.
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from textseg3d.cli import main as m; m.COMMANDS['wait'] = m.Command('waiting', ''); "
        "sys.argv = ['textseg3d', 'wait']; sys.exit(m.main())"
    )
    search = os.pathsep.join((str(ROOT), str(tmp_path)))
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": search},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for _ in range(600):
        if (tmp_path / "half").exists():
            break
        time.sleep(0.05)
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert error.count("\n") == 1
    assert not (tmp_path / "half").exists()


def test_progress_events(capsys: pytest.CaptureFixture[str]) -> None:
    args = argparse.Namespace(json_log=True, quiet=False)
    with progress_reporter(args, interval_seconds=3600) as on_progress:
        for done in range(5):
            on_progress("network", done + 1, 5)
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [event["done"] for event in events] == [1, 5]
    assert events[0] == {"event": "progress", "stage": "network", "done": 1, "total": 5}


def test_progress_is_silent_when_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    for args in (argparse.Namespace(quiet=True), argparse.Namespace(quiet=False)):
        with progress_reporter(args) as on_progress:
            on_progress("read", 1, 1)
    assert capsys.readouterr().err == ""


def test_closed_standard_output_is_no_traceback() -> None:
    done = subprocess.run(
        f"{sys.executable} -m textseg3d models list --json | true",
        shell=True, cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
