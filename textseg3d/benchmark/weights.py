"""Model folders to measure with: a random nnU-Net, and a prompt model asked for many concepts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import MissingDependencyError, UsageError

BEND = 1.5  # largest bias of a norm in the finest stages
SAMPLES = 40_000  # voxels that are clustered
ROUNDS = 12  # of k-means
FAMILY = "dynamic_network_architectures.architectures.unet.PlainConvUNet"


@dataclass(frozen=True)
class RandomNnunet:
    """A plain nnU-Net for CT with random weights.

    Attributes:
        classes: without background.
        features: channels per stage; each stage but the first halves the grid.
        patch: voxels of a window.
        spacing_mm: of the network's grid.
        seed: of the weights.
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


def write_nnunet(folder: Path, design: RandomNnunet) -> Path:
    """Write an nnU-Net results folder, as its trainer leaves it (plans, dataset, fold_0).

    The weights are nnU-Net's own initialisation, with two changes. Convolutions of the finest
    stages and transposed ones are constant over their kernel, which makes features smooth. Norms
    of the finest stages have a bias, so that features bend at different intensities. What the
    last layer makes of the features is settled by :func:`fit_last_layer`.

    Raises:
        MissingDependencyError: without nnunetv2.
    """
    weights = _weights(design)
    (folder / "fold_0").mkdir(parents=True)
    for name, data in (("plans.json", _plans(design)), ("dataset.json", _dataset(design))):
        (folder / name).write_text(json.dumps(data), encoding="utf-8")
    _write_checkpoint(folder, weights)
    return folder


def _weights(design: RandomNnunet) -> dict[str, Any]:
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
        network = get_network_from_plans(
            architecture["network_class_name"],
            architecture["arch_kwargs"],
            architecture["_kw_requires_import"],
            1,
            design.classes + 1,
            deep_supervision=True,
        )
    return _smooth(network.state_dict(), len(design.features))


def _write_checkpoint(folder: Path, weights: dict[str, Any]) -> None:
    import torch

    checkpoint = {
        "network_weights": weights,
        "init_args": {"configuration": "3d_fullres", "fold": 0},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
        "current_epoch": 0,
    }
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")


def _smooth(weights: dict[str, Any], stages: int) -> dict[str, Any]:
    import torch

    finest = ("encoder.stages.0.", f"decoder.stages.{stages - 2}.convs.")
    generator = torch.Generator().manual_seed(0)
    changed = set()
    for name, tensor in weights.items():
        if tensor.data_ptr() in changed:  # one weight has several names
            continue
        changed.add(tensor.data_ptr())
        if tensor.dim() == 5 and ("transpconvs" in name or name.startswith(finest)):
            tensor.copy_(tensor.mean(dim=(2, 3, 4), keepdim=True).expand_as(tensor))
        if name.startswith(finest) and name.endswith("norm.bias"):
            tensor.uniform_(-BEND, BEND, generator=generator)
    return weights


def fit_last_layer(source: Path, design: RandomNnunet, model: Path, scan: Path) -> None:
    """Give an nnU-Net's last layer the classes that its features fall into on a scan.

    The features of all voxels, means over half-overlapping windows as the predictors take them,
    are clustered (k-means, with a seed), and each class stands for the voxels that are nearest
    to its centre; the largest cluster is the background. So the network decides for what it can
    tell apart best, and every class is somewhere.

    Args:
        source: nnU-Net's results folder; its checkpoint is written anew.
        design: what it was written from.
        model: the same, converted.
        scan: what to fit to.
    """
    import torch

    features = _features(model, scan)
    weights = _weights(design)
    last = max(n for n in weights if n.startswith("decoder.seg_layers.") and n.endswith("weight"))
    classes = len(weights[last])
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    centres = _clusters((features - mean) / scale, classes)
    bias = -(centres**2).sum(axis=1) / 2 - centres @ (mean / scale)
    for name, values in ((last, centres / scale), (last.replace("weight", "bias"), bias)):
        weights[name].copy_(torch.tensor(values, dtype=torch.float32).view_as(weights[name]))
    _write_checkpoint(source, weights)


def _features(model: Path, scan: Path) -> NDArray[np.float64]:
    """What the last layer sees of some voxels of a scan [n, channels]."""
    import torch

    from textseg3d.inference.closed.engine import load_closed
    from textseg3d.inference.closed.prepare import prepare
    from textseg3d.inference.closed.windows import PlaneSum, importance
    from textseg3d.inference.device import autocast, choose_runtime
    from textseg3d.io import read_volume

    loaded, runtime = load_closed(model), choose_runtime("cpu")
    network: Any = loaded.networks[0]
    channels = network.decoder.seg_layers[-1].in_channels
    network.decoder.seg_layers[-1] = torch.nn.Identity()
    rng = np.random.default_rng(0)
    chosen = []
    with torch.inference_mode():
        image = prepare(read_volume(scan), loaded.spec, exact=True)
        sums = PlaneSum(image.grid, channels, importance(image.grid.size))
        rows = image.grid.starts[0]
        for row, first in enumerate(rows):
            for start in (s for s in image.grid if s[0] == first):
                inside, window = image.grid.clip(start)
                x = torch.zeros((1, 1, *image.grid.size))
                x[0][(slice(None), *window)] = image.inputs[(slice(None), *inside)]
                with autocast(runtime):
                    sums.add(start, network(x)[0])
            for plane in sums.take(rows[row + 1] if row + 1 < len(rows) else None):
                voxels = plane.flatten(1).T.double().numpy()
                count = min(len(voxels), SAMPLES // image.grid.shape[0] + 1)
                chosen.append(voxels[rng.choice(len(voxels), count, replace=False)])
    return np.concatenate(chosen)


def _clusters(points: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Centres [count, channels] of k-means, the largest cluster's first."""
    rng = np.random.default_rng(0)
    centres = points[rng.choice(len(points), 1)]
    distance = ((points - centres[0]) ** 2).sum(axis=1)
    while len(centres) < count:  # k-means++
        new = points[rng.choice(len(points), p=distance / distance.sum())]
        centres = np.vstack([centres, new])
        distance = np.minimum(distance, ((points - new) ** 2).sum(axis=1))
    for _ in range(ROUNDS):
        nearest = (points @ centres.T - (centres**2).sum(axis=1) / 2).argmax(axis=1)
        for k in np.unique(nearest):
            centres[k] = points[nearest == k].mean(axis=0)
    sizes = np.bincount(nearest, minlength=count)
    return np.asarray(centres[np.argsort(-sizes, kind="stable")])


def _plans(design: RandomNnunet) -> dict[str, Any]:
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
    statistics = {
        "mean": 30.0, "std": 220.0, "percentile_00_5": -950.0, "percentile_99_5": 700.0,
        "min": -1024.0, "max": 2000.0, "median": 40.0,
    }  # fmt: skip
    return {
        "dataset_name": "Dataset001_Random",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(design.spacing_mm),
        "original_median_shape_after_transp": list(design.patch),
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": statistics},
    }


def _dataset(design: RandomNnunet) -> dict[str, Any]:
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
