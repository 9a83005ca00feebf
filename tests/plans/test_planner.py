"""Plans from fingerprints, against nnunetv2's own planner on the same files."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from textseg3d.errors import PlansError
from textseg3d.plans import Plans
from textseg3d.plans.fingerprint import STATISTICS, Fingerprint
from textseg3d.plans.planner import Facts, plan_experiment


def fingerprint(spacing, shape, *, cases=7, spread=0.15, share=1.0, channels=1, seed=0):
    """Cases around a spacing and a shape, both (z, y, x)."""
    rng = np.random.default_rng(seed)
    spacings = spacing * (1 + spread * rng.uniform(-1, 1, (cases, 1)))
    shapes = np.maximum(1, (shape * (1 + spread * rng.uniform(-1, 1, (cases, 3)))).round())
    statistics = {key: float(n) for n, key in enumerate(STATISTICS)}
    return Fingerprint(
        spacings=tuple(tuple(row) for row in spacings.tolist()),
        shapes_after_crop=tuple(tuple(row) for row in shapes.astype(int).tolist()),
        foreground_intensity_properties_per_channel={str(c): statistics for c in range(channels)},
        median_relative_size_after_cropping=share,
    )


# fingerprint, channel names, memory in GB, target spacing
PLANNED = {
    "isotropic": (fingerprint([1.5, 1.5, 1.5], [160, 200, 210]), ["CT"], 8, None),
    "anisotropic": (fingerprint([7.0, 0.8, 0.8], [14, 320, 300]), ["MRI"], 8, None),
    "coarse in x": (fingerprint([0.9, 0.9, 5.0], [220, 230, 24]), ["T1"], 8, None),
    "tiny": (fingerprint([1.0, 1.0, 1.0], [35, 50, 35]), ["MRI"], 8, None),
    "slices of few voxels": (fingerprint([3.0, 3.0, 3.0], [5, 9, 30]), ["MRI"], 8, None),
    "huge": (fingerprint([0.7, 0.7, 0.7], [700, 512, 512]), ["CT"], 8, None),
    "huge, anisotropic": (fingerprint([4.0, 0.7, 0.7], [180, 512, 512]), ["CT"], 8, None),
    "two channels, masked": (
        fingerprint([1.0, 1.0, 1.0], [140, 170, 140], share=0.5, channels=2),
        ["T2", "noNorm"], 8, None,
    ),
    "large GPU": (fingerprint([1.0, 0.8, 0.8], [150, 400, 400]), ["CT"], 24, None),
    "small GPU": (fingerprint([2.5, 0.8, 0.8], [90, 500, 500]), ["rgb_to_0_1"], 4, None),
    "own spacing": (fingerprint([1.0, 0.8, 0.8], [150, 400, 400]), ["CT"], 8, [2.0, 1.5, 1.5]),
    "one slice": (fingerprint([5.0, 1.0, 1.0], [1, 256, 256], spread=0.0), ["MRI"], 8, None),
}  # fmt: skip


def theirs(tmp_path, monkeypatch, found, channels, memory, spacing):
    """Plans of nnunetv2 for a dataset that has this fingerprint."""
    module = pytest.importorskip(
        "nnunetv2.experiment_planning.experiment_planners.default_experiment_planner"
    )
    import torch

    raw, preprocessed = tmp_path / "raw", tmp_path / "preprocessed"
    for kind, folder in (("raw", raw), ("preprocessed", preprocessed)):
        (folder / "Dataset009_Fake").mkdir(parents=True)
        monkeypatch.setenv(f"nnUNet_{kind}", str(folder))
    image = raw / "Dataset009_Fake" / "x_0000.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), image)
    description = {
        "channel_names": {str(n): name for n, name in enumerate(channels)},
        "labels": {"background": 0, "a": 1, "b": 2},
        "numTraining": len(found.spacings),
        "file_ending": ".nii.gz",
        "dataset": {"x": {"images": [str(image)], "label": str(image)}},
    }
    (raw / "Dataset009_Fake" / "dataset.json").write_text(json.dumps(description))
    found.save(preprocessed / "Dataset009_Fake" / "dataset_fingerprint.json")
    with torch.device("meta"):  # it builds a network for each patch that it considers
        planner = module.ExperimentPlanner(
            "Dataset009_Fake", gpu_memory_target_in_gb=memory, overwrite_target_spacing=spacing
        )
        planner.plan_experiment()
    return json.loads((preprocessed / "Dataset009_Fake" / "nnUNetPlans.json").read_text())


def ours(found, channels, memory, spacing):
    facts = Facts("Dataset009_Fake", tuple(channels), 3, len(found.spacings), ".nii.gz")
    return plan_experiment(found, facts, gpu_memory_gb=memory, target_spacing_mm=spacing)


@pytest.mark.parametrize("name", PLANNED)
def test_plans_equal_nnunet(name, tmp_path, monkeypatch):
    expected = theirs(tmp_path, monkeypatch, *PLANNED[name])
    planned = ours(*PLANNED[name])
    result = json.loads(json.dumps(planned.plans))
    for configuration in result["configurations"].values():
        configuration.pop("intensity", None)
    assert result == expected
    Plans.from_dict(planned.plans)
    assert any(reason.startswith("2d: patch") for reason in planned.reasons)


def test_nnunet_reads_our_plans(tmp_path):
    module = pytest.importorskip("nnunetv2.utilities.plans_handling.plans_handler")
    path = tmp_path / "plans.json"
    Plans.from_dict(ours(*PLANNED["huge"]).plans).save(path)
    manager = module.PlansManager(str(path))
    for name in ("2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres"):
        configuration = manager.get_configuration(name)
        assert len(configuration.patch_size) == len(configuration.spacing)
        assert configuration.network_arch_init_kwargs["dropout_op"] is None
    assert manager.get_configuration("3d_cascade_fullres").previous_stage_name == "3d_lowres"


def test_feature_values_equal_a_built_network():
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    import torch

    from textseg3d.plans.topology import feature_map_size, topology

    net = topology([3.0, 1.0, 1.2], [20, 90, 77])
    features = [32 * 2**s for s in range(len(net.strides))]
    with torch.device("meta"):
        built = unet.PlainConvUNet(
            2, len(features), features, torch.nn.Conv3d, net.kernels, net.strides,
            2, 5, 2, True,
        )  # fmt: skip
    twos = [2] * len(features)
    assert feature_map_size(net, features, twos, twos[1:], 5) == int(
        built.compute_conv_feature_map_size(net.patch_size)
    )


def test_ct_range_and_reasons():
    planned = ours(*PLANNED["isotropic"])
    (intensity,) = planned.plans["configurations"]["3d_fullres"]["intensity"]
    assert intensity["windows"] == [[6.0, 7.0]]  # percentiles of the made-up statistics
    text = "\n".join(planned.reasons)
    assert "target spacing" in text
    assert "'CT': CTNormalization" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpu_memory_gb": 0}, "memory target is 0 GB"),
        ({"target_spacing_mm": [1.0, 1.0]}, "expected three numbers"),
        ({"gpu_memory_gb": 1e-9}, "too little for any patch"),
    ],
)
def test_what_cannot_be_planned(changes, message):
    found = PLANNED["isotropic"][0]
    with pytest.raises(PlansError, match=message):
        plan_experiment(found, Facts("D", ("CT",), 2, 7, ".nii.gz"), **changes)


def test_unknown_ending():
    with pytest.raises(PlansError, match=r"file_ending is '\.png'"):
        plan_experiment(PLANNED["tiny"][0], Facts("D", ("CT",), 2, 7, ".png"))


def test_fingerprint_file(tmp_path):
    found = PLANNED["tiny"][0]
    found.save(tmp_path / "f.json")
    assert Fingerprint.load(tmp_path / "f.json") == found
    (tmp_path / "f.json").write_text('{"spacing": []}')
    with pytest.raises(PlansError, match="did you mean 'spacings'"):
        Fingerprint.load(tmp_path / "f.json")
