import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from textseg3d.errors import ModelError
from textseg3d.zoo.tensors import MAX_HEADER_BYTES, find_non_finite, read_header


def write(path: Path, header: Any, data: bytes, *, length: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


def tensor(begin: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_agrees_with_the_safetensors_package(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b.c": np.ones((4,), dtype=np.float16),
        "n": np.zeros((0, 5), dtype=np.int64),
        "scalar": np.array(3.0),
    }
    path = tmp_path / "x.safetensors"
    save_file(arrays, path, metadata={"k": "v"})
    entries = read_header(path)
    raw = path.read_bytes()
    with safe_open(path, framework="np") as peer:
        assert set(entries) == set(peer.keys())
        for name, entry in entries.items():
            values = peer.get_tensor(name)
            assert entry.shape == values.shape
            assert raw[entry.begin : entry.end] == values.tobytes()
    assert find_non_finite(path, entries) is None


FAULTS: dict[str, tuple[Any, bytes, int | None]] = {
    "header longer than the file": ({}, b"", 10_000),
    "header of 100 MB": ({}, b"", 100 * 2**20),
    "header of 2^63": ({}, b"", 2**63),
    "not json": (b"{nope", b"", None),
    "not an object": ([1], b"", None),
    "not utf-8": (b"\xff\xff", b"", None),
    "key twice": (
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
        b'"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        b"x",
        None,
    ),
    "truncated data": ({"a": tensor(0, 8, [2])}, b"\0" * 7, None),
    "bytes at the end": ({"a": tensor(0, 8, [2])}, b"\0" * 9, None),
    "overlap": ({"a": tensor(0, 8, [2]), "b": tensor(4, 12, [2])}, b"\0" * 12, None),
    "gap": ({"a": tensor(0, 8, [2]), "b": tensor(12, 20, [2])}, b"\0" * 20, None),
    "shape and bytes disagree": ({"a": tensor(0, 8, [3])}, b"\0" * 8, None),
    "negative shape": ({"a": tensor(0, 8, [-1, -2])}, b"\0" * 8, None),
    "shape overflows": ({"a": tensor(0, 0, [2**62, 2**62, 0, 2**70])}, b"", None),
    "end before begin": ({"a": tensor(8, 0, [2])}, b"\0" * 8, None),
    "unknown dtype": ({"a": tensor(0, 8, [2], "C32")}, b"\0" * 8, None),
    "boolean offset": (
        {"a": {"dtype": "U8", "shape": [1], "data_offsets": [False, True]}},
        b"x",
        None,
    ),
    "extra key": ({"a": {**tensor(0, 8, [2]), "code": "x"}}, b"\0" * 8, None),
    "missing key": ({"a": {"dtype": "F32", "shape": [2]}}, b"\0" * 8, None),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faulty_files_are_rejected(tmp_path: Path, name: str) -> None:
    header, data, length = FAULTS[name]
    path = write(tmp_path / "x.safetensors", header, data, length=length)
    with pytest.raises(ModelError, match=r"x\.safetensors"):
        read_header(path)


@pytest.mark.parametrize("size", [0, 3, 7])
def test_files_too_short_for_a_length(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"\0" * size)
    with pytest.raises(ModelError, match="too few"):
        read_header(path)


def test_a_long_header_is_rejected_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with open(path, "wb") as stream:
        stream.write(struct.pack("<Q", MAX_HEADER_BYTES + 1))
        stream.truncate(2**36)
    with pytest.raises(ModelError, match="announces a header"):
        read_header(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["F16", "F32", "F64", "BF16"])
def test_non_finite_numbers_are_found_in_the_last_place(
    tmp_path: Path, bad: float, dtype: str
) -> None:
    count = 600_001  # more than one block of reading for each dtype but the short ones
    values = np.linspace(-3, 3, count, dtype=np.float32)
    for value, expected in ((1.0, None), (bad, "w")):
        values[-1] = value
        if dtype == "BF16":
            data = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
        else:
            data = values.astype({"F16": "<f2", "F32": "<f4", "F64": "<f8"}[dtype]).tobytes()
        header = {"w": tensor(0, len(data), [count], dtype)}
        path = write(tmp_path / "x.safetensors", header, data)
        assert find_non_finite(path, read_header(path)) == expected


@settings(max_examples=150, deadline=None)
@given(cut=st.integers(0, 200), position=st.integers(0, 120), value=st.integers(0, 255))
def test_random_damage_never_passes_what_the_peer_rejects(
    tmp_path_factory: pytest.TempPathFactory, cut: int, position: int, value: int
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    path = folder / "x.safetensors"
    save_file({"a": np.arange(3, dtype=np.float32), "b": np.ones(2, np.uint8)}, path)
    raw = bytearray(path.read_bytes())
    raw[position % len(raw)] = value
    path.write_bytes(raw[: len(raw) - cut] if cut < len(raw) else b"")
    try:
        read_header(path)
    except ModelError:
        return
    try:
        with safe_open(path, framework="np") as peer:
            list(peer.keys())
    except SafetensorError as error:
        pytest.fail(f"accepted what the format's own package rejects: {error}")
