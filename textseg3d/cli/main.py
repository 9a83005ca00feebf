"""The `textseg3d` command: a table of sub-commands, of which only the chosen one is imported."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import traceback
from typing import NamedTuple

import textseg3d
from textseg3d.cli.examples import HelpFormatter, epilog
from textseg3d.cli.logs import report_error, set_up_logging
from textseg3d.cli.parser import COMMON_FLAGS, CommandParser, add_common_arguments
from textseg3d.errors import (
    Cancelled,
    MemoryBudgetError,
    TextSegError,
    UsageError,
    is_out_of_memory,
)
from textseg3d.suggest import did_you_mean


class Command(NamedTuple):
    """Where a sub-command lives and its line in the overview.

    The module has ``HELP: str``, ``add_arguments(parser)`` and ``run(args) -> int``.
    """

    module: str
    summary: str


COMMANDS: dict[str, Command] = {
    "predict": Command("textseg3d.cli.predict", "segment what a prompt describes in a scan"),
    "ground": Command("textseg3d.cli.ground", "look up the findings of a report in a scan"),
    "prompt": Command("textseg3d.cli.prompt", "show how a prompt is understood, without a scan"),
    "check": Command("textseg3d.cli.check", "check whether a scan is safe to segment"),
    "import": Command("textseg3d.cli.import_dataset", "datasets of other layouts as nnU-Net's"),
    "plan": Command("textseg3d.cli.plan", "fingerprint and plans of a dataset, as nnU-Net's"),
    "preprocess": Command("textseg3d.cli.preprocess", "bring a planned dataset to its grid"),
    "plan_and_preprocess": Command("textseg3d.cli.plan_and_preprocess", "both, in one go"),
    "synthesize": Command("textseg3d.cli.synthesize", "make labelled volumes with findings"),
    "train": Command("textseg3d.cli.train", "train a model from plans and labelled scans"),
    "evaluate": Command("textseg3d.cli.evaluate", "score predicted masks or a model"),
    "find_best_configuration": Command(
        "textseg3d.cli.find_best_configuration", "choose configuration, ensemble, postprocessing"
    ),
    "ensemble": Command("textseg3d.cli.ensemble", "average the probabilities of predictions"),
    "determine_postprocessing": Command(
        "textseg3d.cli.determine_postprocessing", "decide which components to remove"
    ),
    "apply_postprocessing": Command(
        "textseg3d.cli.apply_postprocessing", "remove them from label maps"
    ),
    "serve": Command("textseg3d.cli.serve", "keep a model warm for other programs"),
    "ui": Command("textseg3d.cli.ui", "open the page for browsers"),
    "models": Command("textseg3d.cli.models", "list, describe, download and verify models"),
    "convert": Command("textseg3d.cli.convert", "make a model folder of an nnU-Net's weights"),
    "bench": Command("textseg3d.cli.bench", "measure stages, memory, exactness, and peers"),
    "completion": Command("textseg3d.cli.completion", "a script for completion in a shell"),
    "doctor": Command("textseg3d.cli.doctor", "show versions, device, memory, what is missing"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code (the table is in `textseg3d/errors.py`)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if argv is None:
        _clean_up_on_sigterm()
    try:
        return _run(list(arguments))
    except BaseException as error:
        return _failed(error, debug="--debug" in arguments, json_lines="--json-log" in arguments)


def _run(arguments: list[str]) -> int:
    position = next((i for i, a in enumerate(arguments) if a not in COMMON_FLAGS), None)
    if position is None or arguments[position].startswith("-"):
        parser = _overview()
        parser.parse([a for a in arguments if a not in COMMON_FLAGS])
        parser.print_help(sys.stderr)
        return UsageError.exit_code
    name = arguments.pop(position)
    command = COMMANDS.get(name)
    if command is None:
        known = ", ".join(COMMANDS)
        raise UsageError(f"unknown command {name!r}{did_you_mean(name, COMMANDS)} (known: {known})")
    module = importlib.import_module(command.module)
    parser = CommandParser(
        prog=f"textseg3d {name}",
        description=module.HELP,
        epilog=epilog(name),
        formatter_class=HelpFormatter,
    )
    module.add_arguments(parser)
    add_common_arguments(parser)
    args = parser.parse(arguments)
    set_up_logging(args)
    code = int(module.run(args))
    sys.stdout.flush()
    return code


def _clean_up_on_sigterm() -> None:
    """Let SIGTERM raise, as Ctrl-C does, so that half-written files are removed on the way out."""
    owner = os.getpid()

    def terminated(number: int, frame: object) -> None:
        if os.getpid() != owner:  # a forked worker inherits this handler; it has nothing to tidy
            os._exit(128 + number)
        raise Cancelled("terminated")

    signal.signal(signal.SIGTERM, terminated)


def _overview() -> CommandParser:
    width = max(map(len, COMMANDS)) + 2
    lines = "\n".join(f"  {name:<{width}}{c.summary}" for name, c in COMMANDS.items())
    parser = CommandParser(
        prog="textseg3d",
        usage="textseg3d COMMAND …",
        description="Text-promptable 3-D segmentation of medical images.",
        epilog=f"commands:\n{lines}\n\n"
        "`textseg3d COMMAND --help` describes one. Research use only, not a medical device.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"textseg3d {textseg3d.__version__}")
    return parser


def _failed(error: BaseException, *, debug: bool, json_lines: bool) -> int:
    """Print one line for ``error`` (after a traceback if ``debug``) and return its exit code."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, BrokenPipeError):  # the reader of standard output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if debug:
        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt):
        message, code = "cancelled", Cancelled.exit_code
    elif isinstance(error, TextSegError):
        message, code = str(error) or type(error).__name__, error.exit_code
    elif is_out_of_memory(error):
        code = MemoryBudgetError.exit_code
        detail = str(error).partition("\n")[0] or "no more memory could be had"
        message = (
            f"out of memory ({detail}); close other programs, or ask for fewer prompts at once "
            "or another --device"
        )
    else:
        hint = "" if debug else "; run again with --debug to see where"
        message, code = f"unexpected {type(error).__name__}: {error}{hint}", 1
    report_error(message, code, json_lines=json_lines)
    return code


if __name__ == "__main__":
    sys.exit(main())
