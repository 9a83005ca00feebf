"""A converted model's folder appears complete and verified, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from textseg3d.errors import UsageError
from textseg3d.zoo import verify_model


@contextmanager
def staged_model(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder beside ``target`` to write a model into; it takes the target's place if it verifies.

    Raises:
        UsageError: as :func:`check_target`, before anything is written.
        ModelError: if what was written is not a model.
    """
    check_target(target, overwrite=overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield staging
        verify_model(staging)
        if target.exists():
            shutil.rmtree(target)
        staging.chmod(0o755)
        os.replace(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_target(target: Path, *, overwrite: bool) -> None:
    """Raise where a model folder must not be written.

    Raises:
        UsageError: if the target exists, or holds other things than a model.
    """
    if not target.exists():
        return
    if not target.is_dir():
        raise UsageError(f"the output {target} is a file; name a folder that does not exist yet")
    empty = not any(target.iterdir())
    if not empty and not (target / "card.json").is_file():
        raise UsageError(f"the output {target} holds other things than a model; name another")
    if not empty and not overwrite:
        raise UsageError(f"the output {target} exists already; use --overwrite or another -o")
