"""Samples of a dataset that `textseg3d preprocess` brought to the network's grid.

A window is read from the compressed store on its own; scans need not fit into memory. Most
windows are drawn around a finding: first what (every target alike), then a case that has it,
then one of its components (every one alike), so that small and rare ones are seen as often as
large ones. A target of a case is there, or was looked for and is not; what ``cases.json`` does not
list as looked for is unknown there, and never asked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textseg3d.errors import InputError
from textseg3d.plans.schema import Configuration, Plans
from textseg3d.preprocessing.body import body_position
from textseg3d.preprocessing.intensity import normalise, zscore, zscore_statistics
from textseg3d.preprocessing.store import CaseRecord, CaseStore
from textseg3d.synthesis.deform import sample
from textseg3d.synthesis.noise import chance
from textseg3d.training.augment import change_intensities, random_matrix, source_coordinates
from textseg3d.training.configure import scan_units
from textseg3d.training.source import Sample, WindowSource
from textseg3d.training.targets import DatasetTargets

UNSTATED = 0.2  # share of windows whose prompts go without the modality
AROUND_TARGET = 0.65  # share of windows that are drawn around a finding
COMPONENTS, VOXELS = 64, 16  # kept per finding, to centre windows on
PRESENT_VOXELS = 5


@dataclass(frozen=True)
class _Facts:
    """What is known of a case after one look at all of it.

    Attributes:
        box: what positions are relative to, [3, 2]: the body, or the whole scan.
        statistics: per channel of scheme "zscore", see :func:`zscore_statistics`; else None.
        lowest: per channel, in scan units.
        unit: per channel (centre, half-width) that make values of the order of one.
        places: target → voxels [N, 3] to centre windows on.
    """

    box: NDArray[np.float64]
    statistics: list[tuple[float, float, float, float] | None]
    lowest: list[float]
    unit: list[tuple[float, float]]
    places: dict[str, NDArray[np.int64]]


class StoreDataset(WindowSource):
    """Windows of preprocessed cases; item ``i`` is a function of (seed, i) alone.

    Args:
        store: of the configuration that ``plans`` name ``name``.
        cases: to draw from.
        plans: that the store was made with.
        name: of the configuration.
        configuration: of the prompted network, see :func:`prompted_configuration`.
        targets: see :func:`dataset_targets`.
        seed, prompts, fine_crop: see :class:`WindowSource`.
        augment: False gives the scans as they are (validation).

    Raises:
        InputError: if a case is not in the store, or no case was searched for anything.
    """

    present_voxels = PRESENT_VOXELS

    def __init__(
        self,
        store: CaseStore,
        cases: Sequence[str],
        plans: Plans,
        name: str,
        configuration: Configuration,
        targets: DatasetTargets,
        *,
        seed: int = 0,
        prompts: int = 10,
        fine_crop: int = 64,
        augment: bool = True,
    ) -> None:
        super().__init__(targets.entries, configuration, seed, prompts, fine_crop)
        self.store, self.augment = store, augment
        self.values, self.ignore, self._labels = targets.values, targets.ignore, targets.labels
        self.order = plans.transpose_backward
        statistics = plans.foreground_intensity_properties_per_channel or {}
        schemes = plans.configuration(name).normalization_schemes or ()
        self.units = scan_units(schemes, statistics)
        self.records: dict[str, CaseRecord] = {}
        self.known: dict[str, dict[str, tuple[int, ...]]] = {}
        self.incomplete: dict[str, frozenset[str]] = {}
        self.modalities = {case: targets.modality(case) for case in cases}
        for case in cases:
            record = store.record(case)
            if record is None:
                raise InputError(
                    f"{store.folder} has no case {case}; run `textseg3d preprocess` first"
                )
            self.records[case] = record
            self.known[case], self.incomplete[case] = targets.known(case), targets.incomplete(case)
        self.cases = tuple(case for case in cases if self._says_something(case))
        if not self.cases:
            raise InputError(
                f"cases.json: none of the {len(cases)} cases was searched for any label"
            )
        self.having = {n: [c for c in self.cases if self._has(c, n)] for n in self.index}
        self.describe = f"{len(self.targets)} targets, {len(self.cases)} cases"
        self._facts: dict[str, _Facts] = {}

    def __getitem__(self, index: int) -> Sample:
        rng = self.generator(index)
        findings = [name for name, cases in self.having.items() if cases]
        name = None
        if findings and chance(rng, AROUND_TARGET):
            name = findings[int(torch.randint(0, len(findings), (), generator=rng))]
        cases: Sequence[str] = self.cases if name is None else self.having[name]
        case = cases[int(torch.randint(0, len(cases), (), generator=rng))]
        facts = self.facts(case)
        image, labels = self._arrays(case)
        start = self._start(rng, labels.shape, None if name is None else facts.places[name])
        x, truth, ends = self._window(rng, image, labels, start, facts)
        x = self._normal(rng, x, facts)
        position = torch.from_numpy(body_position(facts.box, ends))
        ignore = None if self.ignore is None else truth == self.ignore
        truth = truth.clamp_min(0)
        there = name is not None and bool(torch.isin(truth, torch.tensor(self.values[name])).any())
        drawn = self.sample(
            rng, case, self.known[case], x, truth, position, ignore, name if there else None,
            self.incomplete[case],
        )  # fmt: skip
        return dataclasses.replace(drawn, modality=self._modality(rng, case))

    def _modality(self, rng: torch.Generator, case: str) -> str | None:
        """For the modality token: sometimes none while training, for scans of unknown kind."""
        if not self.configuration.text.modality_token:
            return None
        return None if self.augment and chance(rng, UNSTATED) else self.modalities[case]

    def facts(self, case: str) -> _Facts:
        """Box, intensities and findings of a case; the whole of it is read once."""
        if case not in self._facts:
            image, labels = self._arrays(case)
            self._facts[case] = self._look(case, image[:], labels[:])
        return self._facts[case]

    def _look(self, case: str, image: Any, labels: Any) -> _Facts:
        record, schemes = self.records[case], self.configuration.intensity
        ratio = np.array(record.original_spacing_mm) / np.array(record.spacing_mm)
        first = -np.array([side[0] for side in record.box]) * ratio
        whole = np.stack([first, first + np.array(record.original_shape) * ratio - 1], axis=1)
        whole = whole[list(self.order)]
        outside = max(1.0, float(np.prod(whole[:, 1] - whole[:, 0] + 1))) - labels.size
        statistics: list[tuple[float, float, float, float] | None] = []
        lowest, unit = [], []
        for values, scheme, (scale, shift) in zip(image, schemes, self.units, strict=True):
            channel = torch.from_numpy(np.ascontiguousarray(values)) * scale + shift
            low = float(channel.min())
            lowest.append(low)
            if scheme.scheme == "zscore":
                # Preprocessing cropped the scan to where it is not zero; prediction does not.
                total, count = float(channel.double().sum()), channel.numel()
                more = max(0.0, outside)
                mean = (total + more * low) / (count + more)
                found = zscore_statistics(channel, scheme.percentiles, mean)
                statistics.append(found)
                unit.append((found[2], found[3]))
            else:
                narrow = min(scheme.windows, key=lambda w: w[1] - w[0])
                statistics.append(None)
                unit.append(((narrow[0] + narrow[1]) / 2, (narrow[1] - narrow[0]) / 2))
        box = whole
        if schemes[0].scheme == "windows":
            if record.body is None:
                raise InputError(
                    f"{self.store.folder}: the record of {case} has no body box; preprocess again"
                )
            box = np.array(record.body)[list(self.order)]
        return _Facts(box, statistics, lowest, unit, self._places(case, labels))

    def _places(self, case: str, labels: Any) -> dict[str, NDArray[np.int64]]:
        import cc3d

        places = {}
        rng = np.random.default_rng(0)
        for name, values in self.values.items():
            if not self._has(case, name):
                continue
            mask = np.isin(labels, values)
            voxels = np.argwhere(mask)
            if not len(voxels):
                continue
            low, high = voxels.min(axis=0), voxels.max(axis=0) + 1
            box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            parts = cc3d.connected_components(np.ascontiguousarray(mask[box]), connectivity=26)
            number = parts[tuple((voxels - low).T)]
            chosen = []
            for part in np.unique(number)[:COMPONENTS]:
                own = voxels[number == part]
                chosen.append(own[rng.integers(0, len(own), VOXELS)])
            places[name] = np.concatenate(chosen)
        return places

    def _has(self, case: str, name: str) -> bool:
        drawn = self.records[case].foreground_voxels.get(self._labels[name], 0) > 0
        return drawn and name in self.known[case]

    def _says_something(self, case: str) -> bool:
        """Whether a target is drawn in a case, or was looked for and is not there."""
        return any(n not in self.incomplete[case] or self._has(case, n) for n in self.known[case])

    def _arrays(self, case: str) -> tuple[Any, Any]:
        """Image [C, D, H, W] and labels [D, H, W] in (z, y, x) order."""
        order = self.order
        image, labels = self.store.image(case), self.store.labels(case)
        if order == (0, 1, 2):
            return image, labels
        return image[:].transpose(0, *(1 + axis for axis in order)), labels[:].transpose(order)

    def _start(
        self, rng: torch.Generator, shape: Sequence[int], places: NDArray[np.int64] | None
    ) -> tuple[int, int, int]:
        """First voxel of a window, negative where it reaches beyond the scan."""
        size = self.configuration.patch_size
        low = [min(0, n - p) for n, p in zip(shape, size, strict=True)]
        high = [max(0, n - p) for n, p in zip(shape, size, strict=True)]
        start = [
            int(torch.randint(a, b + 1, (), generator=rng)) for a, b in zip(low, high, strict=True)
        ]
        if places is not None:
            voxel = places[int(torch.randint(0, len(places), (), generator=rng))]
            for axis, n in enumerate(size):
                shift = int(torch.randint(-(n // 3), n // 3 + 1, (), generator=rng))
                wanted = int(voxel[axis]) - n // 2 + shift
                start[axis] = min(max(wanted, low[axis]), high[axis])
        z, y, x = start
        return z, y, x

    def _window(
        self, rng: torch.Generator, image: Any, labels: Any, start: Sequence[int], facts: _Facts
    ) -> tuple[Tensor, Tensor, NDArray[np.float64]]:
        """Window in scan units, its labels, and the source coordinates of its ends [3, 2]."""
        size = self.configuration.patch_size
        spacing = self.configuration.spacing
        matrix = random_matrix(rng, spacing) if self.augment else None
        first = np.asarray(start, dtype=np.float64)
        ends = np.stack([first, first + np.asarray(size) - 1], axis=1)
        if matrix is None:
            low, high = list(start), [s + n for s, n in zip(start, size, strict=True)]
        else:
            centre = ends.mean(axis=1)
            coordinates = source_coordinates(
                rng, size, torch.from_numpy(centre).float(), matrix, spacing
            )
            flat = coordinates.reshape(-1, 3)
            low = [int(v) for v in flat.amin(0).floor()]
            high = [int(v) + 2 for v in flat.amax(0).floor()]
            half = (ends[:, 1] - centre) * np.diag(matrix.numpy())
            ends = np.stack([centre - half, centre + half], axis=1)
        x, truth = self._read(image, labels, low, high, facts)
        if matrix is None:
            return x, truth, ends
        moved = coordinates - torch.tensor(low, dtype=torch.float32)
        x = torch.stack([sample(c, moved, "bilinear", v) for c, v in zip(x, facts.lowest)])
        return x, sample(truth, moved, "nearest", 0.0).round().to(torch.int16), ends

    def _read(
        self, image: Any, labels: Any, low: Sequence[int], high: Sequence[int], facts: _Facts
    ) -> tuple[Tensor, Tensor]:
        """The box from ``low`` to ``high``, padded where the scan ends."""
        inner: list[slice] = []
        target: list[slice] = []
        for a, b, n in zip(low, high, labels.shape, strict=True):
            first = min(max(0, a), n - 1)
            last = max(min(n, b), first + 1)
            inner.append(slice(first, last))
            target.append(slice(max(0, first - a), max(0, first - a) + last - first))
        size = [max(b - a, t.stop) for a, b, t in zip(low, high, target, strict=True)]
        values = np.asarray(image[(slice(None), *inner)])
        x = torch.tensor(facts.lowest)[:, None, None, None].expand(-1, *size).clone()
        for channel, (scale, shift) in enumerate(self.units):
            x[channel][tuple(target)] = torch.from_numpy(values[channel] * scale + shift)
        truth = torch.zeros(size, dtype=torch.int16)
        truth[tuple(target)] = torch.from_numpy(
            np.ascontiguousarray(np.asarray(labels[tuple(inner)]))
        )
        return x, truth

    def _normal(self, rng: torch.Generator, x: Tensor, facts: _Facts) -> Tensor:
        """Network input; intensities are changed before the scheme is applied."""
        if self.augment:
            changed = []
            for values, (centre, half) in zip(x, facts.unit, strict=True):
                standard = change_intensities(rng, (values - centre) / half)
                changed.append(standard * half + centre)
            x = torch.stack(changed)
        channels = []
        for values, scheme, found in zip(
            x, self.configuration.intensity, facts.statistics, strict=True
        ):
            if found is None:
                channels += list(normalise(values[None], (scheme,)))
            else:
                channels.append(zscore(values, found))
        return torch.stack(channels)
