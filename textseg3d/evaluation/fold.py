"""The cases that a fold held aside: predicted as label maps, and scored as nnU-Net scores them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.dataset import Dataset, DatasetCase, read_case
from textseg3d.dataset.case_notes import CaseNotes, load_case_notes
from textseg3d.dataset.description import FILE_NAME, Description
from textseg3d.errors import InputError
from textseg3d.evaluation.protocols.folders import FilePair, FolderRequest, label_set, run_all
from textseg3d.evaluation.protocols.nnunet import score_pair, summarise
from textseg3d.evaluation.report import write_text
from textseg3d.inference.presence import PRESENT
from textseg3d.inference.result import Prediction
from textseg3d.inference.segmenter import Segmenter
from textseg3d.io import atomic_path, write_volume_like

SUMMARY = "summary.json"
Progress = Callable[[str, int, int], object]


def predict_cases(
    segmenter: Segmenter,
    dataset: Dataset,
    names: Sequence[str],
    prompts: Mapping[str, str],
    out: Path,
    *,
    probabilities: bool = False,
    assume_orientation: str | None = None,
    modalities: Mapping[str, str | None] | None = None,
    on_progress: Progress | None = None,
) -> None:
    """Write one label map per case, named and valued as the dataset's own.

    Args:
        segmenter: the model.
        dataset: whose cases.
        names: of the cases.
        prompts: label name → what the model is asked for it.
        out: folder; made if needed.
        probabilities: also write ``<case>.npz`` with ``probabilities`` float16
            [1 + labels, k, j, i] in file order, background first.
        assume_orientation: for files that state none, see `read_volume`.
        modalities: case → what kind of scan it is, for a model with a modality token.
        on_progress: called with ("validate", done, total).

    Raises:
        InputError: for a case that is not there or cannot be read.
    """
    out.mkdir(parents=True, exist_ok=True)
    cases = {case.name: case for case in dataset.cases}
    for done, name in enumerate(names, start=1):
        if name not in cases:
            raise InputError(f"{dataset.folder} has no case {name}")
        _predict(
            segmenter, cases[name], dataset.description, prompts, out, probabilities,
            assume_orientation, (modalities or {}).get(name),
        )  # fmt: skip
        if on_progress is not None:
            on_progress("validate", done, len(names))


def score_cases(
    dataset: Dataset, names: Sequence[str], out: Path, *, processes: int = 1
) -> dict[str, Any]:
    """Score the label maps of ``out`` and write nnU-Net's ``summary.json`` beside them.

    A label that ``cases.json`` does not list as looked for in a case is not scored there.

    Raises:
        InputError: if a prediction is missing.
    """
    request = FolderRequest(dataset.folder, out, dataset.folder / FILE_NAME)
    labels = label_set(request)
    wanted = set(names)
    named = [label.name for label in dataset.description.labels]
    notes = load_case_notes(dataset.folder, named)
    pairs = [
        FilePair(
            case.label,
            out / f"{case.name}{dataset.description.file_ending}",
            notes.get(case.name, CaseNotes()).unknown(named),
        )
        for case in dataset.cases
        if case.name in wanted
    ]
    for pair in pairs:
        if pair.prediction is None or not pair.prediction.is_file():
            raise InputError(f"there is no prediction {pair.prediction}; validate again")
    summary = summarise(run_all(_Score(labels), pairs, processes), labels)
    text = json.dumps(summary, indent=4, sort_keys=True, ensure_ascii=False)
    write_text(out / SUMMARY, text + "\n")
    return summary


@dataclasses.dataclass(frozen=True)
class _Score:
    labels: Any

    def __call__(self, pair: FilePair) -> dict[str, Any]:
        return score_pair(pair, labels=self.labels, resample=False)


def _predict(
    segmenter: Segmenter,
    case: DatasetCase,
    description: Description,
    prompts: Mapping[str, str],
    out: Path,
    probabilities: bool,
    assume_orientation: str | None,
    modality: str | None,
) -> None:
    arrays = read_case(case, assume_orientation=assume_orientation)
    volume = dataclasses.replace(arrays.volume, array=arrays.image)
    texts = list(dict.fromkeys(prompts.values()))
    prediction = segmenter.predict(volume, texts, keep_logits=True, modality=modality)
    scores = {label: _probability(prediction, text) for label, text in prompts.items()}
    values = label_map(scores, description)
    path = out / f"{case.name}{description.file_ending}"
    write_volume_like(path, values, arrays.volume)
    if probabilities:
        order = [scores[label.name] for label in description.labels]
        background = 1 - np.max(order, axis=0)
        in_file = [arrays.volume.to_source(p).transpose(2, 1, 0) for p in (background, *order)]
        with atomic_path(out / f"{case.name}.npz") as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, probabilities=np.stack(in_file).astype(np.float16))


def _probability(prediction: Prediction, text: str) -> NDArray[np.float32]:
    """Probability [D, H, W]; zero where the model says that it is not there at all."""
    result = prediction[text]
    if result.packed is None or result.presence is None or result.presence < PRESENT:
        return np.zeros(prediction.volume.shape, np.float32)
    return result.probability()


def label_map(
    scores: Mapping[str, NDArray[np.float32]], description: Description
) -> NDArray[np.uint8] | NDArray[np.int16]:
    """One label value per voxel: the likeliest label above one half, or regions painted in order.

    Args:
        scores: label name → probability [D, H, W].
        description: values of the labels; with regions, the order of painting.
    """
    labels = description.labels
    if description.has_regions:
        order = description.regions_class_order or ()
        result = np.zeros(next(iter(scores.values())).shape, np.int16)
        for label, value in zip(labels, order, strict=True):
            result[scores[label.name] > 0.5] = value
    else:
        stacked = np.stack([scores[label.name] for label in labels])
        values = np.array([label.values[0] for label in labels], np.int16)
        result = np.where(stacked.max(axis=0) > 0.5, values[stacked.argmax(axis=0)], 0)
        result = result.astype(np.int16)
    return result.astype(np.uint8) if max(description.values) < 256 else result
