"""Synthesis: deterministic by seed, sides stay sides, tissues look like themselves."""

import torch

from textseg3d.synthesis.deform import DeformSettings, move_organ, random_map, sample
from textseg3d.synthesis.noise import blur, smooth_noise, tubes
from textseg3d.synthesis.render import Tissues, render_ct
from textseg3d.synthesis.scanner import acquire, relight, remap

TISSUES = Tissues(
    {1: "muscle", 2: "lung", 3: "bone", 4: "liver", 5: "fat", 6: "bowel", 7: "blood"},
    frozenset(),
    frozenset(),
)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def phantom():
    labels = torch.zeros((24, 40, 48), dtype=torch.uint8)
    labels[:, 6:34, 6:42] = 5
    labels[:, 9:31, 9:39] = 1
    labels[:, 12:20, 12:20] = 2
    labels[:, 22:28, 20:28] = 3
    labels[:, 12:20, 26:36] = 4
    return labels


def test_rendering_is_deterministic_and_seeds_differ():
    a, b, c = (render_ct(rng(s), phantom(), TISSUES) for s in (3, 3, 4))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_tissues_have_plausible_hu_on_average():
    means = {}
    for label in (0, 1, 2, 3, 4, 5):
        values = [
            render_ct(rng(s), phantom(), TISSUES)[phantom() == label].median() for s in range(12)
        ]
        means[label] = float(torch.stack(values).mean())
    assert means[0] < -950
    assert -950 < means[2] < -650
    assert -130 < means[5] < -60
    assert 20 < means[1] < 90
    assert 20 < means[4] < 140
    assert means[3] > 80


def test_deformation_never_mirrors():
    """The Jacobian of the map stays positive on average, and left stays left."""
    for seed in range(10):
        coordinates = random_map(rng(seed), (20, 24, 28), torch.tensor([10.0, 12.0, 14.0]))
        for axis in range(3):
            step = torch.diff(coordinates[..., axis], dim=axis).mean()
            assert step > 0.5


def test_identity_settings_sample_the_source_itself():
    still = DeformSettings((1.0, 1.0), 0.0, (0.0, 0.0, 0.0), 0.0)
    source = torch.randn(9, 10, 11)
    centre = torch.tensor([4.0, 4.5, 5.0])
    coordinates = random_map(rng(), (9, 10, 11), centre, still)
    torch.testing.assert_close(
        sample(source, coordinates, "bilinear", 0.0), source, atol=1e-4, rtol=1e-4
    )


def test_labels_and_image_move_together():
    """A bright block stays under its label, whatever the map."""
    labels = torch.zeros((24, 24, 24))
    labels[8:16, 6:14, 10:20] = 1
    coordinates = random_map(rng(5), (24, 24, 24), torch.tensor([11.5, 11.5, 11.5]))
    moved = sample(labels, coordinates, "nearest", 0.0) > 0.5
    image = sample(labels * 100 - 1024, coordinates, "bilinear", -1024.0) > -974
    dice = 2 * (moved & image).sum() / (moved.sum() + image.sum())
    assert dice > 0.95


def test_outside_the_source_is_air():
    coordinates = torch.full((2, 2, 2, 3), 500.0)
    assert (sample(torch.zeros(4, 4, 4), coordinates, "bilinear", -1024.0) == -1024).all()


def test_blur_keeps_the_mean_of_a_constant_and_the_sum_of_an_impulse():
    assert torch.allclose(blur(torch.full((5, 6, 7), 3.0), (1.0, 0.5, 2.0)), torch.tensor(3.0))
    impulse = torch.zeros((21, 21, 21))
    impulse[10, 10, 10] = 1
    assert torch.allclose(blur(impulse, (1.0, 1.0, 1.0)).sum(), torch.tensor(1.0), atol=1e-4)


def test_noise_has_unit_variance_and_its_period():
    field = smooth_noise(rng(), (60, 60, 60), 6.0)
    assert 0.2 < field.var() < 1.2  # linear interpolation lowers it between nodes
    near = torch.corrcoef(torch.stack([field[:, :, :-1].flatten(), field[:, :, 1:].flatten()]))
    far = torch.corrcoef(torch.stack([field[:, :, :-20].flatten(), field[:, :, 20:].flatten()]))
    assert near[0, 1] > 0.8
    assert abs(far[0, 1]) < 0.2


def test_tubes_are_thin():
    mask = tubes(rng(), (40, 40, 40), 8.0, 0.15)
    assert 0.002 < mask.float().mean() < 0.1


def test_relighting_moves_organs_not_air():
    hu = torch.full((8, 16, 16), 50.0)
    hu[:, :8] = -900.0
    labels = torch.zeros((8, 16, 16), dtype=torch.uint8)
    labels[:, 8:, :8], labels[:, 8:, 8:], labels[:, :8] = 1, 2, 3
    lit = relight(rng(1), hu, labels, strength=40.0)
    assert torch.equal(lit[:, :8], hu[:, :8])
    left, right = lit[:, 12:, :6].mean(), lit[:, 12:, 10:].mean()
    assert abs(left - right) > 1


def test_remap_and_acquisition_keep_order_and_shape():
    hu = torch.linspace(-1000, 400, 4 * 16 * 16).reshape(4, 16, 16)
    mapped = remap(rng(2), hu)
    assert (torch.diff(mapped.flatten()) >= 0).all()
    acquired = acquire(rng(2), hu)
    assert acquired.shape == hu.shape
    assert torch.isfinite(acquired).all()


def grid(shape):
    axes = [torch.arange(n, dtype=torch.float32) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def test_an_organ_moves_alone_and_the_map_never_folds():
    centre = torch.tensor([40.0, 40.0, 40.0])
    moved = []
    for seed in range(12):
        coordinates = grid((81, 81, 81))
        move_organ(rng(seed), coordinates, centre)
        # Determinant of the Jacobian by central differences: positive means one-to-one.
        rows = [torch.stack(torch.gradient(coordinates[..., i]), dim=-1) for i in range(3)]
        assert float(torch.linalg.det(torch.stack(rows, dim=-2)).min()) > 0
        ball = (grid((81, 81, 81)) - centre).square().sum(-1) < 16
        after = sample(ball, coordinates, "nearest", 0.0) > 0.5
        where = torch.nonzero(after).float().mean(0)
        moved.append(float((where - centre).norm()))
        assert torch.equal(coordinates[0, 0, 0].round(), torch.zeros(3))
    assert max(moved) > 5
    assert min(moved) < max(moved) / 2
