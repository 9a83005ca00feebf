"""Preprocessed cases on disk: blosc2 arrays that a sampler reads window by window.

``<case>.b2nd`` is the image, float32 [C, D, H, W]; ``<case>_seg.b2nd`` the labels, int16
[D, H, W]; ``<case>.json`` says how they came about and is written last: a case without it is not
there. Each file appears whole or not at all, so a run may be killed at any moment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import InputError, MissingDependencyError
from textseg3d.io import atomic_path
from textseg3d.plans.jsonio import from_json, to_json

BLOCK_VOXELS = 32  # edge of what is decompressed at once, 128 KB of float32: fits the L2 cache
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp")


@dataclass(frozen=True)
class CaseRecord:
    """``<case>.json``. Triples are (z, y, x) after ``transpose_forward``.

    Attributes:
        recipe: hash of everything that the arrays depend on; another one means: do it again.
        spacing_mm: of the arrays.
        shape: of the arrays.
        original_spacing_mm: of the scan.
        original_shape: of the scan.
        box: [start, stop] per axis of the scan that was kept.
        transpose_forward: axes (z, y, x) of the scan in LPS+ order that became the arrays'.
        foreground_voxels: label name → voxels.
        foreground_boxes: label name → [start, stop] per axis; labels that are absent are not here.
        body: first and last voxel of the body per axis, in the arrays' voxels, which may reach
            beyond them; None where the values are no HU.
    """

    recipe: str
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]
    original_spacing_mm: tuple[float, float, float]
    original_shape: tuple[int, int, int]
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    transpose_forward: tuple[int, int, int]
    foreground_voxels: dict[str, int]
    foreground_boxes: dict[str, tuple[tuple[int, int], tuple[int, int], tuple[int, int]]]
    body: tuple[tuple[float, float], tuple[float, float], tuple[float, float]] | None = None


class CaseStore:
    """A folder of preprocessed cases."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def names(self) -> list[str]:
        """Cases that are complete, sorted."""
        return sorted(path.stem for path in self.folder.glob("*.json"))

    def record(self, name: str) -> CaseRecord | None:
        """What is known of a case; None if it is not there, or its record is damaged."""
        try:
            data = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
            return from_json(CaseRecord, data)
        except (OSError, ValueError, InputError):
            return None

    def is_done(self, name: str, recipe: str) -> bool:
        """Whether a case is there and was made by this recipe."""
        record = self.record(name)
        arrays = (self._image(name), self._labels(name))
        return record is not None and record.recipe == recipe and all(p.is_file() for p in arrays)

    def save(
        self, name: str, image: NDArray[np.float32], labels: NDArray[np.int16], record: CaseRecord
    ) -> None:
        """Write a case: image [C, D, H, W], labels [D, H, W], then the record."""
        path = self.folder / f"{name}.json"
        path.unlink(missing_ok=True)  # from here on the case is not there
        self._write(self._image(name), image)
        self._write(self._labels(name), labels)
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(to_json(record), indent=1) + "\n", encoding="utf-8")

    def image(self, name: str) -> Any:
        """The image [C, D, H, W] as a blosc2 array; indexing it reads that part alone."""
        return self._open(self._image(name))

    def labels(self, name: str) -> Any:
        """The labels [D, H, W] as a blosc2 array; −1 is outside of the scan."""
        return self._open(self._labels(name))

    def remove_leftovers(self) -> None:
        """Delete what a killed run left; call it only where no other run writes."""
        for path in self.folder.glob(".*.tmp"):
            if _TEMPORARY.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def _image(self, name: str) -> Path:
        return self.folder / f"{name}.b2nd"

    def _labels(self, name: str) -> Path:
        return self.folder / f"{name}_seg.b2nd"

    @staticmethod
    def _write(path: Path, array: NDArray[Any]) -> None:
        blosc2 = _blosc2()
        with atomic_path(path) as temporary:
            blosc2.asarray(
                np.ascontiguousarray(array),
                urlpath=str(temporary),
                mode="w",
                **_layout(array.shape),
            )

    def _open(self, path: Path) -> Any:
        if not path.is_file():
            raise InputError(f"there is no {path}; run `textseg3d preprocess` first")
        return _blosc2().open(str(path), mode="r", dparams={"nthreads": 1})


def packed_bytes(array: NDArray[Any]) -> int:
    """Size of an array [..., D, H, W] as it would be stored."""
    return int(_blosc2().asarray(np.ascontiguousarray(array), **_layout(array.shape)).schunk.cbytes)


def _layout(shape: Sequence[int]) -> dict[str, Any]:
    # One thread and fixed blocks: the same bytes on every machine and run.
    return {
        "chunks": _chunks(shape),
        "blocks": _blocks(shape),
        "cparams": {"codec": _blosc2().Codec.ZSTD, "clevel": 5, "nthreads": 1},
    }


def _blocks(shape: Sequence[int]) -> tuple[int, ...]:
    return (*(1 for _ in shape[:-3]), *(min(n, BLOCK_VOXELS) for n in shape[-3:]))


def _chunks(shape: Sequence[int]) -> tuple[int, ...]:
    return (*(1 for _ in shape[:-3]), *(min(n, 4 * BLOCK_VOXELS) for n in shape[-3:]))


def _blosc2() -> Any:
    try:
        import blosc2
    except ImportError:
        raise MissingDependencyError(
            "preprocessed data needs the package blosc2; pip install blosc2"
        ) from None
    return blosc2
