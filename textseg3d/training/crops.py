"""Samples for the stage of a cascade: windows of the organ that it looks into, at its own spacing.

Cases are scans that were cropped to that organ beforehand; a sample deforms one window of a case,
draws findings into it and acquires it anew. Positions are relative to the organ's box, as at
inference.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textseg3d.preprocessing.body import body_position
from textseg3d.preprocessing.intensity import normalise
from textseg3d.synthesis.deform import DeformSettings, random_map, sample
from textseg3d.synthesis.findings import FINDINGS
from textseg3d.synthesis.noise import chance, smooth_noise, uniform
from textseg3d.synthesis.scanner import acquire, remap
from textseg3d.training.cases import TrainingCase
from textseg3d.training.insertion import insert_findings
from textseg3d.training.sampling import WindowDataset
from textseg3d.training.source import Sample

FINDING_PROBABILITY = 0.65
EDGE_PROBABILITY = 0.3
# What is hard to see comes more often than FINDINGS has it.
RULES = {
    **FINDINGS,
    "pulmonary nodule": replace(
        FINDINGS["pulmonary nodule"],
        odds={
            "solid nodule": 0.45,
            "part-solid nodule": 0.2,
            "ground-glass nodule": 0.3,
            "calcified nodule": 0.05,
        },
    ),
}
THICK_SLICES = (1.2, 3.5)  # factors: 2 to 5 mm at 1.5 mm
MAP = DeformSettings(
    scale=(0.8, 1.25), rotation_degrees=(15.0, 15.0, 15.0), elastic_mm=5.0, period_mm=40.0
)
JITTER = 24  # voxels
AERATED_HU = -500.0
AERATION_HU = (-60.0, 110.0)  # from deep inspiration to expiration and dependent lung


class CropDataset(WindowDataset):
    """As :class:`WindowDataset`, for cases that were cropped to the organ of a stage.

    A case's ``insert`` says which labels are that organ. Arguments as there.
    """

    @cached_property
    def _boxes(self) -> dict[str, NDArray[np.float64]]:
        """First and last voxel [3, 2] of the organ, by case; filled as cases are drawn."""
        return {}

    def __getitem__(self, index: int) -> Sample:
        rng = self.generator(index)
        case = self.choose_case(rng)
        labels, image = self._load(case.name)
        assert image is not None
        organ = sorted({i for ids in case.insert.values() for i in ids})
        shape = self.configuration.patch_size
        centre = self._centre(rng, case, labels, organ)
        coordinates = random_map(rng, shape, centre, MAP, self.voxel_mm)
        moved = sample(labels, coordinates, "nearest", 0.0).round().to(torch.uint8)
        hu = remap(rng, sample(image, coordinates, "bilinear", -1024.0))
        hu = hu + self._aeration(rng, hu)
        made = insert_findings(
            rng,
            case,
            hu,
            moved,
            self.set.spacing_mm,
            FINDING_PROBABILITY,
            RULES,
            EDGE_PROBABILITY,
        )
        hu = acquire(rng, hu, THICK_SLICES).clamp_(-1024, 3071)
        x = normalise(hu[None], self.configuration.intensity)
        position = torch.from_numpy(self._position(case, labels, organ, coordinates))
        ignore = torch.isin(moved, torch.tensor(case.unknown, dtype=torch.uint8))
        return self.sample(rng, case.name, made.targets, x, moved, position, ignore)

    @staticmethod
    def _centre(
        rng: torch.Generator, case: TrainingCase, labels: Tensor, organ: list[int]
    ) -> Tensor:
        """Source voxel of the window's centre: near a drawn finding, or anywhere in the organ."""
        drawn = sorted({i for name in case.insert for i in case.targets[name]})
        wanted = drawn if drawn and chance(rng, 0.3) else organ
        voxels = torch.nonzero(torch.isin(labels, torch.tensor(wanted, dtype=labels.dtype)))
        voxel = voxels[int(torch.randint(0, len(voxels), (), generator=rng))]
        return voxel + torch.tensor([uniform(rng, -JITTER, JITTER) for _ in range(3)])

    @staticmethod
    def _aeration(rng: torch.Generator, hu: Tensor) -> Tensor:
        """Lung that is filled more or less, and unevenly; vessels and walls keep their density."""
        air = ((AERATED_HU - hu) / 150).clamp(0, 1)
        shift = uniform(rng, *AERATION_HU)
        uneven = smooth_noise(rng, tuple(hu.shape), 32.0) * uniform(rng, 0, 30)
        return air * (shift + uneven)

    def _position(
        self, case: TrainingCase, labels: Tensor, organ: list[int], coordinates: Tensor
    ) -> NDArray[np.float32]:
        """Where the window's ends come from, relative to the organ's box."""
        if case.name not in self._boxes:
            inside = torch.isin(labels, torch.tensor(organ, dtype=labels.dtype)).numpy()
            ends = [
                np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))[[0, -1]]
                for axis in range(3)
            ]
            self._boxes[case.name] = np.array(ends, dtype=np.float64)
        middle = [n // 2 for n in coordinates.shape[:3]]
        window = []
        for axis in range(3):
            first, last = list(middle), list(middle)
            first[axis], last[axis] = 0, -1
            window.append([float(coordinates[tuple(i)][axis]) for i in (first, last)])
        return body_position(self._boxes[case.name], np.array(window))
