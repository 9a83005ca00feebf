"""Help pages: examples that parse, exit codes, and nothing that takes long."""

from __future__ import annotations

import argparse
import importlib
import io
import json
import shlex
import sys
import types

import pytest

from textseg3d.cli.examples import EXAMPLES
from textseg3d.cli.logs import progress_reporter
from textseg3d.cli.main import COMMANDS, main
from textseg3d.cli.parser import CommandParser, add_common_arguments

LINES = [(name, line) for name, pairs in EXAMPLES.items() for _, line in pairs]


@pytest.mark.parametrize(("name", "line"), LINES, ids=[line for _, line in LINES])
def test_each_example_parses(name: str, line: str) -> None:
    typed = line.removeprefix("source <(").removesuffix(")").partition(" > ")[0]
    program, command, *arguments = shlex.split(typed)
    assert (program, command) == ("textseg3d", name)
    module = importlib.import_module(COMMANDS[command].module)
    parser = CommandParser(prog=command)
    module.add_arguments(parser)
    add_common_arguments(parser)
    parser.parse(arguments)


@pytest.mark.parametrize("name", ["predict", "ui", "completion"])
def test_help_shows_examples_and_exit_codes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert "\nexamples:\n  # " in text
    assert f"\n  {EXAMPLES[name][0][1]}\n" in text  # on one line, to be copied
    assert "\nexit codes:\n" in text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of ten parts in 20 s: 80 s are left; the first call and the last say nothing."""
    clock = iter([0.0, 10.0, 20.0, 90.0, 100.0, 103.0])
    ours = types.SimpleNamespace(monotonic=lambda: next(clock))  # others go on with the real one
    monkeypatch.setattr("textseg3d.cli.logs.time", ours)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_reporter(argparse.Namespace(json_log=True)) as on_progress:
        for done in (0, 1, 2, 10):
            on_progress("network", done, 10)
        on_progress("network", 0, 10)  # the next scan
        on_progress("network", 1, 10)
    events = [json.loads(line) for line in sys.stderr.getvalue().splitlines()]
    assert [event.get("eta_s") for event in events] == [None, 90.0, 80.0, None, None, 27.0]
    clock = iter([0.0, 60.0])
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_reporter(argparse.Namespace()) as on_progress:
        on_progress("network", 0, 3)
        on_progress("network", 1, 3)
    assert "network 1/3, about 120 s left" in sys.stderr.getvalue()
