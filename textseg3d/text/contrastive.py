"""Training of a text tower: batches with hard negatives and the multi-positive InfoNCE loss."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from textseg3d.text.corpus import Corpus, Entry
from textseg3d.text.prompts import vary

if TYPE_CHECKING:
    import torch

    from textseg3d.text.tokenizer import BpeTokenizer


@dataclass(frozen=True)
class Recipe:
    """How the tower is trained.

    Attributes:
        steps: optimiser steps.
        anchors: targets drawn per step; each brings ``hard`` negatives along.
        hard: hard negatives per anchor (the other side first, then siblings and neighbours).
        texts: texts drawn per target.
        long_share: share of texts that are definitions or relation statements.
        learning_rate: peak of a cosine schedule with a warm-up of 5 % of the steps.
        weight_decay: of matrices; biases and norms have none.
        side_margin: how much closer than it is a text of another side counts, in cosine.
        token_weight: weight of the same loss on the mean of the token vectors.
        seed: of weights and batches.
    """

    steps: int
    anchors: int = 28
    hard: int = 2
    texts: int = 3
    long_share: float = 0.2
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    side_margin: float = 0.3
    token_weight: float = 0.5
    seed: int = 0


def draw_batch(
    corpus: Corpus, recipe: Recipe, rng: random.Random
) -> tuple[list[str], list[int], list[int]]:
    """Texts of one step, and for each the number of its target and of its unsided concept."""
    chosen: dict[str, Entry] = {}
    for anchor in rng.sample(corpus.entries, min(recipe.anchors, len(corpus.entries))):
        chosen[anchor.key] = anchor
        for entry in corpus.hard_negatives(anchor, recipe.hard, rng):
            chosen[entry.key] = entry
    texts: list[str] = []
    labels: list[int] = []
    concepts: list[int] = []
    numbers: dict[str, int] = {}
    for label, entry in enumerate(chosen.values()):
        for _ in range(recipe.texts):
            if entry.long and rng.random() < recipe.long_share:
                texts.append(rng.choice(entry.long))
            else:
                texts.append(vary(rng.choice(entry.short), rng))
            labels.append(label)
            concepts.append(numbers.setdefault(entry.concept, len(numbers)))
    return texts, labels, concepts


def multi_positive_info_nce(
    vectors: torch.Tensor,
    labels: torch.Tensor,
    scale: torch.Tensor,
    *,
    concepts: torch.Tensor | None = None,
    side_margin: float = 0.0,
) -> torch.Tensor:
    """InfoNCE where all texts of one target are positives of each other.

    Args:
        vectors: float [N, E], unit vectors.
        labels: int [N], target of each.
        scale: inverse temperature.
        concepts: int [N], unsided concept of each; needed for a margin.
        side_margin: added to the cosine of texts that differ in nothing but the side, so that
            the sides must lie further apart than other targets.

    Returns:
        Mean over texts of the mean over their positives of -log softmax; a scalar.
    """
    import torch

    eye = torch.eye(len(labels), dtype=torch.bool)
    same = labels[:, None] == labels[None, :]
    cosine = vectors @ vectors.T
    if concepts is not None:
        cosine = cosine + side_margin * ((concepts[:, None] == concepts[None, :]) & ~same)
    logits = (scale * cosine).masked_fill(eye, float("-inf"))
    log_share = logits - logits.logsumexp(dim=1, keepdim=True)
    positive = same & ~eye
    count = positive.sum(dim=1)
    total = log_share.masked_fill(~positive, 0.0).sum(dim=1)
    loss: torch.Tensor = -(total / count.clamp(min=1))[count > 0].mean()
    return loss


def embed(
    tower: torch.nn.Module, ids: torch.Tensor, pad_id: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors [N, E] of pooled output and of the mean real token, for ids [N, L].

    Rows are run in two groups, short and long texts, without the padding that none needs.
    """
    import torch
    from torch.nn.functional import normalize

    lengths = (ids != pad_id).sum(dim=1)
    order = lengths.argsort()
    groups = [group for group in torch.tensor_split(order, 3) if len(group)]
    pooled, means = [], []
    for rows in groups:
        part = ids[rows, : int(lengths[rows].max())]
        vector, tokens = tower(part)
        keep = (part != pad_id).unsqueeze(-1)
        pooled.append(normalize(vector.float(), dim=1))
        means.append(normalize((tokens.float() * keep).sum(1) / keep.sum(1), dim=1))
    back = torch.cat(groups).argsort()
    return torch.cat(pooled)[back], torch.cat(means)[back]


def train_tower(
    tower: torch.nn.Module, tokenizer: BpeTokenizer, corpus: Corpus, recipe: Recipe
) -> Iterator[tuple[int, float, float]]:
    """Trains ``tower`` in place; yields (step, loss, seconds) after every step."""
    import torch

    rng = random.Random(recipe.seed)
    scale = torch.nn.Parameter(torch.tensor(math.log(1 / 0.07)))
    decay = [p for p in tower.parameters() if p.ndim >= 2]
    rest = [p for p in tower.parameters() if p.ndim < 2]
    optimiser = torch.optim.AdamW(
        [
            {"params": decay, "weight_decay": recipe.weight_decay},
            {"params": [*rest, scale], "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
    )
    warm = max(1, recipe.steps // 20)
    tower.train()
    for step in range(recipe.steps):
        begin = time.perf_counter()
        done = min(1.0, step / recipe.steps)
        factor = min((step + 1) / warm, 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * factor
        texts, labels, concepts = draw_batch(corpus, recipe, rng)
        pooled, means = embed(tower, torch.from_numpy(tokenizer(texts)), tokenizer.pad_id)
        loss = partial(
            multi_positive_info_nce,
            labels=torch.tensor(labels),
            scale=scale.exp().clamp(max=100.0),
            concepts=torch.tensor(concepts),
            side_margin=recipe.side_margin,
        )
        total = loss(pooled) + recipe.token_weight * loss(means)
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimiser.step()
        yield step + 1, float(total.detach()), time.perf_counter() - begin
    tower.eval()


def vectors_of(
    tower: torch.nn.Module, tokenizer: BpeTokenizer, texts: Sequence[str]
) -> torch.Tensor:
    """Pooled unit vectors float32 [N, E] of many texts, in blocks."""
    import torch

    blocks = []
    with torch.inference_mode():
        for start in range(0, len(texts), 256):
            ids = torch.from_numpy(tokenizer(texts[start : start + 256]))
            blocks.append(embed(tower, ids, tokenizer.pad_id)[0])
    return torch.cat(blocks)
