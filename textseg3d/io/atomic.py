"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from textseg3d.errors import TextSegError, UsageError


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path in the folder of `path`, renamed to it when the block ends well.

    After an exception in the block nothing is left, and an older file at `path` is untouched.

    Raises:
        UsageError: the folder is not there or cannot be written to.
        TextSegError: the disk is full or fails while writing.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise UsageError(f"cannot write {target}: there is no folder {target.parent}")
    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except PermissionError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}") from error
    except OSError as error:
        raise TextSegError(f"writing {target} failed: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
