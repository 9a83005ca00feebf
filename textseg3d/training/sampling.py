"""Samples of a prepared training set: scans are deformed and re-lit, atlases are rendered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textseg3d.plans.schema import Configuration
from textseg3d.preprocessing.body import body_box, window_position
from textseg3d.preprocessing.intensity import normalise
from textseg3d.synthesis.deform import move_organ, random_map, sample
from textseg3d.synthesis.findings import InsertedFinding
from textseg3d.synthesis.magnetic import acquire_mr, render_mr
from textseg3d.synthesis.noise import chance, uniform
from textseg3d.synthesis.render import Tissues, render_ct
from textseg3d.synthesis.scanner import acquire, relight, remap
from textseg3d.training.cases import TrainingCase, TrainingSet, load_case_arrays
from textseg3d.training.insertion import PROBABILITY, insert_findings
from textseg3d.training.source import Sample, WindowSource

ORGAN_ML = (8.1, 1080.0)  # what moves on its own


@dataclass(frozen=True)
class ScanLike:
    """A volume made from a case.

    Attributes:
        image: float [D, H, W], HU of CT, or signal of MR.
        labels: uint8 [D, H, W].
        targets: target → label ids, for the targets whose truth the case has.
        findings: what was drawn into it.
    """

    image: Tensor
    labels: Tensor
    targets: dict[str, tuple[int, ...]]
    findings: tuple[InsertedFinding, ...]


class WindowDataset(WindowSource):
    """A scan-like volume from a case, and a window of it; item ``i`` depends on (seed, i) alone.

    Args:
        folder: the training folder.
        training_set: its index.
        configuration: patch size and intensities.
        seed, prompts, fine_crop: see :class:`WindowSource`.
    """

    def __init__(
        self,
        folder: Path,
        training_set: TrainingSet,
        configuration: Configuration,
        seed: int,
        prompts: int = 10,
        fine_crop: int = 64,
    ) -> None:
        super().__init__(training_set.targets, configuration, seed, prompts, fine_crop)
        self.folder, self.set = folder, training_set
        self.describe = f"{len(training_set.targets)} targets, {len(training_set.cases)} cases"
        self.voxel_mm = math.prod(training_set.spacing_mm) ** (1 / 3)
        self._arrays: dict[str, tuple[Tensor, Tensor | None]] = {}
        self._centres: dict[str, dict[str, Tensor]] = {}

    def __getitem__(self, index: int) -> Sample:
        rng = self.generator(index)
        case = self.choose_case(rng)
        scan = self.scan(rng, case)
        schemes = self.configuration.intensity
        if self.set.modality == "MR":  # as in inference: statistics and box of the whole scan
            whole = normalise(scan.image[None], schemes)[0]
            box = np.array([[0.0, n - 1.0] for n in whole.shape])
            x, labels, position = self._cut(rng, whole, scan.labels, box, float(whole.min()))
            return self.sample(rng, case.name, scan.targets, x[None], labels, position)
        box = body_box(scan.image.numpy(), self.set.spacing_mm)
        window, labels, position = self._cut(rng, scan.image, scan.labels, box, schemes[0].outside)
        x = normalise(window[None], schemes)
        return self.sample(rng, case.name, scan.targets, x, labels, position)

    def choose_case(self, rng: torch.Generator) -> TrainingCase:
        """Draw one, by weight."""
        weights = torch.tensor([c.weight for c in self.set.cases])
        return self.set.cases[int(torch.multinomial(weights, 1, generator=rng))]

    def scan(
        self, rng: torch.Generator, case: TrainingCase, finding_probability: float = PROBABILITY
    ) -> ScanLike:
        """A scan-like volume: deformed, lit, given findings, and acquired.

        Args:
            rng: random numbers.
            case: what it is made from.
            finding_probability: of each finding that the case may show.
        """
        labels, image = self._load(case.name)
        shape = self._field_of_view(rng, labels.shape)
        centre = []
        for n, size, least in zip(labels.shape, shape, (0.0, 24.0, 24.0), strict=True):
            slack = max(least / self.voxel_mm, (n - size) / 2)
            centre.append(n / 2 + uniform(rng, -slack, slack))
        coordinates = random_map(rng, shape, torch.tensor(centre), voxel_mm=self.voxel_mm)
        if chance(rng, 0.6):
            self._move_organs(rng, case, labels, coordinates)
        moved = sample(labels, coordinates, "nearest", 0.0).round().to(torch.uint8)
        if image is None:
            assert case.tissue is not None
            tissues = Tissues(
                {int(k): v for k, v in case.tissue.items()},
                frozenset(case.veins),
                frozenset(case.arms),
            )
            if chance(rng, 0.7):
                moved[torch.isin(moved, torch.tensor(case.arms, dtype=torch.uint8))] = 0
            if self.set.modality == "MR":
                signal = acquire_mr(
                    rng, render_mr(rng, moved, tissues, self.voxel_mm), self.voxel_mm
                )
                return ScanLike(signal, moved, dict(case.targets), ())
            hu = render_ct(rng, moved, tissues)
        else:
            hu = sample(image, coordinates, "bilinear", -1024.0)
            if chance(rng, 0.6):
                hu = relight(rng, hu, moved)
            hu = remap(rng, hu)
        made = insert_findings(rng, case, hu, moved, self.set.spacing_mm, finding_probability)
        hu = acquire(rng, hu).clamp_(-1024, 3071)
        return ScanLike(hu, moved, made.targets, made.findings)

    def _field_of_view(self, rng: torch.Generator, size: Sequence[int]) -> tuple[int, int, int]:
        """Shape of the sample: from a whole torso to a few slices, now and then a narrow view."""
        depth, height, width = size

        def mm(low: float, high: float) -> int:
            return int(uniform(rng, low / self.voxel_mm, high / self.voxel_mm))

        margins = [round(n / self.voxel_mm) for n in (24, 60, 90)]
        if self.set.modality == "MR" and chance(rng, 0.6):  # a stack of slices over some organs
            depth = min(depth + margins[0], mm(45, 240))
        elif chance(rng, 0.7):
            depth = min(depth + margins[0], mm(120, 480))
        elif chance(rng, 0.5):
            depth = min(depth + margins[0], mm(36, 180))
        else:
            depth = min(depth, round(480 / self.voxel_mm))
        if chance(rng, 0.12):  # a heart or a spine alone
            return depth, mm(108, 300), mm(108, 330)
        return depth, min(mm(285, 450), height + margins[1]), min(mm(330, 510), width + margins[2])

    def _move_organs(
        self, rng: torch.Generator, case: TrainingCase, labels: Tensor, coordinates: Tensor
    ) -> None:
        """One or two organs, drawn as prompts are, move and grow on their own."""
        if case.name not in self._centres:
            self._centres[case.name] = _organ_centres(labels, case, self.voxel_mm)
        centres = self._centres[case.name]
        weight = {t.name: t.weight for t in self.targets}
        names = self._choose(
            rng,
            list(centres),
            torch.tensor([weight[n] for n in centres]),
            1 + int(chance(rng, 0.5)),
        )
        for name in names:
            move_organ(rng, coordinates, centres[name], self.voxel_mm)

    def _load(self, name: str) -> tuple[Tensor, Tensor | None]:
        if name not in self._arrays:
            labels, image = load_case_arrays(self.folder, name)
            self._arrays[name] = (
                torch.from_numpy(labels),
                None if image is None else torch.from_numpy(image),
            )
        return self._arrays[name]

    def _cut(
        self,
        rng: torch.Generator,
        image: Tensor,
        labels: Tensor,
        box: NDArray[np.float64],
        outside: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A window of the patch size; what the scan does not cover is padded, as in inference."""
        size = self.configuration.patch_size
        start = []
        for n, p in zip(image.shape, size, strict=True):
            low, high = min(0, n - p), max(0, n - p)
            start.append(int(torch.randint(low, high + 1, (), generator=rng)))
        window = torch.full(size, outside)
        window_labels = torch.zeros(size, dtype=torch.uint8)
        source, target = [], []
        for s, n, p in zip(start, image.shape, size, strict=True):
            first, last = max(0, s), min(n, s + p)
            source.append(slice(first, last))
            target.append(slice(first - s, last - s))
        window[tuple(target)] = image[tuple(source)]
        window_labels[tuple(target)] = labels[tuple(source)]
        position = window_position(box, (start[0], start[1], start[2]), size)
        return window, window_labels, torch.from_numpy(position)


def _organ_centres(labels: Tensor, case: TrainingCase, voxel_mm: float) -> dict[str, Tensor]:
    """Target → centre (z, y, x) in voxels, for targets of organ size."""
    flat = labels.flatten().long()
    counts = torch.bincount(flat, minlength=256).double()
    axes = [torch.arange(n, dtype=torch.float64) for n in labels.shape]
    grids = torch.meshgrid(*axes, indexing="ij")
    sums = torch.stack([torch.bincount(flat, g.flatten(), minlength=256) for g in grids], 1)
    centres = {}
    for name, ids in case.targets.items():
        n = float(counts[list(ids)].sum())
        if ORGAN_ML[0] <= n * voxel_mm**3 / 1000 <= ORGAN_ML[1]:
            centres[name] = (sums[list(ids)].sum(0) / n).float()
    return centres
