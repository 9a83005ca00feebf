"""Frozen dataclasses to JSON and back; an unknown key is an error that names the nearest."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from textseg3d.errors import ModelError, PlansError
from textseg3d.suggest import did_you_mean

T = TypeVar("T")
MAX_SPEC_BYTES = 4 * 2**20


def to_json(value: Any) -> Any:
    """Dataclass (nested, with tuples and dicts) to plain JSON values; None fields are dropped."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: to_json(item) for name, item in items if item is not None}
    if isinstance(value, dict):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    return value


def from_json(kind: type[T], data: Any, where: str = "") -> T:
    """Plain JSON values to a dataclass, by its annotations.

    Raises:
        PlansError: for an unknown or missing key, or a value of the wrong type.
    """
    if not isinstance(data, dict):
        raise PlansError(f"{where or kind.__name__}: expected an object, got {data!r:.60}")
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            raise PlansError(f"{where}unknown key {key!r}{did_you_mean(key, fields)}")
    hints = typing.get_type_hints(kind)
    values = {k: _convert(hints[k], v, f"{where}{k}: ") for k, v in data.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise PlansError(f"{where or kind.__name__}: {error}") from None


def save_spec(value: Any, path: Path) -> None:
    """Write a dataclass as JSON into a folder that nobody reads yet."""
    text = json.dumps(to_json(value), indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def load_spec(kind: type[T], path: Path, advice: str) -> T:
    """Read a file of :func:`save_spec` from a model folder.

    Args:
        kind: the dataclass.
        path: of the file.
        advice: what to do about a file that does not fit.

    Raises:
        ModelError: if it cannot be read or does not fit.
    """
    try:
        if path.stat().st_size > MAX_SPEC_BYTES:
            raise ModelError(f"{path} is larger than {MAX_SPEC_BYTES} bytes")
        return from_json(kind, json.loads(path.read_text(encoding="utf-8")))
    except PlansError as error:
        raise ModelError(f"{path}: {error}; {advice}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as JSON: {error}") from None


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _convert(next(a for a in arguments if a is not type(None)), value, where)
    if dataclasses.is_dataclass(hint):
        return from_json(hint, value, where)  # type: ignore[arg-type]
    if origin is tuple:
        if not isinstance(value, list):
            raise PlansError(f"{where}expected a list, got {value!r:.60}")
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_convert(arguments[0], v, where) for v in value)
        if len(arguments) != len(value):
            raise PlansError(f"{where}expected {len(arguments)} values, got {len(value)}")
        return tuple(_convert(a, v, where) for a, v in zip(arguments, value, strict=True))
    if origin is dict:
        if not isinstance(value, dict):
            raise PlansError(f"{where}expected an object, got {value!r:.60}")
        return {k: _convert(arguments[1], v, f"{where}{k}: ") for k, v in value.items()}
    if origin is typing.Literal:
        if value not in arguments:
            raise PlansError(f"{where}{value!r} is not one of {', '.join(map(repr, arguments))}")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float, str, bool) and type(value) is not hint:
        raise PlansError(f"{where}expected {hint.__name__}, got {value!r:.60}")
    return value
