"""Log lines and progress on standard error, for a person or as one JSON object per line."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PROGRAM = "textseg3d"


class _HumanFormatter(logging.Formatter):
    """``textseg3d: message``, with the level in front of warnings and worse."""

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        clear = "\r\x1b[K" if sys.stderr.isatty() else ""  # a progress line may be there
        text = f"{clear}{PROGRAM}: {level}{record.getMessage()}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


class _JsonFormatter(logging.Formatter):
    """One object per line: event, level, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "event": "log",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def set_up_logging(args: argparse.Namespace) -> None:
    """Send this package's log to standard error as ``args`` asks (quiet, json_log, debug)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if wants_json(args) else _HumanFormatter())
    logger = logging.getLogger("textseg3d")
    logger.handlers[:] = [handler]
    logger.propagate = False
    if getattr(args, "debug", False):
        logger.setLevel(logging.DEBUG)
    else:
        logger.setLevel(logging.WARNING if getattr(args, "quiet", False) else logging.INFO)
    logging.captureWarnings(True)
    for name in ("py.warnings", "nibabel", "pydicom"):
        other = logging.getLogger(name)
        other.handlers[:] = [handler]
        other.propagate = False
        other.setLevel(logging.WARNING if getattr(args, "debug", False) else logging.ERROR)


def wants_json(args: argparse.Namespace) -> bool:
    """Whether the log is read by a program."""
    return bool(getattr(args, "json_log", False))


def emit(event: str, **fields: Any) -> None:
    """Write one JSON event, for example ``emit("progress", stage="network", done=1, total=8)``."""
    line = json.dumps({"event": event, **fields}, ensure_ascii=False)
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def report_error(message: str, exit_code: int, *, json_lines: bool) -> None:
    """Print the one line that an error gets, in the form that the log has."""
    line = " ".join(message.split())
    if json_lines:
        emit("error", message=line, exit_code=exit_code)
    else:
        sys.stderr.write(f"{PROGRAM}: error: {line}\n")
        sys.stderr.flush()


@contextmanager
def progress_reporter(
    args: argparse.Namespace, *, interval_seconds: float = 0.1
) -> Iterator[Callable[[str, int, int], None]]:
    """Give an ``on_progress(stage, done, total)`` that shows what the options ask for.

    With ``--json-log`` each call is one progress event (at most one per ``interval_seconds`` and
    stage, the last always); otherwise one line is redrawn, if standard error is a terminal. Both
    tell the seconds that are left in a stage (``eta_s``), once a part of it is done.
    """
    json_lines = wants_json(args)
    silent = getattr(args, "quiet", False) or not (json_lines or sys.stderr.isatty())
    shown: dict[str, float] = {}
    begun: dict[str, tuple[float, int]] = {}
    open_line = False

    def on_progress(stage: str, done: int, total: int) -> None:
        nonlocal open_line
        now = time.monotonic()
        if done <= begun.get(stage, (now, done))[1]:  # also when a stage comes again
            begun[stage] = (now, done)
        last = done >= total
        if silent or (not last and now - shown.get(stage, -1.0e9) < interval_seconds):
            return
        shown[stage] = now
        begin, first = begun[stage]
        left = None if last or done == first else (now - begin) / (done - first) * (total - done)
        if json_lines:
            eta = {} if left is None else {"eta_s": round(left, 1)}
            emit("progress", stage=stage, done=done, total=total, **eta)
            return
        words = f", about {left:.0f} s left" if left is not None and left >= 1 else ""
        sys.stderr.write(f"\r\x1b[K{PROGRAM}: {stage} {done}/{total}{words}")
        open_line = True
        sys.stderr.flush()

    try:
        yield on_progress
    finally:
        if open_line:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
