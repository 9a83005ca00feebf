"""Reads torch's zip checkpoints without torch and without running anything that they name.

A checkpoint is a zip archive with a pickle (`*/data.pkl`) and one uncompressed entry of raw
numbers per tensor storage (`*/data/KEY`). A pickle names callables and calls them; here every
name outside a short list is refused, and the names on the list stand for functions of this
module that only build arrays.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import ModelError

MAX_PICKLE_BYTES = 256 * 2**20
_STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bf16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class _Storage(NamedTuple):
    """Raw numbers [n] of one storage, with its key in the archive."""

    key: str
    values: NDArray[Any]


class _DType(NamedTuple):
    """Stands for a storage class."""

    code: str


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint's dict, with numpy arrays in place of tensors.

    Raises:
        ModelError: if it is no whole zip checkpoint, or names anything that is not on the list.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            loaded = _Reader(archive, path).load()
    except zipfile.BadZipFile:
        raise ModelError(
            f"{path} is no whole checkpoint (not a complete zip archive as torch writes it since "
            "1.6); it is damaged, truncated or of another kind; get it again"
        ) from None
    except (ModelError, MemoryError, OSError):
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise ModelError(
            f"{path} is damaged ({type(error).__name__}: {error!s:.80}); get it again"
        ) from None
    if not isinstance(loaded, dict):
        raise ModelError(f"{path} holds a {type(loaded).__name__}; expected a dict of nnU-Net")
    return loaded


class _Reader(pickle.Unpickler):
    """An unpickler that knows a few names and no others."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self._archive, self._path = archive, path
        self._known: dict[str, _Storage] = {}
        names = [n for n in archive.namelist() if n.endswith("/data.pkl") or n == "data.pkl"]
        if len(names) != 1:
            raise ModelError(f"{path} is no torch checkpoint (it has {len(names)} data.pkl)")
        self._root = names[0].removesuffix("data.pkl")
        if archive.getinfo(names[0]).file_size > MAX_PICKLE_BYTES:
            raise ModelError(f"{path} has a data.pkl of more than {MAX_PICKLE_BYTES} bytes")
        order = f"{self._root}byteorder"
        if order in archive.namelist() and self._entry(order) != b"little":
            raise ModelError(f"{path} was written on a big-endian machine; save it on another")
        super().__init__(io.BytesIO(self._entry(names[0])))

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the pickle stands for.

        Raises:
            ModelError: for every name that is not needed to read weights.
        """
        if module == "torch" and name in _STORAGES:
            return _DType(_STORAGES[name])
        known = _NAMES.get((module, name))
        if known is None:
            raise ModelError(
                f"{self._path} asks to run {module}.{name}".replace("\n", " ")[:200]
                + ", which no weights need; it was refused and nothing was run"
            )
        return known

    def persistent_load(self, pid: Any) -> _Storage:
        """The storage that a persistent id names.

        Raises:
            ModelError: if it is not there in full.
        """
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, _DType) or not isinstance(key, str):
            raise ModelError(f"{self._path} is damaged: {pid!r:.100} is no storage")
        if key not in self._known:
            raw = self._entry(f"{self._root}data/{key}")
            self._known[key] = _Storage(key, _numbers(raw, dtype.code))
        storage = self._known[key]
        if len(storage.values) != count:
            raise ModelError(
                f"{self._path} is damaged: storage {key} has {len(storage.values)} numbers, "
                f"not {count}"
            )
        return storage

    def _entry(self, name: str) -> bytes:
        info = self._archive.getinfo(name)
        if info.compress_type != zipfile.ZIP_STORED:
            raise ModelError(f"{self._path} has a compressed entry {name!r}; torch writes none")
        return self._archive.read(info)


def _numbers(raw: bytes, code: str) -> NDArray[Any]:
    if code == "bf16":
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(raw, code)


def _tensor(storage: _Storage, offset: int, size: Any, stride: Any, *rest: Any) -> NDArray[Any]:
    """A read-only view of a storage; every element is checked to lie inside it."""
    shape, steps = tuple(map(int, size)), tuple(map(int, stride))
    if len(shape) != len(steps) or min((*shape, *steps, int(offset)), default=0) < 0:
        raise ValueError("a tensor has a negative size or stride")
    last = int(offset) + sum((n - 1) * s for n, s in zip(shape, steps))
    if 0 not in shape and last >= len(storage.values):
        raise ValueError("a tensor reaches beyond its storage")
    if 0 in shape:
        return np.zeros(shape, storage.values.dtype)
    if int(np.prod(shape, dtype=np.float64)) > len(storage.values):
        raise ValueError("a tensor has more elements than its storage")
    item = storage.values.itemsize
    return np.lib.stride_tricks.as_strided(
        storage.values[int(offset) :], shape, tuple(s * item for s in steps), writeable=False
    )


def _parameter(data: Any, *rest: Any) -> Any:
    return data


def _device(*arguments: Any) -> str:
    return ":".join(map(str, arguments))


def _size(values: Any = ()) -> tuple[int, ...]:
    return tuple(values)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise ValueError(f"encoding {encoding!r}")
    return text.encode("latin1")


class _PlainDType:
    """Stands for a numpy dtype of plain numbers; its state is not looked at."""

    __slots__ = ("code",)

    def __init__(self, code: str, *rest: Any) -> None:
        if np.dtype(str(code)).kind not in "biufSU":
            raise ValueError(f"dtype {code!r}")
        self.code = str(code)

    def __setstate__(self, state: Any) -> None:
        """Byte order and alignment: only little-endian numbers exist here."""
        if isinstance(state, tuple) and len(state) > 1 and state[1] == ">":
            raise ValueError("big-endian numbers")


def _scalar(dtype: Any, raw: Any = b"") -> Any:
    if not isinstance(dtype, _PlainDType) or not isinstance(raw, bytes):
        raise ValueError("a numpy scalar of another kind")
    return np.frombuffer(raw, dtype.code)[0].item()


_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "device"): _device,
    ("torch", "Size"): _size,
    ("numpy", "dtype"): _PlainDType,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("_codecs", "encode"): _encode,
}


def refuse(path: Path, what: str) -> NoReturn:
    """Raise that a checkpoint lacks something.

    Raises:
        ModelError: always.
    """
    raise ModelError(
        f"{path} {what}; it is no checkpoint as nnU-Net (version 2), VoxTell or SAT writes it"
    )
