"""Model folders: finding one by name, describing it (card), checking it before it is used."""

from textseg3d.zoo.card import Evaluation, FileEntry, ModelCard, TrainingSource, write_card
from textseg3d.zoo.find import default_model, find_model, known_models
from textseg3d.zoo.verify import check_model, verify_model

__all__ = [
    "Evaluation",
    "FileEntry",
    "ModelCard",
    "TrainingSource",
    "check_model",
    "default_model",
    "find_model",
    "known_models",
    "verify_model",
    "write_card",
]
