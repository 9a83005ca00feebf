"""From a checkpoint to the files of a model folder: plans, averaged weights, text, bank."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

from textseg3d.errors import InputError
from textseg3d.plans.schema import Plans
from textseg3d.text.bank import EmbeddingBank
from textseg3d.text.encoder import load_encoder
from textseg3d.text.modality import TEXTS
from textseg3d.training.checkpoint import NAME
from textseg3d.training.tune import merge_low_rank

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
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = run / checkpoint
    if not path.is_file():
        raise InputError(f"{run}: no {checkpoint}; train first")
    folder.mkdir(parents=True, exist_ok=True)
    with safe_open(path, framework="pt") as file:
        step = file.metadata()["step"]
        average = {
            key.removeprefix("average."): file.get_tensor(key)
            for key in file.keys()  # noqa: SIM118
            if key.startswith("average.")
        }
    weights = {k: v.to(torch.bfloat16).contiguous() for k, v in merge_low_rank(average).items()}
    save_file(weights, folder / WEIGHTS, {"step": step})
    kept = {configuration: plans.configuration(configuration)}
    dataclasses.replace(plans, configurations=kept).save(folder / PLANS)
    if text.resolve() != (folder / TEXT).resolve():
        shutil.copytree(text, folder / TEXT, dirs_exist_ok=True)
    texts = [*concepts, *(TEXTS.values() if kept[configuration].text.modality_token else ())]
    EmbeddingBank.build(load_encoder(folder / TEXT), texts).save(folder / BANK)
