"""From an atlas' tissue labels to a CT: HU by tissue and contrast phase, with texture.

HU ranges are the usual ones of radiology textbooks, widened on purpose: a network that saw
implausible contrasts too is harder to surprise (SynthSeg, Billot et al., Medical Image
Analysis 2023).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from textseg3d.synthesis.noise import chance, smooth_noise, tubes, uniform

PHASES = ("native", "arterial", "portal venous", "delayed")
_PHASE_ODDS = torch.tensor([0.35, 0.2, 0.35, 0.1])
_NATIVE, _ARTERIAL, _PORTAL, _DELAYED = range(4)

# Mean HU range per tissue; a list of four is (native, arterial, portal venous, delayed).
Range = tuple[float, float]
TISSUE_HU: dict[str, Range | list[Range]] = {
    "air": (-1000, -980),
    "lung": (-900, -700),
    "fat": (-120, -80),
    "skin": (-20, 60),
    "muscle": (35, 75),
    "soft": (20, 80),
    "cartilage": (50, 180),
    "disc": (50, 110),
    "cord": (20, 50),
    "csf": (0, 30),
    "airway_wall": (-50, 60),
    "bone": (350, 1100),
    "fluid": (-10, 25),
    "gland": [(20, 50), (40, 90), (40, 90), (30, 70)],
    "thyroid": [(60, 130), (100, 200), (90, 160), (80, 130)],
    "bowel": [(20, 55), (40, 90), (50, 100), (40, 80)],
    "liver": [(40, 70), (50, 85), (80, 135), (70, 110)],
    "spleen": [(38, 60), (90, 160), (95, 140), (70, 110)],
    "pancreas": [(25, 50), (70, 120), (65, 110), (50, 80)],
    "kidney": [(22, 42), (120, 230), (140, 220), (90, 160)],
    "kidney_medulla": [(20, 40), (40, 110), (120, 210), (100, 180)],
    "blood": [(32, 55), (180, 420), (110, 190), (70, 120)],
}
_VEIN: list[Range] = [(32, 55), (45, 150), (110, 190), (70, 120)]
_MARROW: Range = (60, 320)


@dataclass(frozen=True)
class Tissues:
    """What each label id of an atlas is made of.

    Attributes:
        tissue: label id → key of :data:`TISSUE_HU`.
        veins: ids of blood labels that follow the venous phase.
        arms: ids that vanish when the arms are up, out of the field of view.
        lungs, bowel, fat: ids with a texture of their own.
    """

    tissue: dict[int, str]
    veins: frozenset[int]
    arms: frozenset[int]

    def ids(self, tissue: str) -> list[int]:
        """Label ids of one tissue."""
        return [i for i, t in self.tissue.items() if t == tissue]


def render_ct(rng: torch.Generator, labels: Tensor, tissues: Tissues) -> Tensor:
    """A noise-free CT [D, H, W] in HU of atlas labels [D, H, W] (0 is outside air)."""
    phase = int(torch.multinomial(_PHASE_ODDS, 1, generator=rng))
    mean, spread = _label_hu(rng, tissues, phase)
    shape = tuple(labels.shape)
    index = labels.long()
    hu = mean[index]
    hu += spread[index] * smooth_noise(rng, shape, 5.0)
    _shell_bones(rng, hu, labels, tissues)
    _fill_bowel(rng, hu, labels, tissues)
    _add_vessels(rng, hu, labels, tissues, phase)
    if chance(rng, 0.7):
        _add_table(rng, hu, labels)
    return hu


def _label_hu(rng: torch.Generator, tissues: Tissues, phase: int) -> tuple[Tensor, Tensor]:
    """Mean HU and texture amplitude per label id, both [256]."""
    mean = torch.full((256,), -1000.0)
    spread = torch.zeros(256)
    wild = chance(rng, 0.2)
    drawn: dict[str, float] = {}
    for label, tissue in tissues.tissue.items():
        ranges: Range | list[Range] = TISSUE_HU[tissue]
        key = tissue
        if tissue == "blood" and label in tissues.veins:
            ranges, key = _VEIN, "vein"
        low, high = ranges[phase] if isinstance(ranges, list) else ranges
        # One draw per tissue and sample, so that two kidneys look alike; then a small one each.
        if key not in drawn:
            drawn[key] = uniform(rng, low, high)
        mean[label] = drawn[key] + uniform(rng, -6, 6)
        if tissue == "fluid":
            mean[label] = uniform(rng, low, high)
            if phase == _DELAYED and chance(rng, 0.5):
                mean[label] = uniform(rng, 100, 900)
        if wild and tissue not in ("air", "lung", "bone", "fat"):
            mean[label] += uniform(rng, -35, 35)
        spread[label] = {"air": 2.0, "lung": 35.0, "bone": 80.0, "bowel": 15.0}.get(tissue, 7.0)
    if chance(rng, 0.12):  # a fatty liver can fall below the spleen and even below its vessels
        for label in tissues.ids("liver"):
            mean[label] = uniform(rng, -10, 40)
    return mean, spread


def member(labels: Tensor, ids: list[int]) -> Tensor:
    """Where ``labels`` [D, H, W] are one of ``ids``: bool [D, H, W]."""
    table = torch.zeros(256, dtype=torch.bool)
    table[ids] = True
    return table[labels.long()]


def _shell_bones(rng: torch.Generator, hu: Tensor, labels: Tensor, tissues: Tissues) -> None:
    """Cortex outside, marrow inside."""
    bone = member(labels, tissues.ids("bone"))
    inside = nn.functional.avg_pool3d(bone.float()[None, None], 3, 1, 1)[0, 0] > 0.95
    marrow = uniform(rng, *_MARROW)
    hu[inside] = marrow + 0.35 * (hu[inside] - 700.0) * uniform(rng, 0.1, 0.6)


def _fill_bowel(rng: torch.Generator, hu: Tensor, labels: Tensor, tissues: Tissues) -> None:
    """Lumen of stomach and bowel: gas, fluid, oral contrast or stool in random pockets."""
    bowel = member(labels, tissues.ids("bowel"))
    inner = nn.functional.avg_pool3d(bowel.float()[None, None], 3, 1, 1)[0, 0] > 0.9
    shape = tuple(labels.shape)
    pockets = smooth_noise(rng, shape, uniform(rng, 6, 16))
    content = uniform(rng, 200, 450) if chance(rng, 0.25) else uniform(rng, -30, 50)
    hu[inner] = content + 0.3 * hu[inner]
    hu[inner & (pockets > uniform(rng, 0.3, 1.4))] = -950.0
    stool = inner & (pockets < -0.4)
    hu[stool] = (smooth_noise(rng, shape, 2.5) * 60 + uniform(rng, -60, 60))[stool]


def _add_vessels(
    rng: torch.Generator, hu: Tensor, labels: Tensor, tissues: Tissues, phase: int
) -> None:
    """Vessels in lungs and fat, fat streaks in muscle, a dorsal density gradient in lungs."""
    shape = tuple(labels.shape)
    blood = (45.0, 200.0, 140.0, 90.0)[phase]
    lung = member(labels, tissues.ids("lung"))
    ramp = torch.linspace(-1, 1, shape[1])[None, :, None] * uniform(rng, 0, 60)
    hu += ramp * lung
    hu[lung & tubes(rng, shape, uniform(rng, 7, 11), uniform(rng, 0.08, 0.2))] = blood - 30
    hu[lung & tubes(rng, shape, 4.0, 0.12)] -= -350.0
    fat = member(labels, tissues.ids("fat"))
    hu[fat & tubes(rng, shape, 6.0, uniform(rng, 0.05, 0.2))] = blood
    muscle = member(labels, tissues.ids("muscle"))
    hu[muscle & (smooth_noise(rng, shape, 3.5) > uniform(rng, 1.0, 2.0))] = -60.0


def _add_table(rng: torch.Generator, hu: Tensor, labels: Tensor) -> None:
    """A patient table: a thin, slightly curved sheet under the back."""
    rows = torch.nonzero((labels > 0).any(dim=2).any(dim=0))
    if not len(rows):
        return
    _, height, width = labels.shape
    y = int(rows[-1]) + 1 + int(uniform(rng, 0, 4))
    bend = uniform(rng, 0, 8)
    x = torch.arange(width)
    line = (y - bend * ((x - width / 2) / (width / 2)).square()).round().long()
    keep = (line >= 0) & (line < height)
    sheet = hu[:, line[keep], x[keep]]
    free = labels[:, line[keep], x[keep]] == 0
    hu[:, line[keep], x[keep]] = torch.where(free, torch.tensor(uniform(rng, -600, 100)), sheet)
