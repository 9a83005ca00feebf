"""How well a model stands different wordings: `textseg3d evaluate --prompts`.

For every labelled structure the preferred name is asked and, beside it, other wordings. A wording
of the same thing is right if its mask equals that of the preferred name (Dice of at least 0.98);
the other side, a denial and an absent structure are right if no mask looks like an answer.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import textseg3d
from textseg3d.errors import PromptError
from textseg3d.evaluation.cases import CaseFolder
from textseg3d.evaluation.grids import on_grid_of, read_labels
from textseg3d.evaluation.mapping import ConceptTask, LabelMapping, plan_tasks
from textseg3d.evaluation.metrics import dice, finite_or_none, mean_or_nan
from textseg3d.evaluation.predictors import Predict, PromptAnswer
from textseg3d.text.knowledge import KnowledgeTree, Target

Kind = Literal[
    "preferred name", "synonym", "abbreviation", "typo", "long sentence",
    "side swap", "negation", "absent target",
]  # fmt: skip
KINDS: tuple[Kind, ...] = Kind.__args__  # type: ignore[attr-defined]
SAME_DICE = 0.98
OTHER_DICE = 0.1
SYNONYMS = 3
LONGEST_TYPO_FREE = 5
_SENTENCES = (
    "Please outline the {name} that can be seen in this scan of the patient for the radiologist",
    "In the present examination, I would like to have a mask of the whole {name}",
)
_DENIALS = ("no {name}", "the {name} is not seen")


@dataclass(frozen=True)
class Wording:
    """One prompt and what it is a test of."""

    kind: Kind
    prompt: str


@dataclass(frozen=True)
class WordingRow:
    """What came of one prompt.

    Attributes:
        case: name of the case.
        target: preferred name of the structure; the prompt itself for an absent one.
        kind: what the prompt is a test of.
        prompt: as asked.
        status: the model's.
        correct: see the module; None if the model does not know the structure at all.
        same: Dice with the mask of the preferred name, None where that is no question.
        dice: with the truth, None where there is none.
    """

    case: str
    target: str
    kind: Kind
    prompt: str
    status: str
    correct: bool | None
    same: float | None = None
    dice: float | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {key: _rounded(value) for key, value in vars(self).items()}


def wordings_of(target: Target, tree: KnowledgeTree, *, seed: int = 0) -> list[Wording]:
    """Prompts for one structure, the preferred name first; the same ones for the same seed."""
    concept, name = tree.concept(target.concept), tree.canonical_name(target)
    rng = random.Random(f"{seed} {name}")
    short = {*concept.abbreviations, *concept.sided_forms.get(target.side or "", ())}
    short_words = {word.lower() for form in short for word in form.split()}
    synonyms: list[str] = []
    abbreviations: list[str] = []
    for text in tree.wordings(target)[1:]:
        words = re.findall(r"\w+", text)
        is_short = any(w.lower() in short_words or w in ("L", "R", "LT", "RT", "Lt", "Rt")
                       for w in words)  # fmt: skip
        (abbreviations if is_short else synonyms).append(text)
    found = [Wording("preferred name", name)]
    found += [Wording("synonym", t) for t in _some(synonyms, rng)]
    found += [Wording("abbreviation", t) for t in _some(abbreviations, rng)]
    slip = misspell(name, rng)
    found += [Wording("typo", slip)] if slip is not None else []
    found += [Wording("long sentence", text.format(name=name)) for text in _SENTENCES]
    if target.side in ("left", "right") and concept.side_rule == "paired":
        other: Literal["left", "right"] = "right" if target.side == "left" else "left"
        swapped = tree.canonical_name(Target(target.concept, other))
        found.append(Wording("side swap", swapped))
    found += [Wording("negation", text.format(name=name)) for text in _DENIALS]
    return found


def _some(texts: Sequence[str], rng: random.Random) -> list[str]:
    return rng.sample(list(texts), SYNONYMS) if len(texts) > SYNONYMS else list(texts)


def misspell(name: str, rng: random.Random) -> str | None:
    """``name`` with two neighbouring letters of its longest word exchanged, or one left out.

    None if every word has 5 letters or less, or is a side: such words are no typo but another
    word.
    """
    words = [w for w in re.findall(r"[^\W\d]+", name) if w.lower() not in ("left", "right")]
    word = max(words, key=len, default="")
    if len(word) <= LONGEST_TYPO_FREE:
        return None
    places = [i for i in range(1, len(word) - 2) if word[i] != word[i + 1]]
    place = rng.choice(places)
    if rng.random() < 0.5:
        slip = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    else:
        slip = word[:place] + word[place + 1 :]
    return name.replace(word, slip, 1)


def score_prompts(
    cases: Sequence[CaseFolder],
    predict: Predict,
    mapping: LabelMapping,
    tree: KnowledgeTree,
    *,
    seed: int = 0,
    on_progress: Callable[[str, int, int], Any] | None = None,
) -> list[WordingRow]:
    """Ask every wording of every labelled structure of every case.

    Args:
        cases: labelled scans.
        predict: the model.
        mapping: what label names mean, and what the cases do not show.
        tree: the knowledge tree.
        seed: of the choice of wordings and typos.
        on_progress: called with (stage, done, total) after each case.

    Raises:
        InputError: if a scan or a label map cannot be read.
        GeometryError: if a truth is not on the grid of its scan.
    """
    rows: list[WordingRow] = []
    for done, case in enumerate(cases, start=1):
        rows += _score_case(case, predict, mapping, tree, seed)
        if on_progress is not None:
            on_progress("evaluate", done, len(cases))
    return rows


def _score_case(
    case: CaseFolder, predict: Predict, mapping: LabelMapping, tree: KnowledgeTree, seed: int
) -> list[WordingRow]:
    from textseg3d.io import read_volume

    image, truth = read_volume(case.image), read_labels(case.truth)
    labels = on_grid_of(image, truth, resample=False)
    asked: list[tuple[NDArray[np.bool_], list[Wording]]] = []
    for task in plan_tasks(case.labels, mapping, tree, case.targets)[0]:
        target = _target(task, tree)
        mask = np.isin(labels, task.truth_ids)
        if target is not None and mask.any():
            asked.append((mask, wordings_of(target, tree, seed=seed)))
    absent = tuple(dict.fromkeys((*mapping.absent_prompts(case.name), *case.absent)))
    prompts = [w.prompt for _, wordings in asked for w in wordings]
    answers = predict(image, list(dict.fromkeys([*prompts, *absent]))) if prompts or absent else {}
    rows = [row for mask, wordings in asked for row in _judge(case.name, mask, wordings, answers)]
    for prompt in absent:
        answer = answers[prompt]
        right = answer.voxel_count == 0
        rows.append(WordingRow(case.name, prompt, "absent target", prompt, answer.status, right))
    return rows


def _target(task: ConceptTask, tree: KnowledgeTree) -> Target | None:
    """The concept of a row that one prompt of the tree asks for; None for the others."""
    if len(task.prompts) != 1:
        return None
    try:
        return tree.resolve_label(task.prompts[0])
    except PromptError:
        return None


def _judge(
    case: str,
    truth: NDArray[np.bool_],
    wordings: Sequence[Wording],
    answers: dict[str, PromptAnswer],
) -> Iterator[WordingRow]:
    """A row for each wording of one structure."""
    name = wordings[0].prompt
    preferred = _mask(answers[name], truth)
    known = answers[name].status in ("ok", "empty")
    for wording in wordings:
        answer = answers[wording.prompt]
        mask = _mask(answer, truth)
        same = None
        score = None
        if wording.kind == "negation":
            right: bool = answer.status == "negated" and not mask.any()
        elif wording.kind == "side swap":
            score = float(dice(truth, mask))
            right = answer.status in ("ok", "empty") and score < OTHER_DICE
        else:
            same = 1.0 if not (mask.any() or preferred.any()) else float(dice(preferred, mask))
            score = float(dice(truth, mask))
            right = answer.status == answers[name].status and same >= SAME_DICE
        correct = right if known else None
        yield WordingRow(
            case, name, wording.kind, wording.prompt, answer.status, correct, same, score
        )


def _mask(answer: PromptAnswer, like: NDArray[np.bool_]) -> NDArray[np.bool_]:
    mask = np.zeros(like.shape, dtype=bool)
    answer.add_to(mask)
    return mask


def summarise_prompts(rows: Sequence[WordingRow], model: dict[str, Any]) -> dict[str, Any]:
    """The report: accuracy by kind, every wrong answer, every row.

    Structures that the model does not know are left out of the accuracies.
    """
    kinds = {}
    for kind in KINDS:
        counted = [r for r in rows if r.kind == kind and r.correct is not None]
        if not counted:
            continue
        right = sum(bool(row.correct) for row in counted)
        scores = [row.dice for row in counted if row.dice is not None]
        kinds[kind] = {
            "asked": len(counted),
            "correct": right,
            "accuracy": right / len(counted),
            "dice": finite_or_none(mean_or_nan(scores)),
        }
    unknown = sorted({row.target for row in rows if row.correct is None})
    return {
        "textseg3d": textseg3d.__version__,
        "model": model,
        "kinds": kinds,
        "unknown": unknown,
        "wrong": [row.to_json() for row in rows if row.correct is False],
        "rows": [row.to_json() for row in rows],
    }


def prompts_markdown(summary: dict[str, Any]) -> str:
    """The same as a page of Markdown."""
    model = summary["model"]
    lines = [
        "# Prompt robustness",
        "",
        f"Model: {model.get('name', 'not stated')} {model.get('version', '')}".rstrip() + ". "
        f"A wording is right if its mask has a Dice of at least {SAME_DICE} to that of the "
        f"preferred name; a side swap if it has less than {OTHER_DICE} to the truth of the side "
        "not asked; a denial and an absent target if there is no mask.",
        "",
        "| kind | asked | right | accuracy | mean Dice to truth |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for kind, entry in summary["kinds"].items():
        truth = "-" if entry["dice"] is None else f"{entry['dice']:.3f}"
        cells = (kind, entry["asked"], entry["correct"], f"{entry['accuracy']:.1%}", truth)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    if summary["wrong"]:
        lines += [
            "",
            "## Wrong",
            "",
            "| case | kind | prompt | status |",
            "| --- | --- | --- | --- |",
        ]
        for row in summary["wrong"]:
            wrong = [str(row[key]) for key in ("case", "kind", "prompt", "status")]
            lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in wrong)} |")
    if summary["unknown"]:
        lines += ["", f"Not known to the model: {', '.join(summary['unknown'])}."]
    return "\n".join(lines) + "\n"


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value
