"""From an atlas' tissue labels to an MR scan: signal by tissue, texture, and what a scanner adds.

Contrast is drawn per tissue class, so that both kidneys look alike, and a little per structure;
see `textseg3d.synthesis.relaxation`. Shapes inside labels are drawn as for CT
(`textseg3d.synthesis.render`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from textseg3d.synthesis.noise import blur, chance, smooth_noise, tubes, uniform
from textseg3d.synthesis.relaxation import tissue_signals
from textseg3d.synthesis.render import Tissues, member
from textseg3d.synthesis.scanner import average_slices

# Texture amplitude, as a share of the tissue's signal.
SPREAD = {"muscle": 0.08, "fat": 0.1, "bone": 0.18, "bowel": 0.2, "disc": 0.15, "lung": 0.3}
USUAL_SPREAD = 0.06
STRUCTURE_SPREAD = 0.04
CORTEX_MM = (0.5, 3.0)
SLICE_MM = (3.0, 10.0)
BODY_MEAN = (80.0, 1500.0)  # of the stored values; the scale of MR is arbitrary
AXIS_ODDS = torch.tensor([0.7, 0.2, 0.1])  # axial, coronal, sagittal


def render_mr(
    rng: torch.Generator, labels: Tensor, tissues: Tissues, voxel_mm: float = 3.0
) -> Tensor:
    """A noise-free MR scan [D, H, W] of atlas labels [D, H, W] (0 is outside air).

    The body's brightest tissue has about magnitude 1; signs are those of
    :func:`~textseg3d.synthesis.relaxation.tissue_signals`. The first numbers that are drawn are
    the contrast.

    Args:
        rng: random numbers.
        labels: integer ids < 256.
        tissues: what the ids are made of.
        voxel_mm: side of a voxel.
    """
    signals = tissue_signals(rng)
    mean, spread = torch.full((256,), signals["air"]), torch.zeros(256)
    for label, tissue in tissues.tissue.items():
        key = "vein" if tissue == "blood" and label in tissues.veins else tissue
        mean[label] = signals[key]
        if tissue != "air":
            own = float(torch.randn((), generator=rng)) * STRUCTURE_SPREAD
            mean[label] *= 1 + max(-0.12, min(0.12, own))
            spread[label] = mean[label].abs() * SPREAD.get(tissue, USUAL_SPREAD)
    index = labels.long()
    image = mean[index]
    image += spread[index] * smooth_noise(rng, tuple(labels.shape), 15.0 / voxel_mm)
    _cortex(rng, image, labels, tissues, signals["cortical bone"], voxel_mm)
    _fill_bowel(rng, image, labels, tissues, signals, voxel_mm)
    _add_vessels(rng, image, labels, tissues, signals, voxel_mm)
    return image


def acquire_mr(rng: torch.Generator, image: Tensor, voxel_mm: float = 3.0) -> Tensor:
    """What the scanner adds: blur, thick slices, coil shading, Rician noise, a scale of its own.

    Args:
        rng: random numbers.
        image: signed signal [D, H, W].
        voxel_mm: side of a voxel.

    Returns:
        Magnitudes [D, H, W].
    """
    shape = tuple(image.shape)
    sigma = uniform(rng, 0, 0.7)
    image = blur(image, (sigma, sigma, sigma))
    thickness = uniform(rng, *SLICE_MM) / voxel_mm
    if thickness > 1.15 and chance(rng, 0.7):
        axis = int(torch.multinomial(AXIS_ODDS, 1, generator=rng))
        image = average_slices(image, max(4, round(shape[axis] / thickness)), axis)
    body = image.abs()
    inside = body > 0.03
    mean = float(body[inside].mean()) if bool(inside.any()) else 1.0
    shading = smooth_noise(rng, shape, uniform(rng, 150, 400) / voxel_mm)
    image = image * torch.exp(shading * uniform(rng, 0, 0.4))
    level = uniform(rng, 0.003, 0.08) if chance(rng, 0.85) else uniform(rng, 0.08, 0.2)
    image = add_rician(rng, image, level * mean)
    if chance(rng, 0.25):  # reconstructions that leave nothing of the air
        image = image * (body > 0.02)
    return image * (math.exp(uniform(rng, *map(math.log, BODY_MEAN))) / mean)


def add_rician(rng: torch.Generator, image: Tensor, level: float) -> Tensor:
    """Magnitude of a signal with noise of standard deviation ``level`` in both channels.

    Gudbjartsson and Patz, Magnetic Resonance in Medicine 34, 1995.
    """
    real = torch.randn(image.shape, generator=rng).mul_(level).add_(image)
    other = torch.randn(image.shape, generator=rng).mul_(level)
    return torch.hypot(real, other)


def _inner(mask: Tensor, share: float) -> Tensor:
    """Voxels whose surroundings of 3×3×3 lie in the mask to at least this share."""
    return nn.functional.avg_pool3d(mask.float()[None, None], 3, 1, 1)[0, 0] > share


def _cortex(
    rng: torch.Generator,
    image: Tensor,
    labels: Tensor,
    tissues: Tissues,
    dark: float,
    voxel_mm: float,
) -> None:
    """Bones are marrow; their outermost voxels are cortex as far as it reaches into them."""
    bone = member(labels, tissues.ids("bone"))
    rim = bone & ~_inner(bone, 0.95)
    share = min(1.0, uniform(rng, *CORTEX_MM) / voxel_mm)
    image[rim] += share * (dark - image[rim])


def _fill_bowel(
    rng: torch.Generator,
    image: Tensor,
    labels: Tensor,
    tissues: Tissues,
    signals: dict[str, float],
    voxel_mm: float,
) -> None:
    """Lumen of stomach and bowel: fluid, food, and gas, which has no signal."""
    inner = _inner(member(labels, tissues.ids("bowel")), 0.9)
    shape = tuple(labels.shape)
    pockets = smooth_noise(rng, shape, uniform(rng, 18, 48) / voxel_mm)
    content = signals["fluid"] if chance(rng, 0.5) else signals["bowel"] * uniform(rng, 0.3, 1.3)
    image[inner] = content * uniform(rng, 0.6, 1.0) + 0.3 * (image[inner] - signals["bowel"])
    food = inner & (pockets < -0.4)
    mix = uniform(rng, 0.2, 0.9) * abs(signals["fat"]) + 0.2 * abs(signals["bowel"])
    image[food] = (mix * (1 + 0.3 * smooth_noise(rng, shape, 8.0 / voxel_mm)))[food]
    image[inner & (pockets > uniform(rng, 0.3, 1.4))] = signals["air"]


def _add_vessels(
    rng: torch.Generator,
    image: Tensor,
    labels: Tensor,
    tissues: Tissues,
    signals: dict[str, float],
    voxel_mm: float,
) -> None:
    """Vessels in lungs, fat and liver, and fat in muscle."""
    shape = tuple(labels.shape)
    blood, vein = signals["blood"], signals["vein"]
    lung = member(labels, tissues.ids("lung"))
    image[lung & tubes(rng, shape, uniform(rng, 21, 33) / voxel_mm, 0.12)] = 0.6 * blood
    fat = member(labels, tissues.ids("fat"))
    image[fat & tubes(rng, shape, 18 / voxel_mm, uniform(rng, 0.05, 0.2))] = vein
    if chance(rng, 0.6):
        liver = member(labels, tissues.ids("liver"))
        image[liver & tubes(rng, shape, uniform(rng, 24, 36) / voxel_mm, 0.12)] = vein
    muscle = member(labels, tissues.ids("muscle"))
    streaks = smooth_noise(rng, shape, 10.5 / voxel_mm) > uniform(rng, 1.0, 2.0)
    image[muscle & streaks] = (signals["fat"] + signals["muscle"]) / 2
