"""What all protocols share: which files belong together, dataset.json, several processes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from textseg3d.errors import InputError, UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class FolderRequest:
    """One folder of truth against one of predictions.

    Attributes:
        truth: folder with the true label files.
        prediction: folder with files of the same names.
        dataset: nnU-Net's dataset.json (label names, file ending), or the list of findings.
        plans: nnU-Net's plans.json; only checked.
        labels: integer labels to score, instead of ``dataset``'s.
        ignore_label: voxels of the truth that count for nothing, instead of ``dataset``'s.
        processes: worker processes; 1 stays in this one.
        chill: a missing prediction is no error. What it is then is the protocol's rule.
        resample: bring a prediction on another grid to the truth's, nearest neighbour.
    """

    truth: Path
    prediction: Path
    dataset: Path | None = None
    plans: Path | None = None
    labels: tuple[int, ...] = ()
    ignore_label: int | None = None
    processes: int = 1
    chill: bool = False
    resample: bool = False


@dataclass(frozen=True)
class FilePair:
    """A truth file and its prediction.

    Attributes:
        truth: label map.
        prediction: label map; None where it is missing.
        unknown: names of labels that the truth file does not tell.
    """

    truth: Path
    prediction: Path | None
    unknown: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The name that both files have."""
        return self.truth.name


def pair_files(request: FolderRequest, ending: str) -> list[FilePair]:
    """Truth files and their predictions, by name, in rising order.

    Raises:
        InputError: if a folder is missing or empty, a prediction has no truth, or (unless
            ``request.chill``) a truth has no prediction.
    """
    for folder in (request.truth, request.prediction):
        if not folder.is_dir():
            raise InputError(f"there is no folder {folder}; pass truth first, predictions second")
    truth = sorted(p for p in request.truth.iterdir() if p.name.endswith(ending))
    predicted = {p.name: p for p in request.prediction.iterdir() if p.name.endswith(ending)}
    if not truth:
        raise InputError(f"{request.truth} holds no file that ends in {ending}; check the ending")
    missing = [p.name for p in truth if p.name not in predicted]
    if missing and not request.chill:
        raise InputError(
            f"{len(missing)} of {len(truth)} predictions are missing in {request.prediction}, "
            f"first {missing[0]}; add them or pass --chill"
        )
    extra = sorted(set(predicted) - {p.name for p in truth})
    if extra:
        raise InputError(
            f"{request.prediction / extra[0]} has no truth of that name in {request.truth}; "
            "remove it or add the truth"
        )
    return [FilePair(path, predicted.get(path.name)) for path in truth]


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        InputError: if it is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{path} cannot be read ({reason}); check the path") from error
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error}); write it again") from error


@dataclass(frozen=True)
class LabelSet:
    """What dataset.json says about labels.

    Attributes:
        scored: labels, or regions as tuples of labels, in nnU-Net's order.
        names: name per entry of ``scored``.
        ignore: the label whose voxels count for nothing.
        file_ending: of the label files.
    """

    scored: tuple[int | tuple[int, ...], ...]
    names: tuple[str, ...]
    ignore: int | None
    file_ending: str


def label_set(request: FolderRequest) -> LabelSet:
    """Labels to score, from ``request.labels`` or dataset.json (regions as in nnU-Net).

    Raises:
        UsageError: if neither is given, or both.
        InputError: if dataset.json has no usable ``labels``.
    """
    if request.labels and request.dataset is not None:
        raise UsageError("labels are given twice; pass either -djfile or -l")
    if request.labels:
        names = tuple(str(label) for label in request.labels)
        ending = _first_ending(request.truth)
        return LabelSet(tuple(request.labels), names, request.ignore_label, ending)
    if request.dataset is None:
        raise UsageError("nothing says which labels to score; pass -djfile dataset.json or -l 1 2")
    data = read_json(request.dataset)
    labels = data.get("labels") if isinstance(data, dict) else None
    if not isinstance(labels, dict) or "background" not in labels:
        raise InputError(
            f"{request.dataset} has no object `labels` with a `background` of 0; "
            "expected nnU-Net's dataset.json"
        )
    by_name = {name: _label(request.dataset, name, value) for name, value in labels.items()}
    ignore = by_name.pop("ignore", None)
    if isinstance(ignore, tuple):
        raise InputError(f"{request.dataset}: the ignore label must be one integer, got {ignore}")
    if request.ignore_label is not None:
        ignore = request.ignore_label
    ending = data.get("file_ending", ".nii.gz")
    if any(isinstance(value, tuple) and len(value) > 1 for value in by_name.values()):
        kept = {n: v for n, v in by_name.items() if v != 0 and v != (0,)}
        return LabelSet(tuple(kept.values()), tuple(kept), ignore, ending)
    single = {(v[0] if isinstance(v, tuple) else v): n for n, v in by_name.items()}
    ordered = sorted(label for label in single if label != 0)
    return LabelSet(tuple(ordered), tuple(single[n] for n in ordered), ignore, ending)


def run_all(
    work: Callable[[Any], T], items: Sequence[Any] | Iterable[Any], processes: int
) -> list[T]:
    """``work`` on each item, in order, in worker processes if more than one is asked for.

    Raises:
        UsageError: if ``processes`` is not positive.
    """
    if processes < 1:
        raise UsageError(f"-np is {processes}, expected at least 1")
    todo = list(items)
    if processes == 1 or len(todo) < 2:
        return [work(item) for item in todo]
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(todo)), mp_context=context) as pool:
        return list(pool.map(work, todo))


def _label(path: Path, name: str, value: Any) -> int | tuple[int, ...]:
    try:
        if isinstance(value, (list, tuple)):
            return tuple(int(v) for v in value)
        return int(value)
    except (TypeError, ValueError):
        raise InputError(
            f"{path}: label {name!r} is {value!r}, expected an integer or a list of integers"
        ) from None


def _first_ending(folder: Path) -> str:
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        for ending in (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".npz"):
            if path.name.endswith(ending):
                return ending
    return ".nii.gz"
