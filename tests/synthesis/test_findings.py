"""Inserted findings against what was asked: size, place, density, and nothing else changed."""

from __future__ import annotations

import math

import pytest
import torch

from textseg3d.synthesis.findings import FINDINGS, draw_centre, insert

SPACING = (1.0, 1.0, 1.0)


def lung(side: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    hu = torch.full((side, side, side), -850.0)
    organ = torch.ones((side, side, side), dtype=torch.bool)
    return hu, organ


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("diameter", [6.0, 12.0, 24.0])
def test_the_volume_is_that_of_the_sphere(diameter: float) -> None:
    volumes = []
    for seed in range(12):
        hu, organ = lung()
        found = insert(rng(seed), hu, organ, SPACING, "solid nodule", diameter, (30, 30, 30))
        assert found is not None
        volumes.append(int(found.mask.sum()))
    assert sum(volumes) / 12 == pytest.approx(math.pi / 6 * diameter**3, rel=0.12)


def test_the_same_nodule_on_a_grid_with_other_spacing() -> None:
    hu, organ = lung()
    found = insert(rng(), hu, organ, (3.0, 1.0, 1.5), "solid nodule", 20.0, (30, 30, 30))
    assert found is not None
    z, y, x = (torch.nonzero(found.mask.amax(dims)).numel() for dims in ((1, 2), (0, 2), (0, 1)))
    for voxels, spacing in ((z, 3.0), (y, 1.0), (x, 1.5)):
        assert voxels * spacing == pytest.approx(20.0, rel=0.45)
    assert int(found.mask.sum()) * 4.5 == pytest.approx(math.pi / 6 * 20**3, rel=0.35)


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ("solid nodule", -60, 150),
        ("ground-glass nodule", -750, -250),
        ("calcified nodule", 150, 760),
    ],
)
def test_density_inside_and_nothing_outside(kind: str, low: float, high: float) -> None:
    hu, organ = lung()
    before = hu.clone()
    found = insert(rng(3), hu, organ, SPACING, kind, 16.0, (30, 30, 30))  # type: ignore[arg-type]
    assert found is not None
    assert low < float(hu[found.box][found.mask].median()) < high
    outside = torch.ones_like(organ)
    outside[found.box] = False
    assert torch.equal(hu[outside], before[outside])
    edge = (hu > before[0, 0, 0] + 1) & ~_embedded(found, hu.shape)
    assert 0 < int(edge.sum()) < 3 * int(found.mask.sum())  # the border is blended, and thin


def test_a_lesion_is_relative_to_its_organ_and_stays_in_it() -> None:
    hu = torch.full((50, 50, 50), 40.0)
    organ = torch.zeros_like(hu, dtype=torch.bool)
    organ[:, :, :25] = True
    hu[organ] = 110.0
    before = hu.clone()
    found = insert(rng(1), hu, organ, SPACING, "hypodense lesion", 18.0, (25, 25, 20))
    assert found is not None
    assert 30 <= float(hu[found.box][found.mask].median()) <= 95
    assert torch.equal(hu[~organ], before[~organ])
    assert not (_embedded(found, hu.shape) & ~organ).any()


def test_what_would_lie_outside_is_refused() -> None:
    hu, organ = lung()
    organ[:, :, 31:] = False
    organ[:, :, :30] = False  # a sheet of one voxel
    before = hu.clone()
    assert insert(rng(), hu, organ, SPACING, "solid nodule", 20.0, (30, 30, 30)) is None
    assert torch.equal(hu, before)


def test_centres_lie_in_aerated_lung() -> None:
    hu, organ = lung(20)
    hu[:, :10] = 60.0  # a vessel
    organ[:, :, :5] = False
    for seed in range(30):
        centre = draw_centre(rng(seed), organ, hu)
        assert centre is not None
        assert centre[1] >= 10
        assert centre[2] >= 5
    assert draw_centre(rng(), torch.zeros_like(organ)) is None


def test_draws_follow_the_rule_and_the_seed() -> None:
    rule = FINDINGS["pulmonary nodule"]
    sizes = [rule.diameter(rng(seed)) for seed in range(300)]
    assert 5.0 <= min(sizes) <= max(sizes) <= 30.0
    assert sorted(sizes)[150] == pytest.approx(math.sqrt(5 * 30), rel=0.15)  # log-uniform
    assert {rule.kind(rng(seed)) for seed in range(200)} == set(rule.odds)
    one, other = lung()[0], lung()[0]
    for hu in (one, other):
        insert(
            rng(9), hu, torch.ones_like(hu, dtype=torch.bool), SPACING, "cyst", 9.0, (30, 30, 30)
        )
    assert torch.equal(one, other)


def _embedded(found, shape) -> torch.Tensor:  # type: ignore[no-untyped-def]
    whole = torch.zeros(shape, dtype=torch.bool)
    whole[found.box] = found.mask
    return whole
