"""The bundled tree's lexicon kept on disk between processes: making it takes about a second.

The file lies in the user's folder (``TEXTSEG3D_HOME``, or a cache folder). Its name holds a hash of
every source and data file of ``textseg3d.text`` and of the Python version, so a change of any of
them makes a new file. It is read with marshal, which makes plain values only; what is damaged or
cannot be written is as if it were not there.
"""

from __future__ import annotations

import hashlib
import logging
import marshal
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textseg3d.errors import TextSegError
from textseg3d.io.atomic import atomic_path
from textseg3d.text.knowledge import Form

if TYPE_CHECKING:
    from textseg3d.text.grammar.lexicon import Lexicon

Content = dict[str, Any]
Tables = Mapping[str, Mapping[Any, tuple[Form, ...]]]
log = logging.getLogger(__name__)
_TEXT = Path(__file__).resolve().parents[1]
_KEPT = 3  # files of other versions stay beside the newest


def load(make: Callable[[Content], Lexicon]) -> Lexicon | None:
    """What ``make`` makes of the stored content, if there is a good one."""
    try:
        return make(marshal.loads(_path().read_bytes()))
    except (OSError, EOFError, ValueError, TypeError, KeyError, IndexError, RuntimeError):
        return None


def save(content: Content) -> None:
    """Keep plain values for the next process, if the folder can be written."""
    path = _path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_bytes(marshal.dumps(content))
        files = sorted(path.parent.glob("lexicon-*.bin"), key=lambda file: file.stat().st_mtime)
        for old in files[:-_KEPT]:
            old.unlink(missing_ok=True)
    except (OSError, RuntimeError, TextSegError) as error:
        log.debug("the lexicon is not kept (%s)", error)


def content_of(tables: Tables) -> Content:
    """Tables of forms as plain values; equal forms are written once."""
    numbers: dict[tuple[Form, ...], int] = {}
    content: Content = {
        name: {key: numbers.setdefault(forms, len(numbers)) for key, forms in table.items()}
        for name, table in tables.items()
    }
    return {"tables": content, "forms": [tuple(map(tuple, forms)) for forms in numbers]}


def tables_of(content: Content) -> dict[str, dict[Any, tuple[Form, ...]]]:
    """The tables that :func:`content_of` was given."""
    forms = [tuple(map(Form._make, each)) for each in content["forms"]]
    return {
        name: {key: forms[number] for key, number in table.items()}
        for name, table in content["tables"].items()
    }


def _path() -> Path:
    digest = hashlib.sha256(sys.version.encode())
    for file in sorted(_TEXT.rglob("*")):
        if file.suffix in (".py", ".json", ".jsonl"):
            digest.update(f"{file.name}\0".encode() + file.read_bytes())
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    home = os.environ.get("TEXTSEG3D_HOME") or Path(cache, "textseg3d")
    return Path(home).expanduser() / f"lexicon-{digest.hexdigest()[:24]}.bin"
