"""Cases of a dataset in nnU-Net's layout, to score a model on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textseg3d.dataset import Dataset
from textseg3d.errors import InputError
from textseg3d.evaluation.cases import CaseFolder
from textseg3d.evaluation.mapping import LabelMapping, LabelRule

IGNORE = "ignore"


def dataset_cases(
    dataset: Dataset,
    prompts: Mapping[str, str],
    names: Sequence[str] | None = None,
    *,
    split: str = "not stated",
) -> tuple[list[CaseFolder], LabelMapping]:
    """Labelled cases of a dataset, and what to ask for each label.

    Args:
        dataset: in nnU-Net's layout.
        prompts: label name → prompt.
        names: of the cases; None takes all.
        split: for the report.

    Raises:
        InputError: for a name of no case.
    """
    known = {case.name: case for case in dataset.cases}
    wanted = list(known) if names is None else list(names)
    missing = [name for name in wanted if name not in known]
    if missing:
        raise InputError(f"{dataset.folder} has no case {missing[0]}")
    description = dataset.description
    rules: dict[str, LabelRule] = {}
    unions: dict[str, LabelRule] = {}
    ids: dict[int, str] = {}
    ignore = () if description.ignore is None else (IGNORE,)
    for label in description.labels:
        prompt = prompts.get(label.name, label.name)
        rule = LabelRule(name=prompt, prompts=(prompt,), ignore=ignore)
        if description.has_regions:  # regions overlap: each is a union of values
            values = tuple(f"value {value}" for value in label.values)
            unions[prompt] = LabelRule(prompt, (prompt,), values, ignore=ignore)
            ids.update(zip(label.values, values))
        else:
            rules[label.name] = rule
            ids[label.values[0]] = label.name
    if description.ignore is not None:
        ids[description.ignore] = IGNORE
        rules[IGNORE] = LabelRule(skip="voxels that were not annotated")
    if description.has_regions:
        part = "a value that regions are made of"
        rules.update({name: LabelRule(skip=part) for name in ids.values() if name != IGNORE})
    cases = [
        CaseFolder(
            name=name,
            image=known[name].images[0],
            truth=known[name].label,
            labels=ids,
            labels_by=f"dataset {dataset.name}",
            split=split,
            licence="not stated",
            more_images=known[name].images[1:],
        )
        for name in sorted(wanted)
    ]
    return cases, LabelMapping(rules, unions)
