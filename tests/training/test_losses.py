"""Losses against hand-computed values."""

import math

import pytest
import torch

from textseg3d.training.losses import OWN_WEIGHT, presence_loss, prompt_loss, soft_dice_loss


def test_dice_by_hand():
    logits = torch.tensor([[[0.0, 0.0, 50.0, -50.0]]])  # p = .5 .5 1 0
    target = torch.tensor([[[1.0, 0.0, 1.0, 0.0]]])
    # 2·1.5 + 1 over 2 + 2 + 1
    assert float(soft_dice_loss(logits, target)) == pytest.approx(1 - 4 / 5)


def test_an_absent_target_costs_cross_entropy_only():
    logits = torch.zeros((1, 2, 2, 2))
    assert float(prompt_loss(logits, torch.zeros_like(logits))) == pytest.approx(math.log(2))


def test_dice_is_averaged_over_all_prompts():
    logits = torch.zeros((2, 8))
    target = torch.stack([torch.ones(8), torch.zeros(8)])
    dice = 1 - (2 * 4 + 1) / (4 + 8 + 1)
    own = OWN_WEIGHT * math.log(2)
    expected = math.log(2) + (dice + own) / 2
    assert float(prompt_loss(logits, target)) == pytest.approx(expected, abs=1e-6)


def test_a_lost_thin_structure_still_pulls():
    """Everything near zero: the few target voxels must get a gradient that the rest can't drown."""
    logits = torch.full((1, 64_000), -9.0, requires_grad=True)
    target = torch.zeros((1, 64_000))
    target[0, :30] = 1
    prompt_loss(logits, target).backward()
    inside, outside = logits.grad[0, :30].sum(), logits.grad[0, 30:].sum()
    assert -inside > 10 * outside


def test_presence_leaves_out_what_is_unknown():
    logits = torch.tensor([2.0, -1.0, 100.0])
    truth = torch.tensor([1.0, 0.0, -1.0])
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))) / 2
    assert float(presence_loss(logits, truth)) == pytest.approx(expected, abs=1e-6)
    assert float(presence_loss(logits[2:], truth[2:])) == 0


def test_voxels_of_unknown_truth_count_for_nothing():
    """The loss with a mask is the loss of the known voxels alone."""
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn((3, 4, 6, 5), generator=rng)
    target = (torch.rand((3, 4, 6, 5), generator=rng) > 0.6).float()
    known = torch.ones((4, 6, 5))
    known[:, 3:] = 0
    target[:, :, 3:] = 0  # ignored voxels belong to no target
    masked = prompt_loss(logits, target, known)
    cut = prompt_loss(logits[:, :, :3], target[:, :, :3])
    assert float(masked) == pytest.approx(float(cut), abs=1e-6)
