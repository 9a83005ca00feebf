"""Is a dataset fit for training? One line per fault, all of them, not only the first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from textseg3d.dataset.description import Description
from textseg3d.dataset.folder import Dataset, DatasetCase, channel_pattern
from textseg3d.dataset.parallel import map_in_processes
from textseg3d.dataset.reading import read_case
from textseg3d.errors import InputError

Progress = Callable[[str, int, int], object]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: an "error" makes the dataset unfit, a "warning" needs a look."""

    verdict: Literal["error", "warning"]
    message: str


def verify_dataset_integrity(
    folder: Path,
    *,
    processes: int = 1,
    assume_orientation: str | None = None,
    on_progress: Progress | None = None,
) -> list[Fault]:
    """Check dataset.json, the files, and every voxel grid and label value.

    Args:
        folder: ``DatasetXXX_Name``.
        processes: that read cases.
        assume_orientation: for files that state none, see `read_volume`.
        on_progress: called with ("verify", done, total).

    Returns:
        all faults, those of the whole first, then by case; empty if there are none.
    """
    try:
        dataset = Dataset.load(folder)
    except InputError as error:
        return [Fault("error", str(error))]
    faults = [*_count_faults(dataset), *_stray_files(dataset)]
    present = []
    for case in dataset.cases:
        missing = list(_missing_files(case, dataset.description))
        faults += missing
        if not missing:
            present.append(case)
    check = partial(
        _case_faults, description=dataset.description, assume_orientation=assume_orientation
    )
    for done, found in enumerate(map_in_processes(check, present, processes), start=1):
        faults += found
        if on_progress is not None:
            on_progress("verify", done, len(present))
    return faults


def _count_faults(dataset: Dataset) -> list[Fault]:
    promised, found = dataset.description.num_training, len(dataset.cases)
    if promised == found:
        return []
    return [Fault("error", f"dataset.json says numTraining {promised}, found {found} cases")]


def _stray_files(dataset: Dataset) -> list[Fault]:
    """Files with the dataset's ending that belong to no case."""
    if dataset.description.explicit:
        return []
    ending = dataset.description.file_ending
    pattern = channel_pattern(ending)
    used = {case.label for case in dataset.cases}
    faults = []
    for path in sorted((dataset.folder / "imagesTr").glob(f"*{ending}")):
        if not pattern.fullmatch(path.name):
            faults.append(
                Fault("error", f"{path} has no channel number; expected CASE_0000{ending}")
            )
    for path in sorted((dataset.folder / "labelsTr").glob(f"*{ending}")):
        if path not in used:
            faults.append(Fault("warning", f"{path} belongs to no image and is not used"))
    return faults


def _missing_files(case: DatasetCase, description: Description) -> list[Fault]:
    wanted = len(description.channel_names)
    faults = []
    if description.explicit:
        complete = len(case.images) == wanted
    else:
        pattern = channel_pattern(description.file_ending)
        matches = [pattern.fullmatch(path.name) for path in case.images]
        complete = [int(m[2]) for m in matches if m] == list(range(wanted))
    if not complete:
        names = ", ".join(path.name for path in case.images)
        faults.append(
            Fault("error", f"case {case.name} has images {names}; expected {wanted} channel(s)")
        )
    for path in (*case.images, case.label):
        if not path.is_file():
            faults.append(Fault("error", f"case {case.name}: there is no file {path}"))
    return faults


def _case_faults(
    case: DatasetCase, *, description: Description, assume_orientation: str | None
) -> list[Fault]:
    try:
        arrays = read_case(case, assume_orientation=assume_orientation)
    except InputError as error:
        return [Fault("error", str(error))]
    faults = [Fault("warning", text) for text in arrays.warnings]
    values = np.unique(arrays.labels).tolist()
    unexpected = sorted(set(values) - set(description.values))
    if unexpected:
        faults.append(
            Fault(
                "error",
                f"{case.label} has label values {unexpected}, dataset.json only "
                f"{list(description.values)}",
            )
        )
    if values == [0]:
        faults.append(Fault("warning", f"{case.label} is empty; is nothing there on purpose?"))
    return faults
