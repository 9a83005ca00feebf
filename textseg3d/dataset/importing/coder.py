"""Overlapping masks in one label map: each set of labels that meets in a voxel is one value.

nnU-Net's regions say the same: a label lists the values of all sets that it is in. Without any
overlap each label keeps a single value, 1, 2, 3 … in the given order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import InputError
from textseg3d.suggest import did_you_mean

MAX_VALUE = 2**15 - 1


class LabelCoder:
    """Gives values to sets of labels, in the order in which they first appear.

    Args:
        names: labels; number i (from 0) alone has the value i + 1.
        combinations: sets of two and more that have values already, as label numbers.
    """

    def __init__(self, names: Sequence[str], combinations: Iterable[Sequence[int]] = ()) -> None:
        self.names = tuple(names)
        self._index = {name: number for number, name in enumerate(self.names)}
        self._values: dict[tuple[int, ...], int] = {
            (number,): number + 1 for number in range(len(self.names))
        }
        for combination in combinations:
            self._values[tuple(combination)] = len(self._values) + 1

    @property
    def combinations(self) -> list[list[int]]:
        """Sets of two and more labels, in the order of their values."""
        return [list(key) for key in self._values if len(key) > 1]

    def encode(
        self, shape: tuple[int, ...], masks: Iterable[tuple[str, NDArray[np.bool_]]]
    ) -> NDArray[Any]:
        """One map of all masks of a case.

        Args:
            shape: of the case.
            masks: label and bool array of that shape; a label may come several times.

        Returns:
            uint8 or int16 of that shape.

        Raises:
            InputError: for an unknown label or too many different overlaps.
        """
        sets: list[tuple[int, ...]] = [()]
        local: dict[tuple[int, ...], int] = {(): 0}
        codes = np.zeros(shape, np.int32)
        for name, mask in masks:
            if name not in self._index:
                raise InputError(f"label {name!r} is not known{did_you_mean(name, self._index)}")
            number = self._index[name]
            inside = codes[mask]
            table = np.arange(len(sets), dtype=np.int32)
            for code in np.unique(inside).tolist():
                key = tuple(sorted({*sets[code], number}))
                if key not in local:
                    local[key] = len(sets)
                    sets.append(key)
                table[code] = local[key]
            codes[mask] = table[inside]
        used = sorted(sets[code] for code in np.unique(codes).tolist() if code)
        for key in sorted(used, key=lambda key: (len(key), key)):
            self._values.setdefault(key, len(self._values) + 1)
        if len(self._values) > MAX_VALUE:
            raise InputError(
                f"labels overlap in {len(self._values) - len(self.names)} different ways, a label "
                f"map holds {MAX_VALUE} values; import fewer labels at once"
            )
        table = np.array([self._values.get(key, 0) for key in sets])
        return table.astype(np.uint8 if len(self._values) < 256 else np.int16)[codes]

    def labels(self) -> dict[str, int | list[int]]:
        """``labels`` of dataset.json."""
        result: dict[str, int | list[int]] = {"background": 0}
        for number, name in enumerate(self.names):
            values = [value for key, value in self._values.items() if number in key]
            result[name] = values if len(values) > 1 else values[0]
        return result

    def regions_class_order(self) -> list[int] | None:
        """The values that labels have alone, where some overlap; None where none do."""
        return list(range(1, len(self.names) + 1)) if self.combinations else None
