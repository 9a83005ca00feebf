"""MR rendering: contrasts as physics and textbooks have them, noise by formula, sides kept."""

from __future__ import annotations

import math

import pytest
import torch

from tests.synthesis.test_synthesis import phantom, rng
from textseg3d.synthesis.magnetic import acquire_mr, add_rician, render_mr
from textseg3d.synthesis.relaxation import (
    TISSUE_RELAXATION,
    Relaxation,
    Sequence,
    signal,
    tissue_signals,
)
from textseg3d.synthesis.render import TISSUE_HU, Tissues

NAMES = {1: "muscle", 2: "lung", 3: "bone", 4: "liver", 5: "fat", 6: "spleen", 7: "liver"}
TISSUES = Tissues(NAMES, frozenset(), frozenset())


def body() -> torch.Tensor:
    """The phantom of the CT tests, with a spleen and a second piece of liver."""
    labels = phantom()
    labels[:, 22:29, 11:18] = 6
    labels[:, 22:29, 30:37] = 7
    return labels


def test_every_tissue_of_ct_has_a_signal() -> None:
    assert set(TISSUE_HU) | {"vein", "cortical bone"} == set(tissue_signals(rng()))


@pytest.mark.parametrize(
    ("sequence", "order"),
    [
        (Sequence("spin echo", tr=500, te=12), ("fat", "liver", "spleen", "csf")),
        (Sequence("spin echo", tr=5000, te=100), ("csf", "spleen", "liver")),
        (Sequence("gradient echo", tr=120, te=2, flip_degrees=75), ("fat", "liver", "fluid")),
        (Sequence("steady state", te=2, flip_degrees=60), ("fluid", "fat", "muscle")),
    ],
)
def test_tissues_are_in_the_order_that_a_radiologist_expects(
    sequence: Sequence, order: tuple[str, ...]
) -> None:
    values = [signal(TISSUE_RELAXATION[name], sequence) for name in order]
    assert values == sorted(values, reverse=True)


def test_signal_equations() -> None:
    """By hand: a 90° pulse leaves a spin echo without T2; inversion is null at T1 ln 2."""
    tissue = Relaxation(1000.0, 1e9, 1.0)
    assert signal(tissue, Sequence("spin echo", tr=1000)) == pytest.approx(1 - math.exp(-1))
    echo = signal(tissue, Sequence("gradient echo", tr=1000, flip_degrees=90))
    assert echo == pytest.approx(1 - math.exp(-1))
    null = Sequence("inversion", tr=1e6, ti=1000 * math.log(2))
    assert signal(tissue, null) == pytest.approx(0, abs=1e-9)
    assert signal(tissue, Sequence("inversion", tr=1e6, ti=300)) < 0
    ten = signal(Relaxation(1000.0, 50.0, 1.0), Sequence("spin echo", tr=1e6, te=50))
    assert ten == pytest.approx(math.exp(-1))


def test_contrasts_differ_and_fat_is_not_always_the_brightest() -> None:
    drawn = [tissue_signals(rng(seed)) for seed in range(60)]
    assert all(max(abs(v) for v in d.values()) == pytest.approx(1) for d in drawn)
    assert all(abs(d["air"]) <= 0.01 for d in drawn)
    above = sum(d["liver"] > d["spleen"] for d in drawn)
    assert 12 < above < 48
    bright = sum(abs(d["fat"]) > abs(d["muscle"]) for d in drawn)
    assert 20 < bright < 58


def test_tissue_medians_follow_the_drawn_contrast_and_organs_are_coherent() -> None:
    for seed in range(10):
        signals, image = tissue_signals(rng(seed)), render_mr(rng(seed), body(), TISSUES)
        for label, tissue in NAMES.items():
            if tissue in ("muscle", "fat", "lung", "bone"):  # streaks, vessels and cortex in them
                continue
            median = float(image[body() == label].median())
            assert abs(median - signals[tissue]) <= 0.2 * abs(signals[tissue]) + 0.01
        assert image[body() == 0].abs().max() <= 0.01


def test_the_same_seed_gives_the_same_scan_and_labels_stay() -> None:
    labels = body()
    before = labels.clone()
    a, b, c = (acquire_mr(g, render_mr(g, labels, TISSUES)) for g in (rng(3), rng(3), rng(4)))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(labels, before)


def test_left_stays_left() -> None:
    """A body with a bright block on one side alone: the image's excess lies there, always."""
    labels = torch.zeros((20, 30, 40), dtype=torch.uint8)
    labels[2:18, 4:26, 4:36] = 1
    labels[4:16, 8:22, 24:34] = 6
    for seed in range(8):
        contrast = tissue_signals(rng(seed))
        g = rng(seed)
        image = acquire_mr(g, render_mr(g, labels, TISSUES))
        left = float(image[4:16, 8:22, 24:34].median())
        right = float(image[4:16, 8:22, 6:16].median())
        difference = abs(contrast["spleen"]) - abs(contrast["muscle"])
        if abs(difference) > 0.3:
            assert (left > right) == (difference > 0)


def test_noise_in_air_has_the_mean_of_rayleigh_and_in_tissue_that_of_rice() -> None:
    shape = (40, 40, 40)
    air = add_rician(rng(1), torch.zeros(shape), 2.0)
    assert float(air.mean()) == pytest.approx(2 * math.sqrt(math.pi / 2), rel=0.01)
    assert float(air.min()) >= 0
    bright = add_rician(rng(2), torch.full(shape, -20.0), 2.0)
    assert float(bright.mean()) == pytest.approx(20 + 2**2 / (2 * 20), rel=0.01)
    assert float(bright.std()) == pytest.approx(2, rel=0.02)


def test_acquired_air_is_dark_and_the_scale_is_arbitrary() -> None:
    means = []
    for seed in range(8):
        g = rng(seed)
        image = acquire_mr(g, render_mr(g, body(), TISSUES))
        assert torch.isfinite(image).all()
        assert float(image.min()) >= 0
        inside, air = image[body() > 0], image[:, :3]
        assert float(air.mean()) < 0.5 * float(inside.mean())
        means.append(float(inside.mean()))
    assert max(means) > 3 * min(means)


def test_thick_voxels_mix_cortex_and_marrow() -> None:
    """Cortex is a few mm: at 3 mm it darkens the rim of a bone, at 12 mm hardly."""
    labels = torch.zeros((16, 24, 24), dtype=torch.uint8)
    labels[:, 2:22, 2:22] = 3
    rims = []
    for voxel_mm in (1.0, 12.0):
        ratio = []
        for seed in range(6):
            image = render_mr(rng(seed), labels, TISSUES, voxel_mm).abs()
            ratio.append(float(image[:, 2, 6:18].median() / image[:, 10:14, 10:14].median()))
        rims.append(sum(ratio) / len(ratio))
    assert rims[0] < rims[1]
