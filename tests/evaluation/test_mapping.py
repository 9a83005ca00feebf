"""Label names to prompts: by the knowledge tree, and by rules where names need interpretation."""

from __future__ import annotations

import json

import pytest

from textseg3d.errors import InputError
from textseg3d.evaluation.mapping import LabelMapping, plan_tasks, read_mapping
from textseg3d.evaluation.validation import default_mapping
from textseg3d.text.knowledge import load_tree

TREE = load_tree()


def _by_name(labels, mapping):
    tasks, left_out = plan_tasks(labels, mapping, TREE)
    return {t.name: t for t in tasks}, {n.label: n.reason for n in left_out}


def test_names_of_totalsegmentator_and_plain_ones_meet():
    tasks, left_out = _by_name(
        {1: "kidney_left", 2: "right kidney", 3: "lung_upper_lobe_left"}, LabelMapping()
    )
    assert set(tasks) == {"left kidney", "right kidney", "upper lobe of left lung"}
    assert tasks["left kidney"].group == tasks["right kidney"].group == "kidney"
    assert tasks["left kidney"].side == "left"
    assert tasks["left kidney"].prompts == ("left kidney",)
    assert not left_out


def test_an_unknown_name_is_left_out_with_the_reason():
    tasks, left_out = _by_name({1: "liver", 7: "GTV-9"}, LabelMapping())
    assert set(tasks) == {"liver"}
    assert "not in the knowledge tree" in left_out["GTV-9"]


def test_two_ids_of_one_name_are_united():
    tasks, _ = _by_name({1: "liver", 5: "liver"}, LabelMapping())
    assert tasks["liver"].truth_ids == (1, 5)


def test_rules():
    mapping = LabelMapping.from_json(
        {
            "labels": {
                "liver": {"add": ["cyst 1", "not here"], "ignore": ["portal"]},
                "bone": {"name": "all bones", "prompts": ["ribs", "vertebrae"]},
                "portal": {"skip": "branches"},
            },
            "unions": {
                "lungs": {"labels": ["left lung", "right lung"], "prompts": ["lungs"]},
                "cysts": {"add": ["cyst 1", "cyst 2"], "prompts": ["cyst"]},
            },
            "absent": {"*": ["brain"], "a": ["uterus", "brain"]},
        }
    )
    labels = {1: "liver", 2: "cyst 1", 3: "portal", 4: "bone", 5: "left lung"}
    tasks, left_out = _by_name(labels, mapping)
    assert tasks["liver"].truth_ids == (1, 2)
    assert tasks["liver"].ignore_ids == (3,)
    assert tasks["all bones"].prompts == ("ribs", "vertebrae")
    assert tasks["cysts"].truth_ids == (2,)
    assert "lungs" not in tasks  # one of its labels is missing
    assert left_out == {"portal": "branches"}  # cyst 1 is scored within the liver
    assert mapping.absent_prompts("a") == ("brain", "uterus")
    assert mapping.absent_prompts("b") == ("brain",)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "expected an object"),
        ({"label": {}}, "unknown key 'label'; did you mean 'labels'"),
        ({"labels": {"x": {"promts": []}}}, "unknown key 'promts'; did you mean 'prompts'"),
        ({"labels": {"x": {"prompts": "liver"}}}, "expected a list of texts"),
        ({"labels": {"x": {"skip": 3}}}, "skip is 3, expected a text"),
        ({"unions": {"x": {"prompts": ["y"]}}}, "expected `labels`"),
        ({"absent": {"x": [1]}}, "expected a list of texts"),
    ],
)
def test_broken_mappings(data, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        LabelMapping.from_json(data)


def test_file(tmp_path):
    path = tmp_path / "mapping.json"
    path.write_text(json.dumps({"labels": {"x": {"skip": "why"}}}))
    assert read_mapping(path).labels["x"].skip == "why"
    with pytest.raises(InputError, match="cannot be read"):
        read_mapping(tmp_path / "none.json")


def test_default_scores_only_what_means_the_same():
    labels = {
        1: "body (skin envelope)",
        2: "bone",
        3: "left lung",
        4: "right lung",
        8: "liver",
        9: "venous system (IVC, hepatic veins)",
        10: "portal vein",
        11: "arteries (aorta)",
        12: "liver cyst",
        13: "liver tumour 1",
        20: "vessel",
    }
    tasks, left_out = _by_name(labels, default_mapping())
    assert tasks["bones"].prompts == ("bones",)
    assert tasks["aorta with arteries"].prompts == ("aorta",)
    assert tasks["liver"].truth_ids == (8, 12, 13)
    assert tasks["liver"].ignore_ids == (9, 10)
    assert tasks["lungs"].truth_ids == (3, 4)
    assert tasks["left lung"].ignore_ids == (20,)
    assert set(left_out) == {
        *("body (skin envelope)", "venous system (IVC, hepatic veins)", "portal vein"),
        *("vessel", "liver cyst", "liver tumour 1"),
    }
    absent = default_mapping().absent
    assert sum(len(prompts) for prompts in absent.values()) >= 100
