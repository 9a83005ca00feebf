"""Model folders to measure with: an nnU-Net, and a prompt model asked for many concepts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textseg3d.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

INTENSITY = {
    "mean": 30.0, "std": 220.0, "percentile_00_5": -950.0, "percentile_99_5": 700.0,
    "min": -1024.0, "max": 2000.0, "median": 40.0,
}  # fmt: skip
FAMILY = "dynamic_network_architectures.architectures.unet.PlainConvUNet"


@dataclass(frozen=True)
class NnunetDesign:
    """A plain nnU-Net for CT.

    Attributes:
        classes: without background.
        features: channels per stage; each stage but the first halves the grid.
        patch: voxels of a window.
        spacing_mm: of the network's grid.
        seed: of the first weights.
    """

    classes: int
    features: tuple[int, ...] = (16, 32, 64, 128, 160)
    patch: tuple[int, int, int] = (96, 96, 96)
    spacing_mm: tuple[float, float, float] = (3.0, 3.0, 3.0)
    seed: int = 0

    def architecture(self) -> dict[str, Any]:
        """As plans.json has it."""
        stages = len(self.features)
        return {
            "network_class_name": FAMILY,
            "arch_kwargs": {
                "n_stages": stages,
                "features_per_stage": list(self.features),
                "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": [[3, 3, 3]] * stages,
                "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
                "n_conv_per_stage": [2] * stages,
                "n_conv_per_stage_decoder": [2] * (stages - 1),
                "conv_bias": True,
                "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        }


def class_labels(count: int) -> list[str]:
    """Names of structures, in TotalSegmentator's spelling.

    Raises:
        UsageError: if the knowledge tree has fewer.
    """
    from textseg3d.text.knowledge import load_tree

    tree = load_tree()
    names = [
        name
        for name, target in tree.labels.items()
        if tree.parts(target) == [target]  # a whole would be compared with its parts
    ]
    if not 1 <= count <= len(names):
        raise UsageError(f"{count} classes were asked for; from 1 to {len(names)} can be named")
    return names[:count]


def first_network(design: NnunetDesign) -> torch.nn.Module:
    """The network as nnU-Net's trainer starts with it, made by nnunetv2 itself.

    Raises:
        MissingDependencyError: without nnunetv2.
    """
    import torch

    try:
        from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    except ImportError as error:
        raise MissingDependencyError(
            f"the comparison with nnU-Net needs nnunetv2 ({error}); pip install 'textseg3d[bench]'"
        ) from None
    architecture = design.architecture()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(design.seed)
        network: torch.nn.Module = get_network_from_plans(
            architecture["network_class_name"],
            architecture["arch_kwargs"],
            architecture["_kw_requires_import"],
            1,
            design.classes + 1,
            deep_supervision=True,
        )
    return network


def write_nnunet(folder: Path, design: NnunetDesign, weights: Mapping[str, Tensor]) -> Path:
    """Write an nnU-Net results folder, as its trainer leaves it (plans, dataset, fold_0).

    Args:
        folder: to be made.
        design: of the network.
        weights: of it; what they lack is as :func:`first_network` has it.

    Raises:
        MissingDependencyError: without nnunetv2.
    """
    import torch

    state = dict(first_network(design).state_dict())
    state |= {name: weights[name].detach().clone() for name in state if name in weights}
    (folder / "fold_0").mkdir(parents=True)
    for name, data in (("plans.json", _plans(design)), ("dataset.json", _dataset(design))):
        (folder / name).write_text(json.dumps(data), encoding="utf-8")
    checkpoint = {
        "network_weights": state,
        "init_args": {"configuration": "3d_fullres", "fold": 0},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
        "current_epoch": 0,
    }
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")
    return folder


def _plans(design: NnunetDesign) -> dict[str, Any]:
    function = "resample_data_or_seg_to_shape"
    options = {"is_seg": False, "order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": "bench",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(design.patch),
        "median_image_size_in_voxels": list(design.patch),
        "spacing": list(design.spacing_mm),
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": function,
        "resampling_fn_data_kwargs": {**options, "order": 3},
        "resampling_fn_seg": function,
        "resampling_fn_seg_kwargs": {**options, "is_seg": True, "order": 1},
        "resampling_fn_probabilities": function,
        "resampling_fn_probabilities_kwargs": {**options, "order": 1},
        "architecture": design.architecture(),
        "batch_dice": False,
    }
    return {
        "dataset_name": "Dataset001_Bench",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(design.spacing_mm),
        "original_median_shape_after_transp": list(design.patch),
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": INTENSITY},
    }


def _dataset(design: NnunetDesign) -> dict[str, Any]:
    labels = {"background": 0}
    labels |= {name: i for i, name in enumerate(class_labels(design.classes), 1)}
    return {
        "channel_names": {"0": "CT"},
        "labels": labels,
        "numTraining": 1,
        "file_ending": ".nii.gz",
        "licence": "CC0-1.0",
    }


def many_concepts(model: str, folder: Path, count: int) -> Sequence[str]:
    """A copy of a prompt model's main network whose card claims ``count`` concepts; returns them.

    The model's own concepts come first, but for those that a stage answers. The others are named
    by the knowledge tree and encoded by the model's text encoder: the model runs for them as for
    any, without having learnt them.

    Raises:
        UsageError: for a model without text encoder.
    """
    from textseg3d.plans.schema import Plans
    from textseg3d.text.bank import EmbeddingBank
    from textseg3d.text.encoder import load_encoder
    from textseg3d.text.knowledge import load_tree
    from textseg3d.zoo import ModelCard, find_model, write_card

    source = find_model(model)
    card = ModelCard.read(source)
    if not (source / "text").is_dir():
        raise UsageError(f"{model} has no text encoder, which more concepts would need")
    tree = load_tree()
    plans = Plans.load(source / "plans.json")
    answered = {name for stage in plans.stages(plans.main).values() for name in stage.answers}
    names = [name for name in card.concepts if name not in answered]
    others = (tree.canonical_name(target) for target in tree.labels.values())
    names += [name for name in dict.fromkeys(others) if name not in {*names, *answered}]
    chosen = tuple(names[:count])
    shutil.copytree(source, folder)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    plans.replace(configurations={plans.main: plans.configuration(plans.main)}).save(
        folder / "plans.json"
    )
    EmbeddingBank.build(load_encoder(folder / "text"), chosen).save(folder / "bank.safetensors")
    write_card(folder, replace(card, name=folder.name, concepts=chosen, files={}))
    return chosen
