"""The one error hierarchy. Each class carries the exit code that the command line returns.

Exit codes: 0 ok, 1 unexpected, 2 bad usage, 3 bad input data, 4 out of memory or missing
dependency, 5 finished with failed cases, 130 cancelled. Messages are one line: what was got,
what was expected, what to do next.
"""

from __future__ import annotations

import errno

# What the system says when a disk is full, over quota, failing or read-only.
STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


class TextSegError(Exception):
    """Base of all errors that textseg3d raises on purpose."""

    exit_code = 1


class UsageError(TextSegError):
    """A command or a call was given arguments that do not go together."""

    exit_code = 2


class InputError(TextSegError):
    """Input data (scan, label, plans, model folder) is unreadable, inconsistent or unsafe."""

    exit_code = 3


class GeometryError(InputError):
    """Spacing, origin or direction of a scan is missing, contradictory or not a rigid frame."""


class PlansError(InputError):
    """A plans file has unknown keys, missing keys or values that do not fit together."""


class ModelError(InputError):
    """A model folder is incomplete, damaged or of another format."""


class PromptError(InputError):
    """A prompt is empty, too long or contradicts itself."""


class MissingDependencyError(TextSegError):
    """An optional package is needed for what was asked; the message names the extra."""

    exit_code = 4


class MemoryBudgetError(TextSegError):
    """The work does not fit into the memory that is there or was allowed."""

    exit_code = 4


class CasesFailedError(TextSegError):
    """A run over several cases ended, and some of them failed."""

    exit_code = 5


class Cancelled(TextSegError):  # noqa: N818 - the name is part of the public interface
    """The user, or a progress callback that returned False, stopped the work."""

    exit_code = 130


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` is the system's, NumPy's or torch's way to say that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in text
        or "not enough memory: you tried to allocate" in text
        or "CUDA out of memory" in text
    )


def storage_error(error: BaseException | None) -> OSError | None:
    """The full or failing disk that caused ``error``, if that is what caused it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
            return error
        error = error.__cause__ or error.__context__
    return None
