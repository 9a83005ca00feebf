"""The training loop, to be read from top to bottom."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from textseg3d.errors import Cancelled
from textseg3d.networks import build_network
from textseg3d.networks.prompt_unet import PromptUNet, coarse_to_fine, dot, upsample
from textseg3d.plans.schema import Configuration
from textseg3d.text.types import TextEncoder
from textseg3d.training.cases import TrainingSet
from textseg3d.training.checkpoint import load_checkpoint, save_checkpoint
from textseg3d.training.curves import plot_curves
from textseg3d.training.losses import total_loss
from textseg3d.training.prompts import PromptFeatures
from textseg3d.training.sampling import Sample, WindowDataset

logger = logging.getLogger(__name__)

LOG = "log.csv"
FIELDS = ("step", "loss", "stride1", "stride2", "stride4", "stride8", "presence", "lr", "seconds")


@dataclass(frozen=True)
class TrainSettings:
    """What a run is made of, besides data and plans.

    Attributes:
        steps: optimiser steps of the whole run (one window each).
        seed: of weights and samples.
        learning_rate: peak of AdamW; warm-up, then constant, then linear to zero over the
            last ``decay`` share of the steps (so a run can be lengthened while it is constant).
        weight_decay: of AdamW.
        average: decay of the exponential moving average of the weights, which is what ships.
        prompts: prompts per window.
        loaders: processes that prepare samples.
        checkpoint_seconds: time between checkpoints.
        log_every: steps per line of the log.
    """

    steps: int = 2000
    seed: int = 0
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: int = 100
    decay: float = 0.35
    average: float = 0.998
    prompts: int = 10
    loaders: int = 1
    checkpoint_seconds: float = 180.0
    log_every: int = 20


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Warm-up, constant, linear decay to zero."""
    left = (settings.steps - step) / max(1.0, settings.decay * settings.steps)
    return settings.learning_rate * min(1.0, (step + 1) / settings.warmup, max(left, 0.0))


def train(
    data: Path,
    configuration: Configuration,
    encoder: TextEncoder,
    out: Path,
    settings: TrainSettings,
    *,
    resume: bool = False,
    on_progress: Callable[[str, int, int], bool | None] | None = None,
) -> nn.Module:
    """Train a prompted network on ``data`` and leave checkpoint, log and curves in ``out``.

    Args:
        data: folder of a :class:`TrainingSet`.
        configuration: network, patch and intensities.
        encoder: frozen text encoder.
        out: run folder; made if needed.
        settings: see :class:`TrainSettings`.
        resume: continue from the checkpoint in ``out``, at the exact next step.
        on_progress: called as (stage, done, total) after each step; False cancels, after a
            checkpoint was written.

    Returns:
        The network with the averaged weights.

    Raises:
        Cancelled: if ``on_progress`` returned False.
    """
    out.mkdir(parents=True, exist_ok=True)
    training_set = TrainingSet.load(data)
    torch.manual_seed(settings.seed)
    network = build_network(configuration)
    assert isinstance(network, PromptUNet)
    optimizer = torch.optim.AdamW(
        _parameter_groups(network, settings.weight_decay), lr=0.0, betas=(0.9, 0.99)
    )
    average = {k: v.detach().clone() for k, v in network.state_dict().items()}
    prompts = PromptFeatures.build(encoder, training_set.targets)
    first = load_checkpoint(out, network, average, optimizer) if resume else 0
    logger.info(
        "training from step %d to %d, %d targets, %d cases",
        first,
        settings.steps,
        len(training_set.targets),
        len(training_set.cases),
    )

    dataset = WindowDataset(data, training_set, configuration, settings.seed, settings.prompts)
    loader = DataLoader(
        dataset,
        sampler=range(first, settings.steps),  # type: ignore[arg-type]
        batch_size=None,
        num_workers=settings.loaders,
        prefetch_factor=3 if settings.loaders else None,
        worker_init_fn=_one_thread,
    )
    log = RunLog(out, first)
    saved_at = time.monotonic()
    step = first
    try:
        for step, sample in enumerate(loader, start=first):
            started = time.monotonic()
            rate = learning_rate(step, settings)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss, parts = forward(network, prompts, sample, dataset.fine_crop)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 2.0)
            optimizer.step()
            _update_average(average, network, min(settings.average, (step + 1) / (step + 10)))

            log.add(step, float(loss.detach()), parts, rate, time.monotonic() - started)
            if (step + 1) % settings.log_every == 0:
                log.flush(settings.steps)
            if time.monotonic() - saved_at > settings.checkpoint_seconds:
                save_checkpoint(out, network, average, optimizer, step + 1, asdict(settings))
                plot_curves(out)
                saved_at = time.monotonic()
            if on_progress and on_progress("train", step + 1, settings.steps) is False:
                raise Cancelled(f"training stopped after step {step + 1}; continue with --continue")
    except (Cancelled, KeyboardInterrupt):
        save_checkpoint(out, network, average, optimizer, step + 1, asdict(settings))
        raise
    save_checkpoint(out, network, average, optimizer, settings.steps, asdict(settings))
    plot_curves(out)
    network.load_state_dict(average)
    return network


def forward(
    network: PromptUNet, prompts: PromptFeatures, sample: Sample, crop: int
) -> tuple[Tensor, dict[str, float]]:
    """Loss of one window, with the full-resolution head run on a crop only."""
    tokens, mask, pooled = prompts.select(sample.prompts, sample.wordings)
    z, y, x = sample.fine_start
    half = (
        slice(z // 2, (z + crop) // 2),
        slice(y // 2, (y + crop) // 2),
        slice(x // 2, (x + crop) // 2),
    )
    full = slice(z, z + crop), slice(y, y + crop), slice(x, x + crop)
    with torch.autocast("cpu", torch.bfloat16):
        features = network.encode_image(sample.x[None], sample.position)
        answer = network.answer(features, tokens, mask, pooled)
        eighth, quarter, two = coarse_to_fine(features, answer)
        fine = network.fine_features(features.half[(..., *half)], sample.x[None][(..., *full)])
        one = dot(fine, answer.queries[0]) + upsample(two[(slice(None), *half)][:, None], 2)[:, 0]
    levels = {1: one, 2: two, 4: quarter, 8: eighth}
    targets = {1: sample.fine_mask, **dict(zip((2, 4, 8), sample.masks, strict=True))}
    return total_loss(levels, targets, answer.presence, sample.presence)


class RunLog:
    """`log.csv` (one row per ``log_every`` steps, means) and a line for a person."""

    def __init__(self, out: Path, first: int) -> None:
        self.path = out / LOG
        self.rows: list[dict[str, float]] = []
        if first == 0 or not self.path.exists():
            with self.path.open("w", newline="") as file:
                csv.writer(file).writerow(FIELDS)

    def add(
        self, step: int, loss: float, parts: dict[str, float], rate: float, seconds: float
    ) -> None:
        """Keep one step's figures until the next flush."""
        self.rows.append({"step": step + 1, "loss": loss, **parts, "lr": rate, "seconds": seconds})

    def flush(self, steps: int) -> None:
        """Write the means since the last flush."""
        last = int(self.rows[-1]["step"])
        means = {k: sum(r[k] for r in self.rows) / len(self.rows) for k in FIELDS if k != "step"}
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow([last, *(f"{means[k]:.6g}" for k in FIELDS[1:])])
        parts = " ".join(f"{k} {means[k]:.3f}" for k in FIELDS[2:7])
        logger.info(
            "step %d/%d loss %.3f (%s) lr %.1e %.2f s/step",
            last,
            steps,
            means["loss"],
            parts,
            means["lr"],
            means["seconds"],
        )
        self.rows.clear()


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Decay matrices and kernels; leave norms and biases alone."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]


@torch.no_grad()
def _update_average(average: dict[str, Tensor], network: nn.Module, decay: float) -> None:
    for key, value in network.state_dict().items():
        average[key].lerp_(value, 1 - decay)


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
