"""An nnU-Net results folder becomes a model folder."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from textseg3d.convert.child import CheckpointFacts, extract_weights
from textseg3d.convert.plans import (
    read_architecture,
    read_channels,
    read_json,
    read_labels,
    read_resampling,
    resolve_configuration,
)
from textseg3d.convert.staging import staged_model
from textseg3d.errors import ModelError, PlansError, UsageError
from textseg3d.inference.closed.network import build_unet, match_names
from textseg3d.inference.closed.spec import ClosedSpec
from textseg3d.plans.jsonio import from_json, to_json
from textseg3d.zoo import ModelCard, TrainingSource, write_card
from textseg3d.zoo.card import file_sha256
from textseg3d.zoo.tensors import read_header

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)
CHECKPOINT = "checkpoint_final.pth"
READERS = {
    "SimpleITKIO": "file",
    "SimpleITKIOWithReorient": "RAS",
    "NibabelIO": "file",
    "NibabelIOWithReorient": "RAS",
    "Tiff3DIO": "file",
}


def convert_nnunet(
    source: str | Path,
    output: str | Path,
    *,
    folds: Sequence[str] | None = None,
    checkpoint: str = CHECKPOINT,
    licence: str | None = None,
    orientation: Literal["file", "RAS"] | None = None,
    mirror: bool = False,
    overwrite: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Convert a folder `Trainer__Plans__Configuration`.

    Checkpoints are pickles; each is read in a child process that runs nothing of it (see
    :mod:`textseg3d.convert.pickles`). The folder appears complete or not at all.

    Args:
        source: with plans.json, dataset.json and fold_0, fold_1, …
        output: the model folder to make.
        folds: "0", "1", … or "all"; None takes all numbered folds that have the checkpoint.
        checkpoint: file name in each fold.
        licence: of the weights; None takes `licence` or `license` of dataset.json.
        orientation: None follows the reader that the plans name.
        mirror: also predict mirrored windows, as nnU-Net does unless --disable_tta is given.
        overwrite: replace a model folder that exists.
        changes: fields of the spec, as JSON, that are set whatever the source says.

    Returns:
        The model folder.

    Raises:
        UsageError: if the output exists, or holds other things than a model.
        ModelError: if anything in the source is missing, damaged, unsafe or not supported.
        MissingDependencyError: without dynamic_network_architectures.
    """
    root, target = Path(source).expanduser(), Path(output).expanduser()
    plans, dataset = read_json(root / "plans.json"), read_json(root / "dataset.json")
    members = fold_checkpoints(root, folds, checkpoint)
    with staged_model(target, overwrite=overwrite) as staging:
        facts, hashes = None, {}
        for name, path in members.items():
            hashes[f"{name}/{checkpoint}"] = file_sha256(path)
            log.info("reading %s", path)
            found = extract_weights(path, staging / f"{name}.part.safetensors")
            facts = _same_facts(facts, found, path)
        assert facts is not None
        spec = read_spec(
            plans, dataset, facts, tuple(members), hashes, orientation=orientation, mirror=mirror
        )
        if changes:
            spec = from_json(ClosedSpec, {**to_json(spec), **changes})
        _write_weights(staging, spec)
        spec.save(staging)
        for name, data in (("plans.json", plans), ("dataset.json", dataset)):
            text = json.dumps(data, indent=1, ensure_ascii=False)
            (staging / name).write_text(text + "\n", encoding="utf-8")
        write_card(staging, _card(target.name, spec, dataset, licence))
    return target


def fold_checkpoints(
    root: Path, folds: Sequence[str] | None = None, checkpoint: str = CHECKPOINT
) -> dict[str, Path]:
    """Fold folders with the checkpoint: name → path.

    Raises:
        ModelError: if there is none.
    """
    if "/" in checkpoint or "\\" in checkpoint:
        raise UsageError(f"checkpoint {checkpoint!r} must be a file name, such as {CHECKPOINT}")
    if folds is None:
        names = sorted(p.name for p in root.iterdir() if re.fullmatch(r"fold_\d+", p.name))
        names = [name for name in names if (root / name / checkpoint).is_file()]
        if not names and (root / "fold_all" / checkpoint).is_file():
            names = ["fold_all"]
        if not names:
            raise ModelError(f"{root} has no fold_0, fold_1, … or fold_all with {checkpoint}")
    else:
        names = [f"fold_{fold}" for fold in dict.fromkeys(folds)]
        for fold, name in zip(folds, names):
            if not re.fullmatch(r"\d+|all", str(fold)):
                raise UsageError(f"fold {fold!r} is not a number or 'all'")
            if not (root / name / checkpoint).is_file():
                raise ModelError(f"{root} has no {name}/{checkpoint}")
    return {name: root / name / checkpoint for name in names}


def _same_facts(
    known: CheckpointFacts | None, found: CheckpointFacts, path: Path
) -> CheckpointFacts:
    if known is not None and found.configuration != known.configuration:
        raise ModelError(
            f"{path} was trained as {found.configuration!r}, the folds before it as "
            f"{known.configuration!r}"
        )
    return found if known is None else known


def read_spec(
    plans: Mapping[str, Any],
    dataset: Mapping[str, Any],
    facts: CheckpointFacts,
    folds: tuple[str, ...],
    hashes: dict[str, str],
    *,
    orientation: Literal["file", "RAS"] | None,
    mirror: bool,
) -> ClosedSpec:
    """The spec of a model from its plans, dataset and checkpoints.

    Raises:
        ModelError: if they are not sound, or ask for what cannot be run.
    """
    try:
        configuration = resolve_configuration(plans, facts.configuration)
        reader = str(plans.get("image_reader_writer", "SimpleITKIO"))
        if orientation is None and reader not in READERS:
            raise ModelError(f"scans were read by {reader!r}; readers known: {', '.join(READERS)}")
        labels, classes, regions = read_labels(dataset)
        a, b, c = (float(s) for s in configuration["spacing"])
        p, q, r = (int(n) for n in configuration["patch_size"])
        i, j, k = (int(axis) for axis in plans["transpose_forward"])
        return ClosedSpec(
            source=f"{plans.get('dataset_name', 'unnamed')}, {facts.trainer}, "
            f"{facts.configuration}",
            spacing=(a, b, c),
            patch_size=(p, q, r),
            transpose=(i, j, k),
            channels=read_channels(plans, configuration, dataset),
            classes=classes,
            labels=labels,
            architecture=read_architecture(configuration),
            folds=folds,
            regions=regions,
            orientation=orientation or READERS[reader],  # type: ignore[arg-type]
            data_resampling=read_resampling(configuration, "data", 3),
            logits_resampling=read_resampling(configuration, "probabilities", 1),
            mirror_axes=facts.mirror_axes if mirror else (),
            source_sha256=hashes,
        )
    except PlansError as error:
        raise ModelError(f"the plans cannot be run: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"plans.json or dataset.json is not as nnU-Net version 2 writes it "
            f"({type(error).__name__}: {error!s:.100})"
        ) from None


def _write_weights(staging: Path, spec: ClosedSpec) -> None:
    """One file with the weights of all folds, each weight once; parts are removed."""
    import torch
    from safetensors.numpy import load_file, save_file

    with torch.device("meta"):
        network = build_unet(spec.architecture, len(spec.channels), len(spec.labels))
    merged: dict[str, NDArray[np.float32]] = {}
    for fold in spec.folds:
        part = staging / f"{fold}.part.safetensors"
        shapes = {name: entry.shape for name, entry in read_header(part).items()}
        chosen = match_names(network, shapes, f"the checkpoint of {fold}")
        weights = load_file(str(part))
        merged |= {f"{fold}/{own}": weights[stored] for own, stored in chosen.items()}
        part.unlink()
    save_file(merged, str(staging / "model.safetensors"))


def _card(
    name: str, spec: ClosedSpec, dataset: Mapping[str, Any], licence: str | None
) -> ModelCard:
    stated = str(licence or dataset.get("licence") or dataset.get("license") or "").strip()
    cases = dataset.get("numTraining")
    data_name = str(dataset.get("name") or spec.source.partition(",")[0])
    kinds = dict.fromkeys(_modality(channel.name) for channel in spec.channels)
    return ModelCard(
        name=name,
        version=next(iter(spec.source_sha256.values()))[:12],
        summary=f"nnU-Net converted from {spec.source}, {len(spec.folds)} fold(s), "
        f"{len(spec.classes)} classes.",
        modalities=tuple(kinds),
        concepts=tuple(item.name for item in spec.classes),
        weights_licence=stated or "not stated by the source; ask its authors before you use it",
        training_sources=(
            TrainingSource(
                data_name,
                stated or "not stated",
                "images and labels",
                cases if isinstance(cases, int) and not isinstance(cases, bool) else None,
            ),
        ),
        limits=(
            "Knows its classes only; a prompt is a choice among them.",
            "Scores were not measured here; see the source.",
        ),
    )


def _modality(channel: str) -> str:
    text = channel.upper()
    if "CT" in text.split() or text.startswith("CT"):
        return "CT"
    if "PET" in text or "SUV" in text:
        return "PET"
    mr = ("MR", "T1", "T2", "FLAIR", "ADC", "DWI", "DIXON")
    return "MR" if any(word in text for word in mr) else channel
