"""Draws one training sample per step: a scan-like volume, a window of it, and some prompts.

Sample ``i`` is a function of (seed, i) alone, so a resumed run continues with exactly the
samples that an undisturbed one would have seen, whatever the number of loader processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from textseg3d.plans.schema import Configuration
from textseg3d.preprocessing.body import body_box, window_position
from textseg3d.preprocessing.intensity import normalise
from textseg3d.synthesis.deform import random_map, sample
from textseg3d.synthesis.noise import chance, uniform
from textseg3d.synthesis.render import Tissues, render_ct
from textseg3d.synthesis.scanner import acquire, relight, remap
from textseg3d.training.cases import TrainingCase, TrainingSet, load_case_arrays

PRESENT_VOXELS = 20  # fewer voxels than this in the window: presence is not scored


@dataclass(frozen=True)
class Sample:
    """One window and its prompts.

    Attributes:
        x: network input [C, D, H, W].
        position: float32 [3, 2], see :func:`window_position`.
        prompts: indices into ``TrainingSet.targets`` [P].
        wordings: index of the phrasing per prompt [P]; 0 is the canonical name.
        presence: float [P]: 1 there, 0 not there, -1 too little to say.
        masks: fraction of each cell that is the target, at strides 2, 4, 8: [P, d, h, w].
        fine_start: corner (z, y, x) of the full-resolution crop, in voxels, even.
        fine_mask: [P, d, h, w] of the crop.
        case: name, for the log.
    """

    x: Tensor
    position: Tensor
    prompts: Tensor
    wordings: Tensor
    presence: Tensor
    masks: list[Tensor]
    fine_start: tuple[int, int, int]
    fine_mask: Tensor
    case: str


class WindowDataset(Dataset):  # type: ignore[type-arg]
    """Map-style dataset: item ``i`` is the sample of optimiser step ``i``.

    Args:
        folder: the training folder.
        training_set: its index.
        configuration: patch size and intensities.
        seed: of everything random here.
        prompts: prompts per window.
        fine_crop: side of the full-resolution crop in voxels (multiple of 2).
    """

    def __init__(
        self,
        folder: Path,
        training_set: TrainingSet,
        configuration: Configuration,
        seed: int,
        prompts: int = 10,
        fine_crop: int = 64,
        length: int = 1 << 40,
    ) -> None:
        self.folder, self.set, self.configuration = folder, training_set, configuration
        self.seed, self.n_prompts, self.length = seed, prompts, length
        self.fine_crop = min(fine_crop, *configuration.patch_size)
        self.index = {t.name: i for i, t in enumerate(training_set.targets)}
        self._arrays: dict[str, tuple[Tensor, Tensor | None]] = {}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, step: int) -> Sample:
        rng = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        weights = torch.tensor([c.weight for c in self.set.cases])
        case = self.set.cases[int(torch.multinomial(weights, 1, generator=rng))]
        hu, labels = self.scan(rng, case)
        window, window_labels, position = self._cut(rng, hu, labels)
        x = normalise(window[None], self.configuration.intensity)
        prompts, wordings, table = self._draw_prompts(rng, case, window_labels)
        masks = table[:, window_labels.long()].float()
        start = self._fine_start(rng, masks)
        f = self.fine_crop
        z, y, xx = start
        fine = masks[:, z : z + f, y : y + f, xx : xx + f].to(torch.uint8)
        pyramid = [nn.functional.avg_pool3d(masks, 2)]
        for _ in range(2):
            pyramid.append(nn.functional.avg_pool3d(pyramid[-1], 2))
        voxels = masks.flatten(1).sum(1)
        presence = torch.where(voxels >= PRESENT_VOXELS, 1.0, torch.where(voxels > 0, -1.0, 0.0))
        halves = [p.to(torch.float16) for p in pyramid]
        return Sample(
            x.to(torch.bfloat16),
            position,
            prompts,
            wordings,
            presence,
            halves,
            start,
            fine,
            case.name,
        )

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

    def _draw_prompts(
        self, rng: torch.Generator, case: TrainingCase, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Target indices, wording indices, and a bool table [P, 256] of their label ids.

        About 60 % are there; a sided one brings its other side along half of the time, as the
        hardest negative; the rest are targets known to be absent from the window.
        """
        counts = torch.bincount(labels.flatten().long(), minlength=256)
        names = list(case.targets)
        there = torch.tensor([float(counts[list(case.targets[n])].sum()) > 0 for n in names])
        weight = torch.tensor([self.set.targets[self.index[n]].weight for n in names])
        chosen: list[str] = []
        positives = self._choose(rng, names, weight * there, round(0.6 * self.n_prompts))
        for name in positives:
            chosen.append(name)
            opposite = self.set.targets[self.index[name]].opposite
            if opposite in case.targets and chance(rng, 0.5):
                chosen.append(str(opposite))
        absent = self._choose(rng, names, weight * ~there, max(2, self.n_prompts - len(chosen)))
        rest = self._choose(rng, names, weight, self.n_prompts)
        chosen = list(dict.fromkeys([*chosen, *absent, *rest]))[: self.n_prompts]
        table = torch.zeros((len(chosen), 256), dtype=torch.bool)
        wordings = []
        for row, name in enumerate(chosen):
            table[row, list(case.targets[name])] = True
            n = len(self.set.targets[self.index[name]].wordings)
            wordings.append(
                int(torch.randint(0, n + 1, (), generator=rng)) if chance(rng, 0.5) else 0
            )
        prompts = torch.tensor([self.index[n] for n in chosen])
        return prompts, torch.tensor(wordings), table

    @staticmethod
    def _choose(rng: torch.Generator, names: list[str], weight: Tensor, k: int) -> list[str]:
        available = int((weight > 0).sum())
        if not available:
            return []
        picks = torch.multinomial(weight, min(k, available), generator=rng)
        return [names[int(i)] for i in picks]

    def _fine_start(self, rng: torch.Generator, masks: Tensor) -> tuple[int, int, int]:
        """Corner of the full-resolution crop: around a random voxel of a random present prompt."""
        limits = [n - self.fine_crop for n in self.configuration.patch_size]
        filled = torch.nonzero(masks.flatten(1).any(1))[:, 0]
        corner = [int(torch.randint(0, m + 1, (), generator=rng)) for m in limits]
        if len(filled) and chance(rng, 0.8):
            row = int(filled[int(torch.randint(0, len(filled), (), generator=rng))])
            voxels = torch.nonzero(masks[row])
            voxel = voxels[int(torch.randint(0, len(voxels), (), generator=rng))]
            jitter = torch.randint(-12, 13, (3,), generator=rng)
            corner = [
                min(max(0, int(v + j) - self.fine_crop // 2), m)
                for v, j, m in zip(voxel, jitter, limits, strict=True)
            ]
        z, y, x = (c // 2 * 2 for c in corner)
        return z, y, x
