"""Samples of a prepared training set: scans are deformed and re-lit, atlases are rendered."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from textseg3d.plans.schema import Configuration
from textseg3d.preprocessing.body import body_box, window_position
from textseg3d.preprocessing.intensity import normalise
from textseg3d.synthesis.deform import random_map, sample
from textseg3d.synthesis.noise import chance, uniform
from textseg3d.synthesis.render import Tissues, render_ct
from textseg3d.synthesis.scanner import acquire, relight, remap
from textseg3d.training.cases import TrainingCase, TrainingSet, load_case_arrays
from textseg3d.training.source import Sample, WindowSource


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
        self._arrays: dict[str, tuple[Tensor, Tensor | None]] = {}

    def __getitem__(self, index: int) -> Sample:
        rng = self.generator(index)
        weights = torch.tensor([c.weight for c in self.set.cases])
        case = self.set.cases[int(torch.multinomial(weights, 1, generator=rng))]
        hu, labels = self.scan(rng, case)
        window, window_labels, position = self._cut(rng, hu, labels)
        x = normalise(window[None], self.configuration.intensity)
        return self.sample(rng, case.name, case.targets, x, window_labels, position)

    def scan(self, rng: torch.Generator, case: TrainingCase) -> tuple[Tensor, Tensor]:
        """A scan-like volume in HU and its labels, both [D, H, W]: deformed, lit, acquired."""
        labels, image = self._load(case.name)
        depth, height, width = labels.shape
        shape = (
            min(depth + 8, int(uniform(rng, 40, 160))) if chance(rng, 0.7) else min(depth, 160),
            min(int(uniform(rng, 95, 150)), height + 20),
            min(int(uniform(rng, 110, 170)), width + 30),
        )
        slack = max(0.0, (depth - shape[0]) / 2)
        centre = torch.tensor(
            [
                depth / 2 + uniform(rng, -slack, slack),
                height / 2 + uniform(rng, -8, 8),
                width / 2 + uniform(rng, -8, 8),
            ]
        )
        coordinates = random_map(rng, shape, centre)
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
            hu = render_ct(rng, moved, tissues)
        else:
            hu = sample(image, coordinates, "bilinear", -1024.0)
            if chance(rng, 0.6):
                hu = relight(rng, hu, moved)
            hu = remap(rng, hu)
        return acquire(rng, hu).clamp_(-1024, 3071), moved

    def _load(self, name: str) -> tuple[Tensor, Tensor | None]:
        if name not in self._arrays:
            labels, image = load_case_arrays(self.folder, name)
            self._arrays[name] = (
                torch.from_numpy(labels),
                None if image is None else torch.from_numpy(image),
            )
        return self._arrays[name]

    def _cut(
        self, rng: torch.Generator, hu: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A window of the patch size; what the scan does not cover is padded, as in inference."""
        size = self.configuration.patch_size
        box = body_box(hu.numpy(), self.set.spacing_mm)
        start = []
        for n, p in zip(hu.shape, size, strict=True):
            low, high = min(0, n - p), max(0, n - p)
            start.append(int(torch.randint(low, high + 1, (), generator=rng)))
        window = torch.full(size, self.configuration.intensity[0].outside)
        window_labels = torch.zeros(size, dtype=torch.uint8)
        source, target = [], []
        for s, n, p in zip(start, hu.shape, size, strict=True):
            first, last = max(0, s), min(n, s + p)
            source.append(slice(first, last))
            target.append(slice(first - s, last - s))
        window[tuple(target)] = hu[tuple(source)]
        window_labels[tuple(target)] = labels[tuple(source)]
        position = window_position(box, (start[0], start[1], start[2]), size)
        return window, window_labels, torch.from_numpy(position)
