"""What every source of training samples shares: prompts, masks at all scales, the fine crop.

Sample ``i`` is a function of (seed, i) alone, so a resumed run continues with exactly the
samples that an undisturbed one would have seen, whatever the number of loader processes.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from textseg3d.plans.schema import Configuration
from textseg3d.synthesis.noise import chance
from textseg3d.training.cases import TargetEntry

SEEN_MM = 12.0  # around what was drawn, an incomplete drawing is taken to be complete
PRESENT_VOXELS = 20  # fewer voxels than this in the window: presence is not scored


@dataclass(frozen=True)
class Sample:
    """One window and its prompts.

    Attributes:
        x: network input [C, D, H, W].
        position: float32 [3, 2], see :func:`window_position`.
        prompts: indices into the source's targets [P].
        wordings: index of the phrasing per prompt [P]; 0 is the canonical name.
        presence: float [P]: 1 there, 0 not there, -1 too little to say.
        masks: fraction of each cell that is the target, at strides 2, 4, 8: [P, d, h, w].
        fine_start: corner (z, y, x) of the full-resolution crop, in voxels, even.
        fine_mask: [P, d, h, w] of the crop.
        case: name, for the log.
        known: share of each cell whose truth is known, at strides 1 (of the crop), 2, 4, 8:
            [1 or P, d, h, w]; None where all of it is.
        modality: of the scan, for the modality token; None does without.
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
    known: list[Tensor] | None = None
    modality: str | None = None


class WindowSource(Dataset):  # type: ignore[type-arg]
    """Map-style dataset without end; subclasses give ``__getitem__``.

    Args:
        targets: what prompts may ask for.
        configuration: patch size and intensities.
        seed: of everything random here.
        prompts: prompts per window.
        fine_crop: largest side of the full-resolution crop in voxels (multiple of 2).

    Attributes:
        describe: one line for the log.
    """

    describe = "samples"
    present_voxels = PRESENT_VOXELS

    def __init__(
        self,
        targets: Sequence[TargetEntry],
        configuration: Configuration,
        seed: int,
        prompts: int = 10,
        fine_crop: int = 64,
    ) -> None:
        self.targets, self.configuration = tuple(targets), configuration
        self.seed, self.n_prompts = seed, prompts
        self.fine_crop = tuple(min(fine_crop, n) for n in configuration.patch_size)
        self.index = {t.name: i for i, t in enumerate(self.targets)}

    def __len__(self) -> int:
        return 1 << 40

    def generator(self, index: int) -> torch.Generator:
        """The random numbers of one sample."""
        return torch.Generator().manual_seed(self.seed * 1_000_003 + index)

    def sample(
        self,
        rng: torch.Generator,
        case: str,
        known: Mapping[str, Sequence[int]],
        x: Tensor,
        labels: Tensor,
        position: Tensor,
        ignore: Tensor | None = None,
        first: str | None = None,
        incomplete: Container[str] = (),
    ) -> Sample:
        """Draw prompts for a window and make their masks.

        An incomplete target is not asked where nothing of it is drawn, unless there is nothing
        else to ask; elsewhere only the surroundings of what is drawn count.

        Args:
            rng: of this sample.
            case: name, for the log.
            known: target → label ids, for the targets whose truth the case has.
            x: network input [C, D, H, W].
            labels: integer ids below 256, [D, H, W].
            position: [3, 2], see :func:`textseg3d.preprocessing.window_position`.
            ignore: bool [D, H, W], voxels whose truth is not known.
            first: a target that is asked in any case.
            incomplete: targets that may have more voxels than those drawn.
        """
        prompts, wordings, table = self._draw_prompts(
            rng, self._askable(known, labels, incomplete), labels, first
        )
        masks = table[:, labels.long()].float()
        start = self._fine_start(rng, masks)
        crop = tuple(slice(s, s + n) for s, n in zip(start, self.fine_crop, strict=True))
        fine = masks[(slice(None), *crop)].to(torch.uint8)
        voxels = masks.flatten(1).sum(1)
        enough = voxels >= self.present_voxels
        presence = torch.where(enough, 1.0, torch.where(voxels > 0, -1.0, 0.0))
        partly = torch.tensor([self.targets[int(p)].name in incomplete for p in prompts])
        presence[partly & (presence == 0)] = -1.0
        sure = self._sure(masks, partly, ignore)
        unsure = None
        if sure is not None:
            unsure = [sure[(slice(None), *crop)], *_pyramid(sure)]
        halves = [p.to(torch.float16) for p in _pyramid(masks)]
        return Sample(
            x.to(torch.bfloat16),
            position,
            prompts,
            wordings,
            presence,
            halves,
            start,
            fine,
            case,
            unsure,
        )

    @staticmethod
    def _askable(
        known: Mapping[str, Sequence[int]], labels: Tensor, incomplete: Container[str]
    ) -> Mapping[str, Sequence[int]]:
        """Targets without those of which the window can say nothing."""
        unsaid = [name for name in known if name in incomplete]
        if not unsaid:
            return known
        found = set(labels.unique().tolist())
        kept = {n: v for n, v in known.items() if n not in incomplete or found & set(v)}
        return kept or known

    def _sure(self, masks: Tensor, partly: Tensor, ignore: Tensor | None) -> Tensor | None:
        """Voxels whose truth is known, float [1 or P, D, H, W]; None if all are."""
        sure = None
        if ignore is not None and bool(ignore.any()):
            sure = (~ignore).float()[None]
        if bool(partly.any()):
            sure = torch.ones_like(masks) if sure is None else sure.repeat(len(masks), 1, 1, 1)
            sure[partly] *= _widened(masks[partly], self.configuration.spacing)
        return sure

    def _draw_prompts(
        self,
        rng: torch.Generator,
        known: Mapping[str, Sequence[int]],
        labels: Tensor,
        first: str | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Target indices, wording indices, and a bool table [P, 256] of their label ids.

        About 60 % are there; a sided one brings its other side along half of the time, as the
        hardest negative; the rest are targets known to be absent from the window.
        """
        counts = torch.bincount(labels.flatten().long(), minlength=256)
        names = list(known)
        there = torch.tensor([float(counts[list(known[n])].sum()) > 0 for n in names])
        weight = torch.tensor([self.targets[self.index[n]].weight for n in names])
        chosen: list[str] = [] if first is None else [first]
        positives = self._choose(rng, names, weight * there, round(0.6 * self.n_prompts))
        for name in positives:
            chosen.append(name)
            opposite = self.targets[self.index[name]].opposite
            if opposite in known and chance(rng, 0.5):
                chosen.append(str(opposite))
        absent = self._choose(rng, names, weight * ~there, max(2, self.n_prompts - len(chosen)))
        rest = self._choose(rng, names, weight, self.n_prompts)
        chosen = list(dict.fromkeys([*chosen, *absent, *rest]))[: self.n_prompts]
        table = torch.zeros((len(chosen), 256), dtype=torch.bool)
        wordings = []
        for row, name in enumerate(chosen):
            table[row, list(known[name])] = True
            n = len(self.targets[self.index[name]].wordings)
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
        size = self.configuration.patch_size
        limits = [n - f for n, f in zip(size, self.fine_crop, strict=True)]
        filled = torch.nonzero(masks.flatten(1).any(1))[:, 0]
        corner = [int(torch.randint(0, m + 1, (), generator=rng)) for m in limits]
        if len(filled) and chance(rng, 0.8):
            row = int(filled[int(torch.randint(0, len(filled), (), generator=rng))])
            voxels = torch.nonzero(masks[row])
            voxel = voxels[int(torch.randint(0, len(voxels), (), generator=rng))]
            jitter = torch.randint(-12, 13, (3,), generator=rng)
            corner = [
                min(max(0, int(v + j) - f // 2), m)
                for v, j, f, m in zip(voxel, jitter, self.fine_crop, limits, strict=True)
            ]
        z, y, x = (c // 2 * 2 for c in corner)
        return z, y, x


def _widened(masks: Tensor, spacing_mm: Sequence[float]) -> Tensor:
    """Masks [P, D, H, W] and what is within 12 mm of them along the axes: a box, not a ball."""
    for axis, step in enumerate(spacing_mm):
        reach = [0, 0, 0]
        reach[axis] = max(1, round(SEEN_MM / step))
        size = [2 * n + 1 for n in reach]
        masks = nn.functional.max_pool3d(masks, size, stride=1, padding=reach)
    return masks


def _pyramid(masks: Tensor) -> list[Tensor]:
    """Means over cells of 2, 4 and 8 voxels of [P, D, H, W]."""
    levels = [nn.functional.avg_pool3d(masks, 2)]
    for _ in range(2):
        levels.append(nn.functional.avg_pool3d(levels[-1], 2))
    return levels
