"""Losses on prompt logits: soft Dice where the target is there, cross-entropy everywhere."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEVEL_WEIGHTS = {1: 1.0, 2: 1.0, 4: 0.5, 8: 0.3}
PRESENCE_WEIGHT = 0.2
OWN_WEIGHT = 0.1


def soft_dice_loss(
    logits: Tensor, target: Tensor, eps: float = 1.0, known: Tensor | None = None
) -> Tensor:
    """1 - soft Dice per prompt [P]; logits and target (fractions in [0, 1]) are [P, ...].

    Milletari et al., V-Net (3DV 2016), with plain sums in the denominator as nnU-Net has it.
    ``known``, [...] or one for each prompt, weighs the voxels.
    """
    p, t = logits.sigmoid().flatten(1), target.flatten(1)
    if known is not None:
        weight = known.expand_as(logits).flatten(1)
        p, t = p * weight, t * weight
    return 1 - (2 * (p * t).sum(1) + eps) / (p.sum(1) + t.sum(1) + eps)


def prompt_loss(logits: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
    """Mean over prompts of cross-entropy, plus two terms for those with any target (scalar).

    Dice of an empty target only measures the smoothing constant, so it is left out there. The
    cross-entropy of the target's own voxels, lightly weighted, keeps a thin structure from
    sinking: once its probability is near zero everywhere, Dice has no gradient left and the
    plain mean hardly sees a few hundred voxels (measured: spinal cord at logit -8 after 1,300
    steps without it). ``known``, [...] or one for each prompt, weighs the voxels, 0 where the truth
    is not known.
    """
    logits, target = logits.float(), target.float()
    bce = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    if known is None:
        loss = bce.mean()
    else:
        weight = known.float().expand_as(bce)
        bce = bce * weight
        loss = bce.sum() / weight.sum().clamp_min(1)
    there = target.flatten(1).any(1)
    if there.any():
        on, voxels = target[there].flatten(1), bce[there].flatten(1)
        own = (voxels * on).sum(1) / on.sum(1)
        some = None if known is None else weight[there]
        dice = soft_dice_loss(logits[there], target[there], known=some)
        loss = loss + (dice + OWN_WEIGHT * own).sum() / len(there)
    return loss


def presence_loss(logits: Tensor, presence: Tensor) -> Tensor:
    """Cross-entropy of presence logits [P] against 1 / 0; entries of -1 do not count."""
    known = presence >= 0
    if not known.any():
        return logits.sum() * 0
    return nn.functional.binary_cross_entropy_with_logits(
        logits[known].float(), presence[known].float()
    )


def total_loss(
    levels: dict[int, Tensor],
    targets: dict[int, Tensor],
    presence: Tensor,
    truth: Tensor,
    known: dict[int, Tensor] | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """Weighted sum over strides, and the parts for the log.

    Args:
        levels: stride → logits [P, ...]; stride 1 is the full-resolution crop.
        targets: stride → target fractions, same shapes.
        presence: logits [P]; truth: 1, 0 or -1 [P].
        known: stride → share of each cell whose truth is known, [1 or P, ...].
    """
    known = known or {}
    parts = {s: prompt_loss(levels[s], targets[s], known.get(s)) for s in levels}
    there = presence_loss(presence, truth)
    loss = torch.stack([LEVEL_WEIGHTS[s] * part for s, part in parts.items()]).sum()
    log = {f"stride{s}": float(part.detach()) for s, part in parts.items()}
    return loss + PRESENCE_WEIGHT * there, {**log, "presence": float(there.detach())}
