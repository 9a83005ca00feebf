"""From a fingerprint to plans, with the numbers of nnU-Net's ``ExperimentPlanner``.

The rules and constants are those of nnunetv2 2.8 (Isensee et al., Nature Methods 2021); a parity
test compares the two. What is added: the reasons, and the intensity schemes of prompted models.
All triples are (z, y, x), before ``transpose_forward`` in a fingerprint, after it in plans.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import PlansError
from textseg3d.plans.fingerprint import Fingerprint
from textseg3d.plans.topology import Topology, feature_map_size, topology

PLANS_NAME = "nnUNetPlans"
ANISOTROPY_THRESHOLD = 3.0
BASE_FEATURES = 32
MAX_FEATURES = {2: 512, 3: 320}
CONVOLUTIONS_PER_STAGE = 2
REFERENCE_SIZE = {2: 85_000_000, 3: 560_000_000}  # feature map numbers that REFERENCE_GB train
REFERENCE_BATCH = {2: 12, 3: 2}
REFERENCE_GB = 8.0
LARGEST_PATCH = {2: 2048**2, 3: 256**3}
MIN_BATCH = 2
MAX_DATASET_SHARE = 0.05  # of all voxels, in one batch
LOWRES_BELOW = 0.25  # of the median scan, covered by a patch
LOWRES_FACTOR = 1.03
MASK_BELOW = 0.75  # of the voxels left by cropping: then z-score inside the mask
NORMALISATIONS = {
    "ct": "CTNormalization",
    "nonorm": "NoNormalization",
    "rescale_to_0_1": "RescaleTo01Normalization",
    "rgb_to_0_1": "RGBTo01Normalization",
}
READERS = {
    ".nii.gz": "SimpleITKIO", ".nrrd": "SimpleITKIO", ".mha": "SimpleITKIO", ".nii": "NibabelIO",
}  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """What planning takes from dataset.json.

    Attributes:
        dataset_name: such as "Dataset004_Hippocampus".
        channel_names: in channel order.
        classes: number of names under ``labels``, background and ignore included.
        num_training: cases.
        file_ending: such as ".nii.gz".
    """

    dataset_name: str
    channel_names: tuple[str, ...]
    classes: int
    num_training: int
    file_ending: str


@dataclass(frozen=True)
class Planned:
    """``plans`` as JSON values (nnU-Net's ``inherits_from`` kept), and why, line by line."""

    plans: dict[str, Any]
    reasons: tuple[str, ...]


def normalisation(channel_name: str) -> str:
    """nnU-Net's class name for a channel: by its name, z-score for names that it does not know."""
    return NORMALISATIONS.get(channel_name.casefold(), "ZScoreNormalization")


def fullres_spacing(fingerprint: Fingerprint) -> tuple[NDArray[np.float64], str]:
    """Target spacing (z, y, x) and why.

    The median of each axis; but if one axis is more than three times coarser than the others
    and has less than a third of their voxels, its 10th percentile, so that the dataset's
    better scans are not thrown away.
    """
    spacings = np.array(fingerprint.spacings)
    target = np.percentile(spacings, 50, 0)
    size = np.percentile(np.array(fingerprint.shapes_after_crop), 50, 0)
    coarse = int(np.argmax(target))
    others = [axis for axis in range(3) if axis != coarse]
    widest = max(target[axis] for axis in others)
    anisotropic = target[coarse] > ANISOTROPY_THRESHOLD * widest
    few = size[coarse] * ANISOTROPY_THRESHOLD < min(size[axis] for axis in others)
    if not (anisotropic and few):
        return target, "median of every axis"
    wanted = np.percentile(spacings[:, coarse], 10)
    if wanted < widest:
        wanted = max(widest, wanted) + 1e-5
    target[coarse] = wanted
    return target, f"median, but the 10th percentile on axis {coarse}, which is coarse and short"


def plan_experiment(
    fingerprint: Fingerprint,
    facts: Facts,
    *,
    gpu_memory_gb: float = REFERENCE_GB,
    target_spacing_mm: Sequence[float] | None = None,
    plans_name: str = PLANS_NAME,
) -> Planned:
    """Plan 2d, 3d_fullres and, for scans much larger than a patch, 3d_lowres and the cascade.

    Args:
        fingerprint: of the dataset.
        facts: of dataset.json.
        gpu_memory_gb: memory that training may use.
        target_spacing_mm: (z, y, x) instead of the fingerprint's.
        plans_name: prefix of the folders of preprocessed data.

    Raises:
        PlansError: for values that cannot be planned with.
    """
    if gpu_memory_gb <= 0:
        raise PlansError(f"the GPU memory target is {gpu_memory_gb} GB, expected more than 0")
    if target_spacing_mm is not None and (
        len(target_spacing_mm) != 3 or min(target_spacing_mm) <= 0
    ):
        raise PlansError(f"the target spacing is {target_spacing_mm}, expected three numbers in mm")
    if facts.file_ending not in READERS:
        raise PlansError(
            f"file_ending is {facts.file_ending!r}, expected one of {', '.join(READERS)}"
        )
    return _Planner(fingerprint, facts, gpu_memory_gb, target_spacing_mm, plans_name).run()


class _Planner:
    def __init__(
        self,
        fingerprint: Fingerprint,
        facts: Facts,
        gpu_memory_gb: float,
        target_spacing_mm: Sequence[float] | None,
        plans_name: str,
    ) -> None:
        self.fingerprint, self.facts, self.plans_name = fingerprint, facts, plans_name
        self.gpu_memory_gb = gpu_memory_gb
        self.reasons: list[str] = []
        if target_spacing_mm is None:
            self.spacing, reason = fullres_spacing(fingerprint)
        else:
            self.spacing, reason = np.array(target_spacing_mm, dtype=float), "as asked for"
        self.say(f"target spacing {_text(self.spacing)} mm (z, y, x): {reason}")
        self.schemes = [normalisation(name) for name in facts.channel_names]
        share = fingerprint.median_relative_size_after_cropping
        self.masked = [s == "ZScoreNormalization" and share < MASK_BELOW for s in self.schemes]
        for name, scheme, masked in zip(
            facts.channel_names, self.schemes, self.masked, strict=True
        ):
            where = f"inside the non-zero mask: cropping leaves {share:.0%}" if masked else "all"
            self.say(f"channel {name!r}: {scheme} (voxels: {where})")

    def say(self, reason: str) -> None:
        self.reasons.append(reason)

    def run(self) -> Planned:
        coarse = int(np.argmax(self.spacing))
        forward = [coarse, *(axis for axis in range(3) if axis != coarse)]
        backward = [forward.index(axis) for axis in range(3)]
        if coarse != 0:
            self.say(f"axes are transposed to {forward}: the coarsest spacing comes first")
        spacing = self.spacing[forward]
        cases = zip(self.fingerprint.spacings, self.fingerprint.shapes_after_crop, strict=True)
        shapes = [
            [round(old / new * n) for old, new, n in zip(s, self.spacing, shape, strict=True)]
            for s, shape in cases
        ]
        median = np.median(shapes, 0)[forward]
        self.say(f"median scan at that spacing: {_text(median)} voxels")
        configurations: dict[str, Any] = {}
        voxels = float(np.prod(median)) * self.facts.num_training
        flat = self.configuration("2d", spacing[1:], median[1:], voxels)
        configurations["2d"] = {**flat, "batch_dice": True}
        if median[0] != 1:
            fullres = self.configuration("3d_fullres", spacing, median, voxels)
            lowres = self.lowres(fullres, spacing, median)
            if lowres is not None:
                extra = {"batch_dice": False, "next_stage": "3d_cascade_fullres"}
                configurations["3d_lowres"] = {**lowres, **extra}
            configurations["3d_fullres"] = {**fullres, "batch_dice": lowres is not None}
            if lowres is not None:
                configurations["3d_cascade_fullres"] = {
                    "inherits_from": "3d_fullres",
                    "previous_stage": "3d_lowres",
                }
        original = np.median(np.array(self.fingerprint.spacings), 0)[forward]
        original_shape = np.median(np.array(self.fingerprint.shapes_after_crop), 0)[forward]
        statistics = self.fingerprint.foreground_intensity_properties_per_channel
        plans = {
            "dataset_name": self.facts.dataset_name,
            "plans_name": self.plans_name,
            "original_median_spacing_after_transp": original.tolist(),
            "original_median_shape_after_transp": [round(n) for n in original_shape.tolist()],
            "image_reader_writer": READERS[self.facts.file_ending],
            "transpose_forward": forward,
            "transpose_backward": backward,
            "configurations": configurations,
            "experiment_planner_used": "ExperimentPlanner",
            "label_manager": "LabelManager",
            "foreground_intensity_properties_per_channel": statistics,
        }
        return Planned(plans, tuple(self.reasons))

    def lowres(
        self,
        fullres: dict[str, Any],
        spacing: NDArray[np.float64],
        median: NDArray[np.float64],
    ) -> dict[str, Any] | None:
        """The coarse stage of a cascade, if a patch of the fine one sees too little of a scan."""
        total = float(np.prod(median))
        patch = float(np.prod(fullres["patch_size"], dtype=np.float64))
        seen = patch / total
        if seen >= LOWRES_BELOW:
            self.say(f"no 3d_lowres: a patch of 3d_fullres covers {seen:.0%} of the median scan")
            return None
        found: dict[str, Any] | None = None
        coarser, voxels = spacing.copy(), total
        while patch / voxels < LOWRES_BELOW:
            fine = coarser.max() / coarser > 2
            coarser[fine if fine.any() else slice(None)] *= LOWRES_FACTOR
            shape = spacing / coarser * median
            voxels = float(np.prod(shape, dtype=np.float64))
            rounded = [round(n) for n in shape.tolist()]
            whole = voxels * self.facts.num_training
            found = self.configuration("3d_lowres", coarser.copy(), rounded, whole, quiet=True)
            patch = float(math.prod(found["patch_size"]))
        if total / voxels < 2:
            self.say(
                "no 3d_lowres: at the spacing where a patch sees enough, scans shrink too little"
            )
            return None
        self.say(
            f"3d_lowres at {_text(coarser)} mm: a patch of 3d_fullres covers only {seen:.0%} of "
            f"the median scan; here {patch / voxels:.0%}"
        )
        return found

    def configuration(
        self,
        name: str,
        spacing: NDArray[np.float64],
        median: Sequence[float] | NDArray[np.float64],
        dataset_voxels: float,
        *,
        quiet: bool = False,
    ) -> dict[str, Any]:
        """Patch, batch and network of one spacing, in nnU-Net's form."""
        dimensions = len(spacing)
        net, estimate, shrunk = self.fit(spacing, median)
        reference, batch = self.reference(dimensions), REFERENCE_BATCH[dimensions]
        by_memory = round((reference / estimate) * batch)
        share = dataset_voxels * MAX_DATASET_SHARE / np.prod(net.patch_size, dtype=np.float64)
        batch = max(min(by_memory, round(share)), MIN_BATCH)
        if not quiet:
            self.say(
                f"{name}: patch {list(net.patch_size)}"
                + (f" after {shrunk} reductions to fit" if shrunk else ", which fits at once into")
                + f" {self.gpu_memory_gb:g} GB ({estimate / 1e6:.0f} M of {reference / 1e6:.0f} M "
                f"feature values); {len(net.strides)} stages, each halving what leaves 4 voxels"
            )
            self.say(
                f"{name}: batch {batch}; memory allows {by_memory}, a twentieth of the dataset is "
                f"{round(share)}, the least is {MIN_BATCH}"
            )
        stages = len(net.strides)
        kind = f"{dimensions}d"
        prompted = {"intensity": self.intensities()} if dimensions == 3 else {}
        return {
            **prompted,
            "data_identifier": f"{self.plans_name}_{name}",
            "preprocessor_name": "DefaultPreprocessor",
            "batch_size": int(batch),
            "patch_size": list(net.patch_size),
            "median_image_size_in_voxels": [float(n) for n in median],
            "spacing": [float(s) for s in spacing],
            "normalization_schemes": list(self.schemes),
            "use_mask_for_norm": list(self.masked),
            "resampling_fn_data": "resample_data_or_seg_to_shape",
            "resampling_fn_seg": "resample_data_or_seg_to_shape",
            "resampling_fn_data_kwargs": _resampling(is_seg=False, order=3),
            "resampling_fn_seg_kwargs": _resampling(is_seg=True, order=1),
            "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
            "resampling_fn_probabilities_kwargs": _resampling(is_seg=False, order=1),
            "architecture": {
                "network_class_name": "dynamic_network_architectures.architectures.unet"
                ".PlainConvUNet",
                "arch_kwargs": {
                    "n_stages": stages,
                    "features_per_stage": _features(stages, dimensions),
                    "conv_op": f"torch.nn.modules.conv.Conv{kind}",
                    "kernel_sizes": [list(k) for k in net.kernels],
                    "strides": [list(s) for s in net.strides],
                    "n_conv_per_stage": [CONVOLUTIONS_PER_STAGE] * stages,
                    "n_conv_per_stage_decoder": [CONVOLUTIONS_PER_STAGE] * (stages - 1),
                    "conv_bias": True,
                    "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{kind}",
                    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
                    "dropout_op": None,
                    "dropout_op_kwargs": None,
                    "nonlin": "torch.nn.LeakyReLU",
                    "nonlin_kwargs": {"inplace": True},
                },
                "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
            },
        }

    def intensities(self) -> list[dict[str, Any]]:
        """Per channel, the scheme of prompted models: CT by the dataset's range, else z-score."""
        result: list[dict[str, Any]] = []
        statistics = self.fingerprint.foreground_intensity_properties_per_channel
        for channel, scheme in enumerate(self.schemes):
            if scheme == "CTNormalization":
                low = statistics[str(channel)]["percentile_00_5"]
                high = max(statistics[str(channel)]["percentile_99_5"], low + 1)
                result.append({"scheme": "windows", "windows": [[low, high]], "outside": -1024.0})
            else:
                result.append({"scheme": "zscore", "outside": 0.0})
        return result

    def fit(
        self, spacing: NDArray[np.float64], median: Sequence[float] | NDArray[np.float64]
    ) -> tuple[Topology, int, int]:
        """Shrink the patch until its network fits: topology, size, number of reductions."""
        dimensions = len(spacing)
        shape = 1 / spacing
        shape = shape * (LARGEST_PATCH[dimensions] / np.prod(shape)) ** (1 / dimensions)
        wanted = [min(round(n), m) for n, m in zip(shape.tolist(), median, strict=True)]
        net = topology(spacing.tolist(), wanted)
        estimate, reductions = self.size(net), 0
        least = REFERENCE_BATCH[dimensions]
        while estimate / least * 2 > self.reference(dimensions):
            relative = [n / m for n, m in zip(net.patch_size, median, strict=True)]
            axis = int(np.argsort(relative)[-1])
            # The divisor may shrink with the patch; only then is the step known.
            smaller = list(net.patch_size)
            smaller[axis] -= net.divisor[axis]
            step = topology(spacing.tolist(), smaller).divisor[axis]
            smaller = list(net.patch_size)
            smaller[axis] -= step
            if smaller[axis] < 1:
                raise PlansError(
                    f"{self.gpu_memory_gb:g} GB are too little for any patch; allow more memory"
                )
            net = topology(spacing.tolist(), smaller)
            estimate, reductions = self.size(net), reductions + 1
        return net, estimate, reductions

    def reference(self, dimensions: int) -> float:
        """Feature values that the memory target holds."""
        return REFERENCE_SIZE[dimensions] * (self.gpu_memory_gb / REFERENCE_GB)

    def size(self, net: Topology) -> int:
        """Feature values of the plain U-Net."""
        stages = len(net.strides)
        convolutions = [CONVOLUTIONS_PER_STAGE] * stages
        return feature_map_size(
            net,
            _features(stages, len(net.patch_size)),
            convolutions,
            convolutions[1:],
            self.facts.classes,
        )


def _features(stages: int, dimensions: int) -> list[int]:
    return [min(MAX_FEATURES[dimensions], BASE_FEATURES * 2**stage) for stage in range(stages)]


def _resampling(*, is_seg: bool, order: int) -> dict[str, Any]:
    return {"is_seg": is_seg, "order": order, "order_z": 0, "force_separate_z": None}


def _text(values: Sequence[float] | NDArray[np.float64]) -> str:
    return " × ".join(f"{float(v):.4g}" for v in values)
