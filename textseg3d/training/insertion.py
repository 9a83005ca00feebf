"""Findings inserted into a training volume, with their labels: every sample has its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import max_pool3d

from textseg3d.synthesis.findings import (
    FINDINGS,
    InsertedFinding,
    Rule,
    Spacing,
    draw_centre,
    insert,
)
from textseg3d.synthesis.noise import chance
from textseg3d.training.cases import TrainingCase

PROBABILITY = 0.4  # of each finding in each sample
MOST = 3
EDGE_MM = 7.0


@dataclass(frozen=True)
class Insertion:
    """What became of a volume.

    Attributes:
        targets: target → label ids, the case's own with the new ones.
        findings: in the order in which they were drawn.
    """

    targets: dict[str, tuple[int, ...]]
    findings: tuple[InsertedFinding, ...]


def insert_findings(
    rng: torch.Generator,
    case: TrainingCase,
    hu: Tensor,
    labels: Tensor,
    spacing_mm: Spacing,
    probability: float = PROBABILITY,
    rules: Mapping[str, Rule] = FINDINGS,
    edge_probability: float = 0.0,
) -> Insertion:
    """Draw findings into ``hu`` and ``labels`` [D, H, W], in place.

    A voxel of a finding gets a new id per label that it had, so that it stays part of its lobe,
    its lung and everything else that it was part of.

    Args:
        rng: random numbers.
        case: says which findings the volume may show, and where.
        hu: float [D, H, W].
        labels: uint8 [D, H, W].
        spacing_mm: (z, y, x).
        probability: of each finding of the case; 0 draws none.
        rules: what each finding looks like.
        edge_probability: that all findings of a kind are centred near the edge of their organ.
    """
    table = {name: list(ids) for name, ids in case.targets.items()}
    drawn: list[InsertedFinding] = []
    free = iter(sorted(set(range(1, 256)) - set(torch.unique(labels).tolist()) - _used(case)))
    for name, hosts in case.insert.items():
        if not chance(rng, probability):
            continue
        host = torch.zeros(256, dtype=torch.bool)
        host[list(hosts)] = True
        organ = host[labels.long()]
        rule = rules[name]
        at_edge = edge_probability > 0 and chance(rng, edge_probability)
        near = organ & _edge(organ, spacing_mm) if at_edge else organ
        renamed: dict[int, int] = {}
        for _ in range(int(torch.randint(1, MOST + 1, (), generator=rng))):
            centre = draw_centre(rng, near, hu if name == "pulmonary nodule" else None)
            if centre is None:
                break
            finding = insert(rng, hu, organ, spacing_mm, rule.kind(rng), rule.diameter(rng), centre)
            if finding is None:
                continue
            part = labels[finding.box]
            mine = torch.zeros_like(finding.mask)
            for old in torch.unique(part[finding.mask]).tolist():
                if old in renamed.values():
                    continue
                if old not in renamed:
                    renamed[old] = next(free)
                    for ids in table.values():
                        if old in ids:
                            ids.append(renamed[old])
                    table[name].append(renamed[old])
                changed = finding.mask & (part == old)
                part[changed] = renamed[old]
                mine |= changed
            if bool(mine.any()):
                drawn.append(InsertedFinding(name, finding, mine))
    return Insertion({name: tuple(ids) for name, ids in table.items()}, tuple(drawn))


def _edge(organ: Tensor, spacing_mm: Spacing) -> Tensor:
    """What is no further than :data:`EDGE_MM` (in steps along the axes) from what is outside."""
    edge = (~organ).float()[None, None]
    for axis, spacing in enumerate(spacing_mm):
        reach = round(EDGE_MM / spacing)
        size, pad = [1, 1, 1], [0, 0, 0]
        size[axis], pad[axis] = 2 * reach + 1, reach
        edge = max_pool3d(edge, size, stride=1, padding=pad)
    return edge[0, 0] > 0


def _used(case: TrainingCase) -> set[int]:
    ids = {i for t in case.targets.values() for i in t} | set(case.arms) | set(case.veins)
    return ids | {int(i) for i in case.tissue or {}}
