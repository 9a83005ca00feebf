"""A model from a table on a phantom: rows, laterality, presence, reports."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from tests.evaluation.conftest import LEFT, LIVER, RIGHT, SHAPE, TUMOUR, table_model, write_case
from textseg3d.errors import GeometryError, InputError
from textseg3d.evaluation.cases import find_cases, read_case
from textseg3d.evaluation.mapping import LabelMapping
from textseg3d.evaluation.report import BEGIN, END, update_page, write_report
from textseg3d.evaluation.scoring import score_case, score_cases
from textseg3d.evaluation.summary import summarise
from textseg3d.text.knowledge import load_tree

TREE = load_tree()
MAPPING = LabelMapping.from_json(
    {
        "labels": {
            "kidney_left": {"add": ["spot"]},
            "odd thing": {"skip": "nobody knows"},
            "spot": {"skip": "scored within the left kidney"},
        },
        "unions": {
            "kidneys": {
                "labels": ["kidney_left", "kidney_right"],
                "prompts": ["left kidney", "right kidney"],
                "ignore": ["spot"],
            },
            "secret": {"labels": ["liver"], "prompts": ["something unknown"]},
        },
        "absent": {"phantom": ["uterus", "brain", "no such thing"]},
    }
)
NONE = np.zeros(SHAPE, bool)
PERFECT = {
    "left kidney": LEFT,
    "right kidney": RIGHT,
    "liver": LIVER,
    "uterus": NONE,
    "brain": NONE,
}


def _score(case_folder, table):
    result = score_case(read_case(case_folder), table_model(table), MAPPING, TREE)
    return result, {row.task.name: row for row in result.rows}


def test_perfect_model(case_folder):
    result, rows = _score(case_folder, PERFECT)
    assert set(rows) == {"left kidney", "right kidney", "liver", "kidneys"}
    for row in rows.values():
        assert row.scores.dice == 1.0
        assert row.scores.nsd == 1.0
        assert row.scores.hd95_mm == 0.0
    assert rows["left kidney"].scores.truth_ml == pytest.approx(8 * 20 * 8 * 12 / 1000)
    assert rows["kidneys"].ignored_voxels == int(TUMOUR.sum())
    assert rows["left kidney"].laterality.error is False
    assert rows["liver"].laterality is None
    reasons = {n.label: n.reason for n in result.not_scored}
    assert reasons["odd thing"] == "nobody knows"
    assert reasons["secret"] == "the model does not know 'something unknown'"
    summary = summarise([result], {"name": "table"})
    assert summary["groups"]["kidney"]["dice"]["values"] == 2
    assert summary["presence"] == {
        "present_prompts": 3,
        "present_found": 3,
        "absent_prompts": 2,
        "absent_unknown_to_model": 1,
        "absent_correct": 2,
        "absent_correct_rate": 1.0,
        "auc": 1.0,
    }
    assert summary["laterality"] == {"sided_masks": 2, "errors": 0, "where": []}


def test_swapped_sides_are_counted_as_such(case_folder):
    result, rows = _score(case_folder, PERFECT | {"left kidney": RIGHT, "right kidney": LEFT})
    assert rows["left kidney"].scores.dice == 0.0
    assert rows["kidneys"].scores.dice == 1.0
    laterality = summarise([result], {"name": "table"})["laterality"]
    assert laterality["errors"] == 2
    assert {w["concept"] for w in laterality["where"]} == {"left kidney", "right kidney"}
    assert rows["left kidney"].laterality.overlap_opposite == 1.0


def test_found_although_absent(case_folder):
    result, _ = _score(case_folder, PERFECT | {"uterus": LIVER})
    presence = summarise([result], {"name": "table"})["presence"]
    assert presence["absent_correct"] == 1
    assert presence["auc"] == pytest.approx((3 + 1.5) / 6)  # 0.9 ties with three, 0.1 loses
    wrong = [row.prompt for row in result.absent if row.status != "unknown" and not row.correct]
    assert wrong == ["uterus"]


def test_instances_by_hand(case_folder):
    """Both halves of a gap are found, a speck of 12 voxels is invented, one of 9 is too small."""
    gap = LIVER.copy()
    gap[:, 33:35] = False  # the truth is one part, the prediction two: only one may match
    gap[9:11, 6:8, 20:23] = True
    gap[10, 6:9, 40:43] = True
    result, rows = _score(case_folder, PERFECT | {"liver": gap})
    match = rows["liver"].instances
    assert (match.true_positives, match.false_positives, match.false_negatives) == (1, 2, 0)
    assert match.precision == pytest.approx(1 / 3)
    assert rows["kidneys"].instances.f1 == 1.0
    assert rows["kidneys"].instances.true_positives == 2
    summary = summarise([result], {"name": "table"})
    assert summary["groups"]["kidney"]["instances"]["true_positives"] == 2
    assert summary["groups"]["liver"]["instances"]["f1"] == pytest.approx(0.5)


def test_empty_prediction(case_folder):
    result, rows = _score(case_folder, PERFECT | {"liver": NONE})
    assert rows["liver"].scores.dice == 0.0
    assert np.isinf(rows["liver"].scores.hd95_mm)
    summary = summarise([result], {"name": "table"})
    assert summary["groups"]["liver"]["empty_predictions"] == 1
    json.dumps(summary, allow_nan=False)


def test_surface_of_an_ignored_region_is_no_agreement():
    """A hole cut into both masks must not count as matching surface."""
    from textseg3d.evaluation.metrics import score_mask

    truth = NONE.copy()
    truth[2:10, 10:30, 8:28] = True
    shifted = np.roll(truth, 8, axis=2)
    ignore = NONE.copy()
    ignore[3:9, 14:26, 17:27] = True
    plain = score_mask(truth, shifted, (1, 1, 1), tolerance_mm=1.0)
    holed = score_mask(truth & ~ignore, shifted, (1, 1, 1), tolerance_mm=1.0, ignore=ignore)
    assert holed.nsd == pytest.approx(plain.nsd, abs=1e-9)
    assert holed.dice < plain.dice  # only agreement was taken out


def test_truth_must_be_on_the_grid_of_the_scan(case_folder):
    from tests.evaluation.phantoms import save_zyx

    save_zyx(case_folder / "seg.nii.gz", np.ones((12, 40, 47)), (3.0, 2.0, 2.0))
    with pytest.raises(GeometryError, match="another grid"):
        _score(case_folder, PERFECT)


def test_find_cases(tmp_path):
    write_case(tmp_path / "b", "second")
    write_case(tmp_path / "a", "first")
    unlabelled = write_case(tmp_path / "c", "third", labels={})
    assert [c.name for c in find_cases([tmp_path])] == ["first", "second"]
    assert [c.name for c in find_cases([tmp_path / "b", tmp_path])] == ["first", "second"]
    with pytest.raises(InputError, match="expected names by id"):
        find_cases([unlabelled])
    with pytest.raises(InputError, match="is no case folder"):
        find_cases([tmp_path / "nowhere"])
    write_case(tmp_path / "d", "first")
    with pytest.raises(InputError, match="two cases are called 'first'"):
        find_cases([tmp_path])
    (tmp_path / "b" / "seg.nii.gz").unlink()
    with pytest.raises(InputError, match="has no seg"):
        read_case(tmp_path / "b")
    write_case(tmp_path / "b", "second", labels={"one": "liver"})
    with pytest.raises(InputError, match="label id 'one'"):
        read_case(tmp_path / "b")


def test_targets_of_a_case_may_overlap(tmp_path):
    targets = {"kidneys": [1, 2, 5], "left kidney": [1, 5], "renal cyst": [5]}
    folder = write_case(tmp_path / "a", targets=targets, absent=["uterus", "brain"])
    table = {"kidneys": LEFT | RIGHT, "left kidney": LEFT, "renal cyst": TUMOUR, "uterus": LIVER}
    result = score_case(read_case(folder), table_model({**table, "brain": NONE}), MAPPING, TREE)
    assert {r.task.name: r.scores.dice for r in result.rows} == dict.fromkeys(targets, 1.0)
    assert {r.task.name: r.task.side for r in result.rows}["left kidney"] == "left"
    assert not result.not_scored
    known = {row.prompt: row.correct for row in result.absent if row.status != "unknown"}
    assert known == {"uterus": False, "brain": True}
    for wrong in ({"targets": {"lungs": []}}, {"targets": ["lungs"]}, {"absent": "brain"}):
        with pytest.raises(InputError, match=next(iter(wrong)).rstrip("s")):
            read_case(write_case(tmp_path / "b", **wrong))


def test_folders_in_the_making_are_no_cases(tmp_path):
    write_case(tmp_path / "a", "first")
    write_case(tmp_path / ".a.part", "first")
    assert [case.name for case in find_cases([tmp_path])] == ["first"]


@pytest.fixture
def results(tmp_path):
    write_case(tmp_path / "cases" / "a", "phantom")
    write_case(tmp_path / "cases" / "b", "other | one")
    table = PERFECT | {"right kidney": LEFT, "brain": LIVER}
    progress = []
    scored = score_cases(
        find_cases([tmp_path / "cases"]),
        table_model(table),
        MAPPING,
        TREE,
        on_progress=lambda *step: progress.append(step),
    )
    assert progress == [("evaluate", 1, 2), ("evaluate", 2, 2)]
    return scored


def test_reports(results, tmp_path):
    summary = summarise(results, {"name": "<table>", "sha256": "ab" * 32})
    paths = write_report(tmp_path / "out", summary, results, worst=3)
    assert [p.name for p in paths] == [
        *("evaluation.json", "evaluation.csv", "evaluation.md", "evaluation.html"),
    ]
    assert json.loads(paths[0].read_text()) == json.loads(json.dumps(summary))
    with paths[1].open(newline="") as file:
        records = list(csv.DictReader(file))
    assert len(records) == 8
    right = next(r for r in records if r["concept"] == "right kidney")
    assert (right["dice"], right["laterality_error"], right["labels_by"]) == (
        *("0.0", "True", "a ruler"),
    )
    text = paths[2].read_text()
    assert "Truth of phantom (val, 3.00 × 2.00 × 2.00 mm): a ruler" in text
    assert "| phantom | right kidney | 0.000 |" in text
    assert "other \\| one" in text
    assert "| odd thing | nobody knows |" in text
    assert "right kidney in phantom" in text
    page = paths[3].read_text()
    assert "&lt;table&gt;" in page
    assert "<table>" in page
    pictures = re.findall(r'<img src="([^"]+)"', page)
    assert len(pictures) == 5
    for name in pictures:
        data = (tmp_path / "out" / name).read_bytes()
        assert data.startswith(b"\x89PNG")
        assert len(data) > 5000
    again = write_report(tmp_path / "out", summary, results, worst=0)
    assert len(list((tmp_path / "out" / "pictures").iterdir())) == 2
    assert again == paths


def _with_other_scan_and_truth(result):
    if result.overview is None:
        return result
    planes = result.overview
    image = tuple(np.random.default_rng(0).normal(0, 200, p.shape) for p in planes.image)
    truth = tuple(1 - (p > 0) for p in planes.truth)
    return replace(result, overview=replace(planes, image=image, truth=truth))


def test_page_keeps_what_people_wrote(results, tmp_path):
    summary = summarise(results, {"name": "table"})
    page = tmp_path / "docs" / "accuracy.md"
    update_page(page, summary, results)
    first = page.read_text()
    assert first.startswith("# Accuracy")
    page.write_text(first.replace("# Accuracy", "# Accuracy\n\nBy hand.") + "\nMore by hand.\n")
    update_page(page, summary, results)
    second = page.read_text()
    assert "By hand." in second
    assert second.endswith("More by hand.\n")
    assert second.count("Means per concept") == 1
    assert (tmp_path / "docs" / "accuracy" / "phantom.png").is_file()
    assert "(accuracy/phantom.png)" in second
    shown = (tmp_path / "docs" / "accuracy" / "phantom.png").read_bytes()
    other = [_with_other_scan_and_truth(result) for result in results]
    update_page(page, summary, other)
    assert (tmp_path / "docs" / "accuracy" / "phantom.png").read_bytes() == shown
    page.write_text(f"{END}\n{BEGIN}\n")
    with pytest.raises(InputError, match="one pair of the lines"):
        update_page(page, summary, results)


def test_bootstrap_in_the_summary_is_seeded(results):
    first = summarise(results, {"name": "table"}, seed=1)
    assert first == summarise(results, {"name": "table"}, seed=1)
    entry = first["groups"]["kidney"]["dice"]
    assert (entry["clusters"], entry["values"], entry["mean"]) == (2, 4, 0.5)
