"""Small model folders, written with the safetensors package (ours only reads headers)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from textseg3d.zoo import Evaluation, ModelCard, TrainingSource, write_card

CARD = ModelCard(
    name="toy",
    version="1",
    summary="A toy.",
    modalities=("CT",),
    concepts=("liver", "left lung"),
    weights_licence="Apache-2.0",
    training_sources=(TrainingSource("phantoms", "CC0-1.0", "images and labels", cases=3),),
    evaluations=(
        Evaluation(
            metric="dice",
            data="two phantoms",
            how="textseg3d evaluate",
            mean={"liver": 0.5},
            cases={"a": {"liver": 0.25}, "b": {"liver": 0.75}},
        ),
    ),
    limits=("Knows phantoms only.",),
)


def make_model(folder: Path, card: ModelCard = CARD) -> Path:
    """Write a folder with the files of a model and its card; return the folder."""
    (folder / "text").mkdir(parents=True)
    (folder / "plans.json").write_text("{}")
    tensors = {
        "weight": np.arange(12, dtype=np.float32).reshape(3, 4),
        "half": np.ones((2, 2), dtype=np.float16),
        "count": np.array(7, dtype=np.int64),
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "np"})
    save_file({"t": np.zeros(3, np.float32)}, folder / "text" / "text.safetensors")
    (folder / "text" / "config.json").write_text(json.dumps({"embed_dim": 4}))
    (folder / "text" / "bpe.txt.gz").write_bytes(gzip.compress(b"a b\n", mtime=0))
    write_card(folder, card)
    return folder
