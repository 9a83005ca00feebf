"""plans.json: round trip, inheritance, and errors that name the key."""

import json

import pytest

from textseg3d.errors import PlansError
from textseg3d.plans import Configuration, Plans
from textseg3d.resources import data_folder

MINIMAL = {"spacing": [3, 3, 3], "patch_size": [64, 64, 64]}


def plans(**configurations):
    return {"dataset_name": "D", "plans_name": "P", "configurations": configurations}


def test_round_trip(tmp_path):
    loaded = Plans.from_dict(plans(coarse=MINIMAL))
    loaded.save(tmp_path / "plans.json")
    assert Plans.load(tmp_path / "plans.json") == loaded
    assert json.loads((tmp_path / "plans.json").read_text())["configurations"]["coarse"]


STAGE = {**MINIMAL, "cascade": "coarse", "within": ["lungs"], "answers": ["pulmonary nodule"]}


def test_a_stage_is_not_what_predicts(tmp_path):
    loaded = Plans.from_dict(plans(fine=STAGE, coarse=MINIMAL, other=MINIMAL))
    assert loaded.main == "coarse"
    assert loaded.stages("coarse") == {"fine": loaded.configuration("fine")}
    assert loaded.stages("other") == {}
    loaded.save(tmp_path / "plans.json")
    assert Plans.load(tmp_path / "plans.json") == loaded


@pytest.mark.parametrize(
    ("configurations", "message"),
    [
        ({"coarse": {**MINIMAL, "within": ["lungs"]}}, r"within is \['lungs'\] and cascade None"),
        ({"fine": {**STAGE, "answers": []}}, r"answers is \[\] and cascade 'coarse'"),
        ({"fine": {**STAGE, "answers": "lungs"}}, "answers: expected a list"),
        ({"fine": {**STAGE, "cascade": "corse"}}, "cascade 'corse', .* did you mean 'coarse'"),
        ({"fine": STAGE, "finer": {**STAGE, "cascade": "fine"}}, "expected one without a cascade"),
        ({"fine": STAGE, "finer": STAGE}, "answered by both 'fine' and 'finer'"),
        ({"model": STAGE}, "cannot be called 'model'"),
        ({"../fine": STAGE}, "cannot be called '../fine'"),
        ({"fine": {**STAGE, "within": STAGE["answers"]}}, "looks into 'pulmonary nodule', which"),
    ],
)
def test_faults_of_stages_are_named(configurations, message):
    with pytest.raises(PlansError, match=message):
        Plans.from_dict(plans(**{"coarse": MINIMAL, **configurations}))


def test_inheritance_takes_the_nearest_value():
    loaded = Plans.from_dict(
        plans(
            a={**MINIMAL, "window_step": 0.5},
            b={"inherits_from": "a", "patch_size": [32, 32, 32]},
            c={"inherits_from": "b", "spacing": [1.5, 1.5, 1.5]},
        )
    )
    c = loaded.configuration("c")
    assert (c.patch_size, c.spacing, c.window_step) == ((32, 32, 32), (1.5, 1.5, 1.5), 0.5)


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({**MINIMAL, "patchsize": [1, 1, 1]}, "unknown key 'patchsize'; did you mean 'patch_size'"),
        ({**MINIMAL, "batch_size": "2"}, "batch_size: expected int, got '2'"),
        ({**MINIMAL, "window_step": 0}, "window_step is 0"),
        ({"spacing": [3], "patch_size": [1, 1, 1]}, "spacing: expected 3 values, got 1"),
        ({"spacing": [3, 3, 0], "patch_size": [1, 1, 1]}, "must be positive"),
        ({"spacing": [3, 3, 3]}, "patch_size"),
        ({**MINIMAL, "intensity": [{"scheme": "CT"}]}, "'CT' is not one of 'windows', 'zscore'"),
    ],
)
def test_faults_are_named(configuration, message):
    with pytest.raises(PlansError, match=message):
        Plans.from_dict(plans(x=configuration))


def test_slices_are_kept_but_not_run(tmp_path):
    flat = {"spacing": [1, 1], "patch_size": [320, 256], "batch_size": 12}
    loaded = Plans.from_dict(plans(**{"2d": flat, "3d_fullres": MINIMAL}))
    assert list(loaded.configurations) == ["3d_fullres"]
    with pytest.raises(PlansError, match=r"'2d' segments slices, .* use one of: 3d_full"):
        loaded.configuration("2d")
    loaded.save(tmp_path / "plans.json")
    assert json.loads((tmp_path / "plans.json").read_text())["configurations"]["2d"] == flat
    assert Plans.load(tmp_path / "plans.json") == loaded


def test_circular_inheritance():
    with pytest.raises(PlansError, match="a → b → a"):
        Plans.from_dict(plans(a={"inherits_from": "b"}, b={"inherits_from": "a"}))


def test_unknown_configuration_is_suggested():
    with pytest.raises(PlansError, match="did you mean '3mm'"):
        Plans.from_dict(plans(**{"3mm": MINIMAL})).configuration("3m")


def test_not_json(tmp_path):
    path = tmp_path / "plans.json"
    path.write_text("{")
    with pytest.raises(PlansError, match=r"plans\.json: cannot be read as JSON"):
        Plans.load(path)


@pytest.mark.parametrize("path", sorted(data_folder("plans").glob("*.json")), ids=lambda p: p.stem)
def test_bundled_presets_load(path):
    for configuration in Plans.load(path).configurations.values():
        assert isinstance(configuration, Configuration)
        assert all(n % 32 == 0 for n in configuration.patch_size)
