"""The models of several folds as one model folder, with the postprocessing decided for them."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from textseg3d.errors import ModelError, UsageError
from textseg3d.inference.postprocess import FILE_NAME, Postprocessing
from textseg3d.plans.schema import Plans, stage_weights
from textseg3d.zoo import ModelCard, verify_model, write_card

WEIGHTS, PLANS = "model.safetensors", "plans.json"
logger = logging.getLogger(__name__)


def merge_folds(
    models: Sequence[Path],
    out: Path,
    *,
    name: str | None = None,
    postprocessing: Postprocessing | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a model folder whose logits are the mean of those of other folders.

    The members have to be of one architecture, with the same text encoder and concepts.

    Args:
        models: folders of the members, one or more.
        out: the folder to make; it appears whole or not at all.
        name: of the new model.
        postprocessing: rules for its masks.
        overwrite: replace a folder that exists.

    Raises:
        ModelError: for damaged members, or members that do not go together.
        UsageError: if the folder exists.
    """
    from safetensors.torch import load_file, save_file

    from textseg3d.networks.ensemble import member_count, member_weights

    if not models:
        raise UsageError("an ensemble needs at least one model")
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists already; delete it, or choose another folder")
    cards = [verify_model(folder) for folder in models]
    for folder, card in zip(models[1:], cards[1:]):
        _same(models[0], cards[0], folder, card)
    weights = [load_file(str(folder / WEIGHTS)) for folder in models]
    for folder, one in zip(models, weights):
        if member_count(one):
            raise ModelError(f"{folder} is an ensemble already; merge the models of single folds")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
        new = Path(temporary) / "model"
        shutil.copytree(models[0], new, ignore=shutil.ignore_patterns(WEIGHTS, FILE_NAME))
        merged = weights[0] if len(weights) == 1 else member_weights(weights)
        save_file({key: tensor.contiguous() for key, tensor in merged.items()}, new / WEIGHTS)
        if postprocessing is not None:
            postprocessing.save(new / FILE_NAME)
        write_card(
            new,
            dataclasses.replace(
                cards[0],
                name=name or out.name,
                summary=f"Mean of {len(models)} networks: {', '.join(card.name for card in cards)}."
                if len(models) > 1
                else cards[0].summary,
                evaluations=(),
            ),
        )
        shutil.rmtree(out, ignore_errors=True)
        new.rename(out)
    logger.info("written: %s", out)
    return out


def _same(first: Path, one: ModelCard, folder: Path, other: ModelCard) -> None:
    """Check that two members go together.

    Raises:
        ModelError: if their networks, texts or concepts differ.
    """
    if Plans.load(first / PLANS).configurations != Plans.load(folder / PLANS).configurations:
        raise ModelError(f"{folder} and {first} have different plans; an ensemble needs equal ones")
    for name, configuration in Plans.load(first / PLANS).configurations.items():
        file = stage_weights(name)
        if configuration.cascade and one.files[file].sha256 != other.files[file].sha256:
            raise ModelError(
                f"{folder} and {first} have different weights of the stage {name!r}; merge models "
                "without stages, and add one stage to the result"
            )
    if one.concepts != other.concepts:
        raise ModelError(f"{folder} and {first} know different concepts; they cannot be averaged")
    texts = [
        {name: entry.sha256 for name, entry in card.files.items() if name.startswith("text/")}
        for card in (one, other)
    ]
    if texts[0] != texts[1]:
        raise ModelError(f"{folder} and {first} have different text encoders")
