"""Tiny nnU-Net results folders with random weights, made by nnunetv2's own code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

LABELS = {"background": 0, "lung_upper_lobe_left": 1, "lung_lower_lobe_left": 2, "liver": 3}
REGIONS = {"background": 0, "whole_tumor": [1, 2, 3], "tumor_core": [2, 3], "enhancing": 3}
CT_STATISTICS = {
    "mean": 30.0, "std": 220.0, "percentile_00_5": -950.0, "percentile_99_5": 700.0,
    "min": -1024.0, "max": 2000.0, "median": 40.0,
}  # fmt: skip


def make_nnunet(
    folder: Path,
    *,
    kind: str = "PlainConvUNet",
    spacing: tuple[float, ...] = (2.0, 2.0, 2.0),
    patch: tuple[int, ...] = (16, 16, 24),
    transpose: tuple[int, ...] = (0, 1, 2),
    schemes: tuple[str, ...] = ("CTNormalization",),
    masks: tuple[bool, ...] = (False,),
    labels: dict[str, Any] = LABELS,
    folds: int = 1,
    thin: bool = False,
    reader: str = "SimpleITKIO",
    features: tuple[int, ...] = (4, 6, 8),
    seed: int = 0,
) -> Path:
    """Write plans.json, dataset.json and fold_0 … of an nnU-Net; return the folder.

    Args:
        thin: kernels and strides of one along the first axis in the first stage.
        features: per stage; three stages have few convolutions, more have nnU-Net's numbers.
    """
    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    first, stages = 1 if thin else 3, len(features)
    blocks = "n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage"
    architecture = {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{kind}",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": list(features),
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[first, 3, 3]] + [[3, 3, 3]] * (stages - 1),
            "strides": [[1, 1, 1], [1 if thin else 2, 2, 2]] + [[2, 2, 2]] * (stages - 2),
            blocks: [1, 2, 1] if stages == 3 else [2] * stages,
            "n_conv_per_stage_decoder": [1 if stages == 3 else 2] * (stages - 1),
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
    options = {"is_seg": False, "order_z": 0, "force_separate_z": None}
    function = "resample_data_or_seg_to_shape"
    configuration = {
        "data_identifier": "d",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(patch),
        "median_image_size_in_voxels": [30, 30, 30],
        "spacing": list(spacing),
        "normalization_schemes": list(schemes),
        "use_mask_for_norm": list(masks),
        "resampling_fn_data": function,
        "resampling_fn_data_kwargs": {**options, "order": 3},
        "resampling_fn_seg": function,
        "resampling_fn_seg_kwargs": {**options, "is_seg": True, "order": 1},
        "resampling_fn_probabilities": function,
        "resampling_fn_probabilities_kwargs": {**options, "order": 1},
        "architecture": architecture,
        "batch_dice": False,
    }
    plans = {
        "dataset_name": "Dataset001_Tiny",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(spacing),
        "original_median_shape_after_transp": [30, 30, 30],
        "image_reader_writer": reader,
        "transpose_forward": list(transpose),
        "transpose_backward": [int(i) for i in np.argsort(transpose)],
        "configurations": {"3d_fullres": configuration, "child": {"inherits_from": "3d_fullres"}},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            str(c): CT_STATISTICS for c in range(len(schemes))
        },
    }
    dataset = {
        "channel_names": {
            str(c): "CT" if s == "CTNormalization" else f"T{c + 1}" for c, s in enumerate(schemes)
        },
        "labels": labels,
        "numTraining": 7,
        "file_ending": ".nii.gz",
        "licence": "CC-BY-SA 4.0",
    }
    if any(isinstance(value, list) for value in labels.values()):
        dataset["regions_class_order"] = [1, 2, 3]
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    heads = len(labels) - ("regions_class_order" in dataset)
    for fold in range(folds):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + fold)
            network = get_network_from_plans(
                architecture["network_class_name"],
                architecture["arch_kwargs"],
                architecture["_kw_requires_import"],
                len(schemes),
                heads,
                deep_supervision=True,
            )
            with torch.no_grad():
                for parameter in network.parameters():  # some start at 0 and would do nothing
                    parameter += torch.randn_like(parameter) * 0.2
        save_checkpoint(folder / f"fold_{fold}" / "checkpoint_final.pth", network.state_dict())
    return folder


def save_checkpoint(path: Path, weights: Any, **changes: Any) -> None:
    """A checkpoint with everything that nnU-Net's trainer puts in."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    parameters = [torch.nn.Parameter(torch.ones(3))]
    optimizer = torch.optim.SGD(parameters, 0.01, momentum=0.99, nesterov=True)
    parameters[0].grad = torch.ones(3)
    optimizer.step()
    checkpoint = {
        "network_weights": weights,
        "optimizer_state": optimizer.state_dict(),
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float64(0.5), np.float32(0.25)], "lrs": [0.01]},
        "_best_ema": np.float64(0.5),
        "current_epoch": 1000,
        "init_args": {
            "plans": {"some": [1, 2]},
            "configuration": "3d_fullres",
            "fold": 0,
            "dataset_json": {"labels": {"a": 1}},
            "device": torch.device("cuda"),
        },
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    torch.save({**checkpoint, **changes}, path)


def write_scan(
    folder: Path,
    *,
    channels: int = 1,
    shape: tuple[int, int, int] = (34, 30, 29),
    spacing: tuple[float, float, float] = (1.7, 1.6, 2.3),
    seed: int = 0,
) -> list[Path]:
    """A smooth random scan with an empty border, axes (i, j, k) towards P, R, S; one file each."""
    import nibabel as nib
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    affine = np.zeros((4, 4))
    # nibabel's world is RAS+: i runs to P (−y), j to R (+x), k to S (+z).
    affine[1, 0], affine[0, 1], affine[2, 2] = -spacing[0], spacing[1], spacing[2]
    affine[:3, 3], affine[3, 3] = (5, -7, 11), 1
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for channel in range(channels):
        smooth = gaussian_filter(rng.normal(size=shape), 2)
        values = (smooth / smooth.std() * 300 + 20).round().astype(np.int16)
        values[:3], values[:, -2:], values[:, :, :1] = 0, 0, 0
        values[10:13, 10:13, 10:13] = 0  # a hole in the middle
        path = folder / f"case_{channel:04d}.nii.gz"
        nib.save(nib.Nifti1Image(values, affine), path)
        paths.append(path)
    return paths
