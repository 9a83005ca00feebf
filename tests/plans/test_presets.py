"""The presets' files say what the estimator says, and fit datasets and memory."""

from __future__ import annotations

import dataclasses
import math

import pytest

from tests.plans.test_planner import PLANNED, fingerprint, ours
from textseg3d.errors import PlansError
from textseg3d.plans import Plans
from textseg3d.plans.cost import cost
from textseg3d.plans.presets import RESERVE, fit_preset, load_preset, preset_names
from textseg3d.training.configure import prompted_configuration

BUILT_FOR = {"gpu-8gb": 8, "gpu-24gb": 24, "gpu-80gb": 80, "cpu-3mm": 4, "ct-1.5mm": 4, "mr": 4}


def test_all_sizes_are_there():
    assert set(BUILT_FOR) < set(preset_names())


@pytest.mark.parametrize("name", BUILT_FOR)
def test_stored_cost_is_the_estimate_and_fits(name):
    preset = load_preset(name)
    assert preset.cost == cost(dataclasses.replace(preset, cost=None))
    assert preset.cost.training_gb < RESERVE * BUILT_FOR[name]
    assert preset.cost.inference_gb < RESERVE * BUILT_FOR[name]


def fitted(name, case, **options):
    found, channels, memory, spacing = case
    plans = ours(found, channels, memory, spacing).plans
    made, reasons = fit_preset(name, plans, found, channels, **options)
    plans["configurations"][name] = made
    return Plans.from_dict(plans).configuration(name), reasons


def test_window_is_no_larger_than_the_scans():
    made, reasons = fitted("mr", PLANNED["tiny"])  # 35 × 50 × 35 voxels of 1 mm
    assert made.patch_size == (64, 64, 64)
    assert any("no larger than the median scan" in reason for reason in reasons)
    assert made.cost == cost(dataclasses.replace(made, cost=None))
    assert made.intensity[0].scheme == "zscore"
    assert made.data_identifier == "nnUNetPlans_mr"


def test_window_follows_the_axes_of_the_plans():
    """A coarse x axis comes first in the plans; the window is short where the scan is."""
    made, _ = fitted("mr", PLANNED["coarse in x"])  # 220 × 230 × 24 of 0.9 × 0.9 × 5 mm
    assert made.patch_size == (128, 128, 128)
    short = (fingerprint([1.0, 1.0, 5.0], [220, 230, 10], spread=0.0), ["T1"], 8, None)
    made, _ = fitted("mr", short)
    assert made.patch_size == (64, 128, 128)
    assert made.median_image_size_in_voxels == (50.0, 220.0, 230.0)


def test_memory_shrinks_the_window():
    case = PLANNED["isotropic"]
    full, _ = fitted("gpu-24gb", case)
    made, reasons = fitted("gpu-24gb", case, memory_gb=4)
    assert made.cost.training_gb <= RESERVE * 4 < full.cost.training_gb
    assert math.prod(made.patch_size) < math.prod(full.patch_size)
    assert any("training may use 3.2 of 4 GB" in reason for reason in reasons)
    with pytest.raises(PlansError, match="choose a smaller preset"):
        fitted("gpu-80gb", case, memory_gb=1)


def test_channels_keep_their_schemes():
    found = fingerprint([1.5, 1.5, 1.5], [160, 200, 210], channels=2)
    made, _ = fitted("cpu-3mm", (found, ["CT", "PET"], 8, None))
    assert [i.scheme for i in made.intensity] == ["windows", "zscore"]
    assert made.intensity[0].windows == load_preset("cpu-3mm").intensity[0].windows
    assert made.network_channels == 3
    assert made.normalization_schemes == ("NoNormalization", "ZScoreNormalization")


@pytest.mark.parametrize("name", ["cpu-3mm", "mr"])
def test_training_takes_a_fitted_preset(name):
    case = PLANNED["isotropic" if name == "cpu-3mm" else "coarse in x"]
    found, channels, memory, spacing = case
    plans = ours(found, channels, memory, spacing).plans
    plans["configurations"][name] = fit_preset(name, plans, found, channels)[0]
    made = prompted_configuration(Plans.from_dict(plans), name)
    assert made.intensity == load_preset(name).intensity
    assert cost(made).parameters == load_preset(name).cost.parameters


def test_unknown_presets(tmp_path):
    with pytest.raises(PlansError, match="did you mean 'cpu-3mm'"):
        load_preset("cpu-3m")
    path = tmp_path / "two.json"
    preset = load_preset("mr")
    Plans("x", "y", {"a": preset, "b": preset}).save(path)
    with pytest.raises(PlansError, match="expected one"):
        load_preset(str(path))
    slice_plans = ours(*PLANNED["one slice"]).plans
    with pytest.raises(PlansError, match="one slice thick"):
        fit_preset("mr", slice_plans, PLANNED["one slice"][0], ["MRI"])
