"""From a checkpoint to the files of a model folder: plans, averaged weights, text, bank."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from textseg3d.errors import InputError
from textseg3d.plans.schema import Plans
from textseg3d.text.bank import EmbeddingBank
from textseg3d.text.encoder import load_encoder
from textseg3d.training.cases import TrainingSet
from textseg3d.training.checkpoint import NAME

WEIGHTS, PLANS, TEXT, BANK = "model.safetensors", "plans.json", "text", "bank.safetensors"


def write_model_folder(
    run: Path, folder: Path, data: Path, plans: Plans, configuration: str, text: Path
) -> list[str]:
    """Write everything but the card, which needs words and measurements.

    Args:
        run: run folder with a checkpoint; its averaged weights are stored in bf16.
        folder: model folder; made if needed.
        data: training set, whose targets are the model's concepts.
        plans: their one configuration ``configuration`` is kept.
        text: encoder folder, copied unless it is the model's own already.

    Returns:
        The concepts (canonical names) that the model was trained on.

    Raises:
        InputError: if the run has no checkpoint.
    """
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    checkpoint = run / NAME
    if not checkpoint.is_file():
        raise InputError(f"{run}: no {NAME}; train first")
    folder.mkdir(parents=True, exist_ok=True)
    with safe_open(checkpoint, framework="pt") as file:
        step = file.metadata()["step"]
        weights = {
            key.removeprefix("average."): file.get_tensor(key).to(torch.bfloat16).contiguous()
            for key in file.keys()  # noqa: SIM118
            if key.startswith("average.")
        }
    save_file(weights, folder / WEIGHTS, {"step": step})
    kept = {configuration: plans.configuration(configuration)}
    dataclasses.replace(plans, configurations=kept).save(folder / PLANS)
    if text.resolve() != (folder / TEXT).resolve():
        shutil.copytree(text, folder / TEXT, dirs_exist_ok=True)
    concepts = [target.name for target in TrainingSet.load(data).targets]
    EmbeddingBank.build(load_encoder(folder / TEXT), concepts).save(folder / BANK)
    return concepts
