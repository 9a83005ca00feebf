"""`dataset.json` as nnU-Net v2 defines it, with the extra key ``prompts``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textseg3d.errors import InputError
from textseg3d.suggest import did_you_mean

FILE_NAME = "dataset.json"
REQUIRED = ("labels", "channel_names", "numTraining", "file_ending")


@dataclass(frozen=True)
class Label:
    """A name of ``labels`` and the values that make it up: one, or several for a region."""

    name: str
    values: tuple[int, ...]
    wordings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Description:
    """What `dataset.json` says. Keys that are not nnU-Net's are kept out and do no harm.

    Attributes:
        path: the file.
        channel_names: one per channel, in channel order; they decide the normalisation.
        labels: foreground labels and regions in the file's order, without background and ignore.
        ignore: value of voxels that were not annotated, if any.
        regions_class_order: nnU-Net's order of painting regions.
        num_training: number of cases that the file promises.
        file_ending: such as ".nii.gz".
        label_names: every name under ``labels``, background and ignore included.
        explicit: case → {"images": […], "label": …} where the file lists paths itself.
        name: of the dataset, where given.
    """

    path: Path
    channel_names: tuple[str, ...]
    labels: tuple[Label, ...]
    ignore: int | None
    regions_class_order: tuple[int, ...] | None
    num_training: int
    file_ending: str
    label_names: tuple[str, ...]
    explicit: dict[str, Any] | None = None
    name: str | None = None

    @property
    def has_regions(self) -> bool:
        """Whether a label is a union of several values, so that labels may overlap."""
        return any(len(label.values) > 1 for label in self.labels)

    @property
    def values(self) -> tuple[int, ...]:
        """Every value that a label file may hold, rising, background and ignore included."""
        found = {0, *(value for label in self.labels for value in label.values)}
        return tuple(sorted(found | (set() if self.ignore is None else {self.ignore})))

    @classmethod
    def load(cls, folder: Path) -> Description:
        """Read the file of a dataset folder.

        Raises:
            InputError: if it is missing, no JSON, or not what nnU-Net defines; the first fault.
        """
        path = Path(folder) / FILE_NAME
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(
                f"{folder} has no {FILE_NAME}; expected a dataset in nnU-Net's layout"
            ) from None
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read as JSON ({error})") from None
        return cls.from_dict(data, path)

    @classmethod
    def from_dict(cls, data: Any, path: Path) -> Description:
        """The description of parsed JSON.

        Raises:
            InputError: as `load`.
        """
        if not isinstance(data, dict):
            raise InputError(f"{path}: expected an object, got {data!r:.40}")
        data = dict(data)
        if "channel_names" not in data and "modality" in data:  # nnU-Net v1's name for it
            data["channel_names"] = data["modality"]
        missing = [key for key in REQUIRED if key not in data]
        if missing:
            hint = did_you_mean(missing[0], data)
            raise InputError(f"{path}: has no {', '.join(missing)}{hint}; nnU-Net requires it")
        labels, ignore = _labels(data["labels"], data.get("prompts", {}), path)
        order = data.get("regions_class_order")
        if order is not None and not _whole_numbers(order):
            raise InputError(
                f"{path}: regions_class_order is {order!r:.60}, expected a list of int"
            )
        if not isinstance(data["numTraining"], int):
            raise InputError(f"{path}: numTraining is {data['numTraining']!r}, expected a number")
        ending = data["file_ending"]
        if not isinstance(ending, str) or not ending.startswith("."):
            raise InputError(f'{path}: file_ending is {ending!r}, expected such as ".nii.gz"')
        result = cls(
            path=path,
            channel_names=_channels(data["channel_names"], path),
            labels=labels,
            ignore=ignore,
            regions_class_order=None if order is None else tuple(order),
            num_training=data["numTraining"],
            file_ending=ending,
            label_names=tuple(data["labels"]),
            explicit=_explicit(data.get("dataset"), path),
            name=data.get("name"),
        )
        result._check_values()
        return result

    def _check_values(self) -> None:
        """What nnU-Net asserts about the label values.

        Raises:
            InputError: for a gap, an ignore label below others, or regions without order.
        """
        known = [value for value in self.values if value != self.ignore]
        if self.ignore is not None and self.ignore != max(known) + 1:
            raise InputError(
                f"{self.path}: ignore is {self.ignore}, expected {max(known) + 1} (the highest)"
            )
        if known != list(range(len(known))):
            raise InputError(
                f"{self.path}: label values are {known}, expected 0, 1, 2 … without a gap"
            )
        if self.has_regions and len(self.regions_class_order or ()) != len(self.labels):
            raise InputError(
                f"{self.path}: has regions, so regions_class_order needs {len(self.labels)} "
                f"values, got {len(self.regions_class_order or ())}"
            )


def _whole_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


def _channels(value: Any, path: Path) -> tuple[str, ...]:
    if not isinstance(value, dict) or not value:
        raise InputError(f'{path}: channel_names is {value!r:.60}, expected such as {{"0": "CT"}}')
    expected = [str(number) for number in range(len(value))]
    if sorted(value, key=lambda key: (len(key), key)) != expected:
        raise InputError(f"{path}: channel_names has keys {list(value)}, expected {expected}")
    return tuple(str(value[key]) for key in expected)


def _labels(value: Any, prompts: Any, path: Path) -> tuple[tuple[Label, ...], int | None]:
    if not isinstance(value, dict):
        raise InputError(f"{path}: labels is {value!r:.60}, expected names and their values")
    if not isinstance(prompts, dict):
        raise InputError(f"{path}: prompts is {prompts!r:.60}, expected label names and lists")
    for name in prompts:
        if name not in value:
            raise InputError(f"{path}: prompts names {name!r}, no label{did_you_mean(name, value)}")
    if "background" not in value:
        hint = " (names come first, values second)" if "0" in value else ""
        raise InputError(f'{path}: labels has no "background": 0{hint}')
    labels, ignore = [], None
    for name, item in value.items():
        numbers = item if isinstance(item, list) else [item]
        if not numbers or not all(type(n) is int and n >= 0 for n in numbers):
            raise InputError(f"{path}: label {name!r} is {item!r:.40}, expected 0 or more")
        if name == "background":
            if item != 0:
                raise InputError(f"{path}: background is {item!r}, expected 0")
        elif name == "ignore":
            if isinstance(item, list):
                raise InputError(f"{path}: ignore is {item!r}, expected one value")
            ignore = numbers[0]
        elif set(numbers) != {0}:
            labels.append(Label(name, tuple(numbers), _wordings(prompts.get(name), name, path)))
    return tuple(labels), ignore


def _wordings(value: Any, name: str, path: Path) -> tuple[str, ...]:
    if value is None:
        return ()
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(t, str) and t.strip() for t in texts):
        raise InputError(f"{path}: prompts of {name!r} are {value!r:.60}, expected a list of texts")
    return tuple(texts)


def _explicit(value: Any, path: Path) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InputError(f"{path}: dataset is {value!r:.60}, expected case names and their paths")
    for name, entry in value.items():
        good = isinstance(entry, dict) and isinstance(entry.get("label"), str)
        images = entry.get("images") if isinstance(entry, dict) else None
        if not good or not isinstance(images, list) or not all(isinstance(i, str) for i in images):
            raise InputError(
                f'{path}: dataset entry {name!r} is {entry!r:.60}, expected {{"images": […], '
                '"label": "…"}'
            )
    return value
