"""Datasets in nnU-Net's layout: their description, their files, their faults, their folds."""

from textseg3d.dataset.description import Description, Label
from textseg3d.dataset.folder import Dataset, DatasetCase
from textseg3d.dataset.integrity import Fault, verify_dataset_integrity
from textseg3d.dataset.paths import Kind, base_folder, dataset_folder
from textseg3d.dataset.reading import CaseArrays, read_case
from textseg3d.dataset.splits import Fold, five_folds, load_or_make_splits, load_splits

__all__ = [
    "CaseArrays",
    "Dataset",
    "DatasetCase",
    "Description",
    "Fault",
    "Fold",
    "Kind",
    "Label",
    "base_folder",
    "dataset_folder",
    "five_folds",
    "load_or_make_splits",
    "load_splits",
    "read_case",
    "verify_dataset_integrity",
]
