"""The class names of TotalSegmentator as a model's vocabulary: names, sides and unions."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from textseg3d.convert.plans import read_labels
from textseg3d.inference.prompts import Vocabulary
from textseg3d.text.knowledge import load_tree

TASKS = ("total", "total_mr")


@cache
def vocabulary(path: Path, task: str) -> tuple[Vocabulary, dict[str, str]]:
    """Vocabulary of a task, and class name → the model's name for it."""
    names = json.loads(path.read_text(encoding="utf-8"))[task].values()
    labels = {"background": 0, **{name: value for value, name in enumerate(names, 1)}}
    _, classes, _ = read_labels({"labels": labels})
    return Vocabulary(c.name for c in classes), {c.label: c.name for c in classes}


@pytest.fixture
def classes(shared_data: Path) -> Path:
    return shared_data / "terminology" / "totalsegmentator_classes.json"


@pytest.mark.shared
@pytest.mark.parametrize(("task", "count"), [("total", 117), ("total_mr", 50)])
def test_every_class_is_a_concept_with_its_side_and_answers_to_its_label(
    task: str, count: int, classes: Path
) -> None:
    known, names = vocabulary(classes, task)
    assert len(names) == len(set(names.values())) == count
    tree = load_tree()
    for label, name in names.items():
        target = tree.resolve_label(label)
        assert name == tree.canonical_name(target), label
        for side in ("left", "right"):
            assert (side in label.split("_")) == (side in name.split()), label
        assert [part.name for part in known.understand(label).parts] == [name]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("prompt", "labels"),
    [
        ("LUL", ["lung_upper_lobe_left"]),
        ("lungs", [f"lung_{lobe}" for lobe in (
            "upper_lobe_left", "lower_lobe_left", "upper_lobe_right", "middle_lobe_right",
            "lower_lobe_right")]),
        ("left ribs", [f"rib_left_{n}" for n in range(1, 13)]),
        ("ribs", [f"rib_{side}_{n}" for side in ("left", "right") for n in range(1, 13)]),
        ("spine", [f"vertebrae_{name}" for name in (
            *(f"C{n}" for n in range(1, 8)), *(f"T{n}" for n in range(1, 13)),
            *(f"L{n}" for n in range(1, 6)))] + ["sacrum"]),
        ("both kidneys", ["kidney_left", "kidney_right"]),
        ("portal vein", ["portal_vein_and_splenic_vein"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_unions(prompt: str, labels: list[str], classes: Path) -> None:
    known, names = vocabulary(classes, "total")
    request = known.understand(prompt)
    assert {part.name for part in request.parts} == {names[label] for label in labels}
    assert bool(request.warnings) == (prompt == "portal vein")  # known with the splenic vein only


@pytest.mark.shared
def test_what_is_not_a_class_names_the_nearest(classes: Path) -> None:
    known, _ = vocabulary(classes, "total")
    request = known.understand("pancreatic duct")
    assert request.status == "unknown"
    assert "nearest that it knows: pancreas" in request.warnings[0]
