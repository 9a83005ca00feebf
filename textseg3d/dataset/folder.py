"""The cases of a dataset folder: which files belong to which case."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from textseg3d.dataset.description import Description
from textseg3d.errors import InputError


@dataclass(frozen=True)
class DatasetCase:
    """One training case: its channels in order, and its label file. Neither need exist."""

    name: str
    images: tuple[Path, ...]
    label: Path


@dataclass(frozen=True)
class Dataset:
    """A dataset in nnU-Net's layout.

    Attributes:
        folder: ``DatasetXXX_Name``, with dataset.json, imagesTr and labelsTr.
        description: of dataset.json.
        cases: sorted by name.
    """

    folder: Path
    description: Description
    cases: tuple[DatasetCase, ...]

    @property
    def name(self) -> str:
        """The folder's name, which nnU-Net calls the dataset's."""
        return self.folder.name

    @classmethod
    def load(cls, folder: Path) -> Dataset:
        """List a folder's cases; no scan is opened.

        Raises:
            InputError: for a faulty dataset.json, missing folders, or no case at all.
        """
        folder = Path(folder)
        description = Description.load(folder)
        cases = (
            _listed(folder, description) if description.explicit else _found(folder, description)
        )
        if not cases:
            raise InputError(
                f"{folder} has no case: expected files such as "
                f"imagesTr/CASE_0000{description.file_ending}"
            )
        return cls(folder, description, tuple(sorted(cases, key=lambda case: case.name)))


def channel_pattern(file_ending: str) -> re.Pattern[str]:
    """Matches an image's file name; groups are the case and the channel number."""
    return re.compile(rf"(.+)_(\d{{4}}){re.escape(file_ending)}")


def _found(folder: Path, description: Description) -> list[DatasetCase]:
    for name in ("imagesTr", "labelsTr"):
        if not (folder / name).is_dir():
            raise InputError(f"{folder} has no folder {name}; expected nnU-Net's layout")
    pattern = channel_pattern(description.file_ending)
    images: dict[str, list[Path]] = {}
    for path in sorted((folder / "imagesTr").iterdir()):
        match = pattern.fullmatch(path.name)
        if match:
            images.setdefault(match[1], []).append(path)
    labels = folder / "labelsTr"
    return [
        DatasetCase(name, tuple(paths), labels / f"{name}{description.file_ending}")
        for name, paths in images.items()
    ]


def _listed(folder: Path, description: Description) -> list[DatasetCase]:
    def absolute(text: str) -> Path:
        return Path(os.path.abspath(folder / os.path.expandvars(text)))

    return [
        DatasetCase(name, tuple(map(absolute, entry["images"])), absolute(entry["label"]))
        for name, entry in (description.explicit or {}).items()
    ]
