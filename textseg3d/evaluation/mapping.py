"""Which label of a case folder is scored against which prompts.

Most labels speak for themselves: the knowledge tree says what "kidney_left" is. A mapping says
what to do with the others. Its JSON form::

    {"labels": {"bone": {"name": "bones", "prompts": ["bones"]},
                "liver": {"add": ["liver tumour 1"], "ignore": ["portal vein"]},
                "vessel": {"skip": "lung vessels only, not all vessels"}},
     "unions": {"lungs": {"labels": ["left lung", "right lung"], "prompts": ["lungs"]}},
     "absent": {"case name": ["urinary bladder"], "*": ["brain"]}}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from textseg3d.errors import InputError, PromptError
from textseg3d.suggest import did_you_mean
from textseg3d.text.knowledge import KnowledgeTree


@dataclass(frozen=True)
class LabelRule:
    """What to do with one label, or one union of labels.

    Attributes:
        name: what the row is called; by default the concept's name in the tree.
        prompts: asked for, their masks united; by default the concept's name.
        labels: true labels that are united (of a union; a label's own rule has none).
        add: further labels that belong to the truth where the case has them.
        ignore: labels whose voxels count neither as truth nor as prediction.
        skip: why the label is not scored; everything else is unused then.
    """

    name: str | None = None
    prompts: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    add: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    skip: str | None = None


@dataclass(frozen=True)
class LabelMapping:
    """Rules for labels that need interpretation.

    Attributes:
        labels: by label name.
        unions: by name of the row.
        absent: prompts for what a case certainly does not show, by case name; ``*`` is every case.
    """

    labels: Mapping[str, LabelRule] = field(default_factory=dict)
    unions: Mapping[str, LabelRule] = field(default_factory=dict)
    absent: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Any, where: str = "mapping") -> LabelMapping:
        """Read the JSON form.

        Raises:
            InputError: for an unknown key or a value of the wrong type.
        """
        parts = _object(data, {"labels", "unions", "absent"}, where)
        absent = _object(parts.get("absent", {}), None, f"{where}: absent")
        return cls(
            labels=_rules(parts.get("labels", {}), f"{where}: labels", union=False),
            unions=_rules(parts.get("unions", {}), f"{where}: unions", union=True),
            absent={
                case: _texts(value, f"{where}: absent: {case}") for case, value in absent.items()
            },
        )

    def absent_prompts(self, case: str) -> tuple[str, ...]:
        """Prompts for what this case does not show, without repeats."""
        return tuple(dict.fromkeys((*self.absent.get("*", ()), *self.absent.get(case, ()))))


@dataclass(frozen=True)
class ConceptTask:
    """One row of a case: true labels against prompts.

    Attributes:
        name: of the row ("left kidney", "lungs").
        group: rows of one group are averaged together ("kidney"); a union is its own group.
        side: "left" or "right" where the concept has one.
        prompts: asked for, united.
        truth_ids: label ids of the truth, united.
        ignore_ids: label ids that count for nothing.
    """

    name: str
    group: str
    side: str | None
    prompts: tuple[str, ...]
    truth_ids: tuple[int, ...]
    ignore_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class NotScored:
    """A label, or a row, that was left out, and why."""

    label: str
    reason: str


def plan_tasks(
    labels: Mapping[int, str],
    mapping: LabelMapping,
    tree: KnowledgeTree,
    targets: Mapping[str, Sequence[int]] | None = None,
) -> tuple[list[ConceptTask], list[NotScored]]:
    """Rows for a case with these labels, and what is left out.

    Args:
        labels: label id → name; several ids may have one name.
        mapping: rules for names that need interpretation.
        tree: says what all other names are.
        targets: name → label ids, with overlaps; if there are any, they are the names, and the
            mapping's unions are left out.
    """
    ids: dict[str, list[int]] = {name: list(own) for name, own in (targets or {}).items()}
    for label_id, name in () if targets else labels.items():
        ids.setdefault(name, []).append(label_id)
    unions = {} if targets else mapping.unions
    added = {a for name in ids if name in mapping.labels for a in mapping.labels[name].add}
    joined = {n for u in unions.values() for n in u.labels}
    tasks, left_out = [], []
    for name in ids:
        rule = mapping.labels.get(name, LabelRule())
        if rule.skip is not None:
            left_out.append(NotScored(name, rule.skip))
            continue
        try:
            tasks.append(_label_task(name, rule, ids, tree))
        except PromptError as error:
            if name not in added and name not in joined:
                left_out.append(NotScored(name, str(error)))
    for name, rule in unions.items():
        members = [n for n in rule.labels if n in ids]
        if len(members) < len(rule.labels) and not rule.add:
            continue
        members += [n for n in rule.add if n in ids]
        if not members:
            continue
        truth = tuple(sorted(i for n in members for i in ids[n]))
        ignore = tuple(sorted(i for n in rule.ignore if n in ids for i in ids[n]))
        prompts = rule.prompts or (name,)
        tasks.append(ConceptTask(rule.name or name, name, None, prompts, truth, ignore))
    return tasks, left_out


def _label_task(
    label: str, rule: LabelRule, ids: Mapping[str, list[int]], tree: KnowledgeTree
) -> ConceptTask:
    asked = rule.prompts[0] if len(rule.prompts) == 1 else label
    try:
        target = tree.resolve_label(asked)
        concept, side, canonical = target.concept, target.side, tree.canonical_name(target)
    except PromptError:
        if not rule.prompts:
            raise
        concept, side, canonical = rule.name or label, None, rule.name or label
    members = [label, *(n for n in rule.add if n in ids)]
    return ConceptTask(
        name=rule.name or canonical,
        group=concept if rule.name is None or side is not None else rule.name,
        side=side if side in ("left", "right") else None,
        prompts=rule.prompts or (canonical,),
        truth_ids=tuple(sorted(i for n in members for i in ids[n])),
        ignore_ids=tuple(sorted(i for n in rule.ignore if n in ids for i in ids[n])),
    )


def read_mapping(path: Path) -> LabelMapping:
    """A mapping from a JSON file.

    Raises:
        InputError: if the file is missing, no JSON, or has unknown keys.
    """
    from textseg3d.evaluation.protocols.folders import read_json

    return LabelMapping.from_json(read_json(path), str(path))


def _rules(data: Any, where: str, *, union: bool) -> dict[str, LabelRule]:
    rules = {}
    keys = {"name", "prompts", "add", "ignore", "labels" if union else "skip"}
    for name, value in _object(data, None, where).items():
        here = f"{where}: {name}"
        entry = _object(value, keys, here)
        if union and not (entry.get("labels") or entry.get("add")):
            raise InputError(f"{here}: expected `labels`, the labels that are united")
        for key in ("name", "skip"):
            if key in entry and not isinstance(entry[key], str):
                raise InputError(f"{here}: {key} is {entry[key]!r}, expected a text")
        rules[name] = LabelRule(
            name=entry.get("name"),
            prompts=_texts(entry.get("prompts", []), f"{here}: prompts"),
            labels=_texts(entry.get("labels", []), f"{here}: labels"),
            add=_texts(entry.get("add", []), f"{here}: add"),
            ignore=_texts(entry.get("ignore", []), f"{here}: ignore"),
            skip=entry.get("skip"),
        )
    return rules


def _object(data: Any, known: set[str] | None, where: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise InputError(f"{where}: got {type(data).__name__}, expected an object")
    for key in data:
        if known is not None and key not in known:
            raise InputError(
                f"{where}: unknown key {key!r}{did_you_mean(key, known)} "
                f"(known: {', '.join(sorted(known))})"
            )
    return data


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise InputError(f"{where}: got {value!r:.60}, expected a list of texts")
    return tuple(value)
