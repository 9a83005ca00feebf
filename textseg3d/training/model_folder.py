"""From a checkpoint to the files of a model folder: plans, averaged weights, text, bank."""

from __future__ import annotations

import dataclasses
import logging
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textseg3d.errors import InputError, ModelError, UsageError
from textseg3d.io.atomic import atomic_path
from textseg3d.plans.schema import Plans, stage_weights
from textseg3d.suggest import did_you_mean
from textseg3d.text.bank import EmbeddingBank
from textseg3d.text.encoder import folder_hash, load_encoder
from textseg3d.text.modality import TEXTS
from textseg3d.training.checkpoint import NAME
from textseg3d.training.tune import merge_low_rank

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)
WEIGHTS, PLANS, TEXT, BANK = "model.safetensors", "plans.json", "text", "bank.safetensors"


def write_model_folder(
    run: Path,
    folder: Path,
    concepts: Sequence[str],
    plans: Plans,
    configuration: str,
    text: Path,
    checkpoint: str = NAME,
) -> None:
    """Write everything but the card, which needs words and measurements.

    Args:
        run: run folder with a checkpoint; its averaged weights are stored in bf16.
        folder: model folder; made if needed.
        concepts: canonical names of what it was trained on.
        plans: their one configuration ``configuration`` is kept.
        text: encoder folder, copied unless it is the model's own already.
        checkpoint: name of the file in ``run``.

    Raises:
        InputError: if the run has no checkpoint.
    """
    weights, step = _averaged_weights(run / checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / PLANS).is_file():
        for name in Plans.load(folder / PLANS).stages(configuration):
            logger.warning(
                "the stage %s of the earlier model in %s is no part of the new one; add it again "
                "with `textseg3d train DATA %s … --export-only`", name, folder, name,
            )  # fmt: skip
    _write(weights, folder / WEIGHTS, step)
    kept = {configuration: plans.configuration(configuration)}
    dataclasses.replace(plans, configurations=kept).save(folder / PLANS)
    if text.resolve() != (folder / TEXT).resolve():
        shutil.copytree(text, folder / TEXT, dirs_exist_ok=True)
    texts = [*concepts, *(TEXTS.values() if kept[configuration].text.modality_token else ())]
    EmbeddingBank.build(load_encoder(folder / TEXT), texts).save(folder / BANK)


def check_stage(folder: Path, plans: Plans, configuration: str, text: Path) -> None:
    """Whether a stage can be added to a model folder; to be called before hours of training.

    Args:
        folder: the model.
        plans: with the stage's configuration.
        configuration: its name.
        text: the encoder that the stage is trained with.

    Raises:
        UsageError: if there is no model, it has not the configuration that localises for the
            stage, or another text encoder.
        PlansError: if the plans of both do not go together.
    """
    if not (folder / PLANS).is_file():
        raise UsageError(
            f"{folder} is no model folder; {configuration!r} is a stage, which joins a model that "
            f"has {plans.configuration(configuration).cascade!r}: train and export that first"
        )
    joined = _with_stage(folder, plans, configuration)
    wanted = joined.configuration(configuration).text.encoder
    own = folder / wanted
    used = EmbeddingBank.load(folder / BANK).encoder_hash if not own.is_dir() else folder_hash(own)
    if used != folder_hash(text):
        raise UsageError(f"{text} is another text encoder than that of {folder}; give --text {own}")


def add_stage(
    run: Path,
    folder: Path,
    plans: Plans,
    configuration: str,
    text: Path,
    checkpoint: str = NAME,
    threshold: float = 0.5,
) -> None:
    """Add a stage to a model folder, or put it in the place of an earlier one of its name.

    Its weights, its configuration and the texts of what it answers are written; everything but
    the card. What the folder's bank has already stays as it is.

    Args:
        run: run folder with a checkpoint of the stage.
        folder, plans, configuration, text: see :func:`check_stage`.
        checkpoint: name of the file in ``run``.
        threshold: probability from which on a voxel is part of an answer; logits are shifted so
            that it becomes 0.5.

    Raises:
        InputError: if the run has no checkpoint.
        UsageError: see :func:`check_stage`.
    """
    check_stage(folder, plans, configuration, text)
    weights, step = _averaged_weights(run / checkpoint)
    # The last entry of the finest query is what all logits of a prompt have in common.
    finest = max(n for n in weights if n.startswith("prompt.queries.0.") and n.endswith("bias"))
    weights[finest][-1] -= math.log(threshold / (1 - threshold))
    joined = _with_stage(folder, plans, configuration)
    bank = None
    if (folder / BANK).is_file():
        answers = joined.configuration(configuration).answers
        bank = EmbeddingBank.load(folder / BANK).extended(load_encoder(text), answers)
    with atomic_path(folder / stage_weights(configuration)) as path:
        _write(weights, path, step)
    with atomic_path(folder / PLANS) as path:
        joined.save(path)
    if bank is not None:
        bank.save(folder / BANK)


def _with_stage(folder: Path, plans: Plans, configuration: str) -> Plans:
    """The plans of a model folder with a stage from other plans."""
    own, stage = Plans.load(folder / PLANS), plans.configuration(configuration)
    coarse = [name for name, one in own.configurations.items() if one.cascade is None]
    if stage.cascade not in coarse:
        hint = did_you_mean(str(stage.cascade), coarse)
        raise UsageError(
            f"{folder} has no configuration {stage.cascade!r}{hint}, which localises for "
            f"{configuration!r} (it has: {', '.join(coarse) or 'none'})"
        )
    if configuration in coarse:
        raise UsageError(f"{configuration!r} is no stage in {folder}; call the stage otherwise")
    return own.replace(configurations={**own.configurations, configuration: stage})


def _write(weights: dict[str, Tensor], path: Path, step: str) -> None:
    """A file that others may read: safetensors' own function makes one that nobody else may."""
    from safetensors.torch import save

    path.write_bytes(save(weights, {"step": step}))


def _averaged_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """The averaged weights of a checkpoint in bf16, and its step."""
    import torch
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"{path.parent}: no {path.name}; train first")
    try:
        with safe_open(path, framework="pt") as file:
            step = str(file.metadata()["step"])
            average = {
                key.removeprefix("average."): file.get_tensor(key)
                for key in file.keys()  # noqa: SIM118
                if key.startswith("average.")
            }
    except SafetensorError as error:
        raise ModelError(f"{path} is damaged ({error}); train again") from None
    return {k: v.to(torch.bfloat16).contiguous() for k, v in merge_low_rank(average).items()}, step
