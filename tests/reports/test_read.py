"""Ten reports in the style of public chest CT reports, with what they say, written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from textseg3d.errors import InputError
from textseg3d.reports.categories import NAMES, category_of
from textseg3d.reports.read import read_report
from textseg3d.text.grammar import parse_prompt
from textseg3d.text.knowledge import load_tree

DATA = Path(__file__).parent / "data"
EXPECTED = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))
STATUSES = ("positive", "negated", "uncertain", "historical")


def report_of(name):
    return read_report((DATA / f"{name}.txt").read_text(encoding="utf-8"))


def short(finding):
    return " ".join(
        filter(None, (finding.side if finding.side in ("left", "right") else "", finding.concept))
    )


def test_there_are_ten():
    assert len(EXPECTED) == 10
    assert {path.stem for path in DATA.glob("*.txt")} == set(EXPECTED)
    assert all(set(entry) == set(STATUSES) for entry in EXPECTED.values())


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_findings(name):
    report = report_of(name)
    for status in STATUSES:
        assert {short(f) for f in report.of_status(status)} == set(EXPECTED[name][status]), status


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_spans_and_prompts(name):
    report = report_of(name)
    assert report.findings
    for finding in report.findings:
        assert 0 <= finding.start <= finding.word_start < finding.word_end <= finding.end
        words = report.text[finding.word_start : finding.word_end]
        assert words == words.strip()
        assert finding.category in NAMES
        parsed = parse_prompt(finding.prompt)
        assert parsed.status == "ok"
        assert len(parsed.targets) == 1
        target = parsed.targets[0]
        assert finding.concept in (target.concept, target.specific, target.broader)
        if finding.side in ("left", "right"):
            assert parsed.targets[0].side == finding.side
        json.dumps(finding.to_json())


def test_sizes_are_kept_apart_from_the_prompt():
    finding = report_of("report_01").of_status("positive")[0]
    assert finding.size_mm == (6.0, 6.0)
    assert finding.prompt == "pulmonary nodule in lower lobe of left lung"
    again = parse_prompt(finding.sized_prompt).targets[0]
    assert (again.concept, again.container, again.size_mm) == (
        "pulmonary nodule",
        "lower lobe of left lung",
        (6.0, 6.0),
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("FINDINGS: Cough.", []),
        ("TECHNIQUE: Nodule protocol.", []),
        ("RECOMMENDATION: Follow-up of the nodule.", []),
        ("FINDINGS: Pleural effusion: none.", [("negated", "pleural effusion")]),
        ("Pleural effusion: none.", [("negated", "pleural effusion")]),
        ("FINDINGS: No effusion, but a pneumothorax.",
         [("positive", "pneumothorax"), ("negated", "pleural effusion")]),
        ("FINDINGS: Pneumothorax: No. Pleural effusion.",
         [("negated", "pneumothorax"), ("positive", "pleural effusion")]),
        ("HISTORY: Pneumonia.", [("historical", "pneumonia")]),
        ("FINDINGS: History of pneumonia.", [("historical", "pneumonia")]),
        ("FINDINGS: Possible pneumonia.", [("uncertain", "pneumonia")]),
    ],
)  # fmt: skip
def test_single_sentences(text, wanted):
    assert [(f.status, f.concept) for f in read_report(text).findings] == wanted


def test_refused_texts():
    with pytest.raises(InputError, match="empty"):
        read_report(" \n")
    with pytest.raises(InputError, match="200001"):
        read_report("x" * 200_001)


def test_categories():
    tree = load_tree()
    wanted = {
        "bronchiectasis": "1b", "linear atelectasis": "2a", "consolidation": "2b",
        "pulmonary nodule": "2d", "lung cancer": "2d", "pleural effusion": "2e",
        "pneumothorax": "2g", "rib fracture": "2h", "hepatic cyst": "2h",
    }  # fmt: skip
    assert {name: category_of(tree.concept(name)) for name in wanted} == wanted
    from textseg3d.reports import categories

    assert all(name in tree for name in categories._BY_NAME)


@pytest.mark.parametrize(
    ("sentence", "status"),
    [
        ("A 12 mm nodule in the right upper lobe was 10 mm in 2021.", "positive"),
        ("Nodule in the right upper lobe, unchanged from 2019.", "positive"),
        ("The nodule measures 12 mm, 10 mm in 2021.", "positive"),
        ("Fracture of the left femur in 2015.", "historical"),
        ("Right nodule resected in 2019.", "historical"),
    ],
)
def test_what_is_compared_with_an_earlier_year_is_there(sentence, status):
    assert [f.status for f in read_report(sentence).findings] == [status]
