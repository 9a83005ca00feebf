"""Wordings, typos, and the judgement of answers whose faults are planted."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.evaluation.conftest import LEFT, LIVER, RIGHT, SHAPE, table_model, write_case
from textseg3d.evaluation.cases import find_cases
from textseg3d.evaluation.mapping import LabelMapping
from textseg3d.evaluation.predictors import PromptAnswer
from textseg3d.evaluation.prompt_robustness import (
    KINDS,
    misspell,
    prompts_markdown,
    score_prompts,
    summarise_prompts,
    wordings_of,
)
from textseg3d.text.grammar import parse_prompt
from textseg3d.text.knowledge import Target, load_tree

TREE = load_tree()
TRUTH = {"left kidney": LEFT, "right kidney": RIGHT, "liver": LIVER}
MAPPING = LabelMapping.from_json(
    {
        "labels": {"odd thing": {"skip": "odd"}, "spot": {"skip": "small"}},
        "absent": {"*": ["brain"]},
    }
)


def honest(text):
    """The mask of a prompt as the grammar reads it, or None where it denies."""
    parsed = parse_prompt(text)
    if parsed.status == "negated":
        return None
    names = [TREE.canonical_name(Target(t.concept, t.side)) for t in parsed.targets]
    masks = [TRUTH.get(name, np.zeros(SHAPE, bool)) for name in names]
    return np.logical_or.reduce(masks) if masks else np.zeros(SHAPE, bool)


def model(fault=lambda text, mask: mask):
    def predict(image, prompts):
        answers = {}
        for text in prompts:
            mask = honest(text)
            if mask is None:
                answers[text] = PromptAnswer("negated")
            else:
                answers |= table_model({text: fault(text, mask)})(image, [text])
        return answers

    return predict


@pytest.fixture
def cases(tmp_path):
    write_case(tmp_path / "one", "one")
    return find_cases([tmp_path])


def accuracies(cases, predict):
    rows = score_prompts(cases, predict, MAPPING, TREE)
    summary = summarise_prompts(rows, {"name": "a table"})
    return {kind: entry["accuracy"] for kind, entry in summary["kinds"].items()}, summary


def test_every_kind_is_asked_and_an_honest_model_is_right(cases):
    found, summary = accuracies(cases, model())
    assert list(found) == list(KINDS)
    assert all(value == 1 for value in found.values()), summary["wrong"]
    page = prompts_markdown(summary)
    assert "| negation | 6 | 6 | 100.0% | - |" in page
    assert "## Wrong" not in page


def test_planted_faults_are_found(cases):
    def both_sides(text, mask):
        return LEFT | RIGHT if "kidney" in text else mask

    def shifted(text, mask):
        return mask if text in TRUTH else np.roll(mask, 1, axis=2)

    def brain_everywhere(text, mask):
        return LIVER if text == "brain" else mask

    assert accuracies(cases, model(both_sides))[0]["side swap"] == 0
    found = accuracies(cases, model(shifted))[0]
    assert found["synonym"] == found["abbreviation"] == found["typo"] == 0
    assert found["preferred name"] == found["negation"] == 1
    assert accuracies(cases, model(brain_everywhere))[0]["absent target"] == 0


def test_a_model_that_ignores_negation(cases):
    def deaf(image, prompts):
        return {text: table_model({text: LIVER})(image, [text])[text] for text in prompts}

    assert accuracies(cases, deaf)[0]["negation"] == 0


def test_unknown_structures_do_not_count(cases):
    found, summary = accuracies(cases, table_model({}))
    assert set(found) == {"absent target"}
    assert summary["unknown"] == ["left kidney", "liver", "right kidney"]


def test_wordings_are_reproducible_and_mean_the_same():
    target = Target("kidney", "left")
    wordings = wordings_of(target, TREE)
    assert wordings == wordings_of(target, TREE)
    assert wordings[0].prompt == "left kidney"
    assert "right kidney" in [w.prompt for w in wordings if w.kind == "side swap"]
    for wording in wordings:
        parsed = parse_prompt(wording.prompt)
        side = "right" if wording.kind == "side swap" else "left"
        assert [(t.concept, t.side) for t in parsed.targets] == [("kidney", side)], wording
        assert (parsed.status == "negated") == (wording.kind == "negation")


def test_typos():
    rng = random.Random(0)
    assert misspell("liver", rng) is None
    for _ in range(20):
        slip = misspell("left kidney", rng)
        assert slip.startswith("left ")
        assert slip != "left kidney"
        assert len(slip) in (10, 11)


def test_the_command(tmp_path, capsys):
    """A model with random weights: its masks mean nothing, but wordings must not change them."""
    import json

    from tests.model_factory import make_model
    from textseg3d.cli.main import main

    model = make_model(tmp_path / "model", spacing=(6.0, 6.0, 6.0))
    write_case(tmp_path / "cases" / "one", "one")
    mapping = tmp_path / "mapping.json"
    mapping.write_text(
        json.dumps({"labels": {"odd thing": {"skip": "odd"}, "spot": {"skip": "small"}}})
    )
    out = tmp_path / "out"
    arguments = ["evaluate", "--model", model, "--cases", tmp_path / "cases", "--prompts"]
    arguments += ["--mapping", mapping, "-o", out, "--device", "cpu", "--quiet"]
    assert main([str(a) for a in arguments]) == 0
    kinds = json.loads((out / "prompts.json").read_text())["kinds"]
    for kind in ("preferred name", "synonym", "abbreviation", "typo", "long sentence", "negation"):
        assert kinds[kind]["accuracy"] == 1, kind
    assert kinds["synonym"]["asked"] == 9
    assert "| synonym | 9 | 9 |" in (out / "prompts.md").read_text()
    assert "synonym\t9/9" in capsys.readouterr().out
    assert main([str(a) for a in [*arguments[:5], "--prompts", "-o", out, "--page", "x"]]) == 2
