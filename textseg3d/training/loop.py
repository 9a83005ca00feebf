"""The training loop, to be read from top to bottom."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from textseg3d.errors import Cancelled
from textseg3d.networks import build_network
from textseg3d.networks.prompt_unet import PromptUNet, coarse_to_fine, dot, upsample
from textseg3d.text.types import TextEncoder
from textseg3d.training.checkpoint import BEST, load_checkpoint, save_average, save_checkpoint
from textseg3d.training.curves import plot_curves
from textseg3d.training.log import RunLog
from textseg3d.training.losses import total_loss
from textseg3d.training.prompts import PromptFeatures
from textseg3d.training.ranks import Ranks
from textseg3d.training.source import Sample, WindowSource
from textseg3d.training.tune import Start
from textseg3d.training.validation import Validation

logger = logging.getLogger(__name__)

PICTURE_SECONDS = 60.0
Progress = Callable[[str, int, int], bool | None]


@dataclass(frozen=True)
class TrainSettings:
    """What a run is made of, besides data and plans.

    Attributes:
        steps: optimiser steps of the whole run.
        seed: of weights and samples.
        learning_rate: peak of AdamW; warm-up, then constant, then linear to zero over the
            last ``decay`` share of the steps (so a run can be lengthened while it is constant).
        weight_decay: of AdamW.
        average: decay of the exponential moving average of the weights, which is what ships.
        prompts: prompts per window.
        loaders: processes that prepare samples.
        checkpoint_seconds: time between checkpoints.
        log_every: steps per line of the log.
        batch: windows per step, in each process.
        accumulate: the same again: a step sees batch × accumulate windows in each process.
        patience: validations without a better one after which the run ends; 0 never does.
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
    batch: int = 1
    accumulate: int = 1
    patience: int = 0

    @property
    def windows(self) -> int:
        """Windows per step and process."""
        return self.batch * self.accumulate


@dataclass(frozen=True)
class Machine:
    """Where a run happens.

    Attributes:
        device: of the network.
        autocast: dtype of its convolutions and products; None for plain float32.
        ranks: this process among those that train together.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    autocast: torch.dtype | None = torch.bfloat16
    ranks: Ranks = field(default_factory=Ranks)


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Warm-up, constant, linear decay to zero."""
    left = (settings.steps - step) / max(1.0, settings.decay * settings.steps)
    return settings.learning_rate * min(1.0, (step + 1) / settings.warmup, max(left, 0.0))


def train(
    source: WindowSource,
    encoder: TextEncoder,
    out: Path,
    settings: TrainSettings,
    *,
    machine: Machine = Machine(),
    start: Start | None = None,
    validation: Validation | None = None,
    resume: bool = False,
    tensorboard: bool = False,
    on_progress: Progress | None = None,
) -> nn.Module:
    """Train a prompted network and leave checkpoint, log and curves in ``out``.

    Args:
        source: of samples; its configuration names the network.
        encoder: frozen text encoder.
        out: run folder; made if needed.
        settings: see :class:`TrainSettings`.
        machine: device, precision, processes.
        start: weights to begin with, and which of them to train; None starts from scratch.
        validation: scores the averaged weights every so often.
        resume: continue from the checkpoint in ``out``, at the exact next step.
        tensorboard: also write event files for TensorBoard.
        on_progress: called as (stage, done, total) after each step; False cancels, after a
            checkpoint was written.

    Returns:
        The network with the averaged weights.

    Raises:
        Cancelled: if ``on_progress`` returned False.
        MissingDependencyError: for ``tensorboard`` without the package.
    """
    out.mkdir(parents=True, exist_ok=True)
    ranks, device = machine.ranks, machine.device
    torch.manual_seed(settings.seed)
    network = build_network(source.configuration)
    assert isinstance(network, PromptUNet)
    if start is not None:
        start.apply(network)
    network = network.to(device)
    ranks.share_weights(network)
    optimizer = _optimizer(network, settings.weight_decay)
    average = {k: v.detach().clone() for k, v in network.state_dict().items()}
    prompts = _prompt_features(encoder, source).to(device)
    first = load_checkpoint(out, network, average, optimizer) if resume else 0
    if not resume:
        (out / BEST).unlink(missing_ok=True)
    logger.info("training from step %d to %d, %s", first, settings.steps, source.describe)

    loader = _loader(source, settings, ranks, first)
    log = RunLog(out, first, write=ranks.first, tensorboard=tensorboard)
    if validation is not None:
        validation.begin(out, first)
    saved_at = drawn_at = time.monotonic()
    done = first

    def save() -> None:
        if ranks.first:
            save_checkpoint(out, network, average, optimizer, done, asdict(settings))

    try:
        for step in range(first, settings.steps):
            started = time.monotonic()
            rate = learning_rate(step, settings)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
            figures = [0.0] * 6
            for _ in range(settings.windows):
                sample = to_device(next(loader), device)
                loss, parts = forward(network, prompts, sample, machine.autocast)
                (loss / settings.windows).backward()
                for i, value in enumerate((float(loss.detach()), *parts.values())):
                    figures[i] += value / settings.windows
            ranks.average_gradients(network.parameters())
            nn.utils.clip_grad_norm_(network.parameters(), 2.0)
            optimizer.step()
            _update_average(average, network, min(settings.average, (step + 1) / (step + 10)))
            done = step + 1

            log.add(done, ranks.mean(figures, device), rate, time.monotonic() - started)
            if done % settings.log_every == 0:
                log.flush(settings.steps)
            if time.monotonic() - saved_at > settings.checkpoint_seconds:
                save()
                saved_at = time.monotonic()
                if ranks.first and saved_at - drawn_at > PICTURE_SECONDS:
                    plot_curves(out)
                    drawn_at = saved_at
            if validation is not None and validation.due(done, settings.steps):
                score = validation.run(network, average, prompts, machine, done)
                if ranks.first and validation.best == done:
                    save_average(out / BEST, average, done)
                log.scalar("validation dice", score, done)
                if settings.patience and validation.waiting >= settings.patience:
                    logger.info("no better validation since step %d; stopping", validation.best)
                    break
            stop = on_progress is not None and on_progress("train", done, settings.steps) is False
            if ranks.any(stop, device):
                raise Cancelled(f"training stopped after step {done}; continue with --continue")
    except (Cancelled, KeyboardInterrupt):
        save()
        raise
    save()
    if ranks.first:
        plot_curves(out)
    log.close()
    network.load_state_dict(average)
    return network


def to_device(sample: Sample, device: torch.device) -> Sample:
    """The sample with its tensors on ``device``."""
    if device.type == "cpu":
        return sample

    def moved(value: object) -> object:
        if isinstance(value, Tensor):
            return value.to(device, non_blocking=True)
        return [moved(v) for v in value] if isinstance(value, list) else value

    fields = {f.name: moved(getattr(sample, f.name)) for f in dataclasses.fields(sample)}
    return Sample(**fields)  # type: ignore[arg-type]


def forward(
    network: PromptUNet,
    prompts: PromptFeatures,
    sample: Sample,
    autocast: torch.dtype | None = torch.bfloat16,
) -> tuple[Tensor, dict[str, float]]:
    """Loss of one window, with the full-resolution head run on a crop only."""
    levels, presence = logits(network, prompts, sample, autocast)
    targets = {1: sample.fine_mask, **dict(zip((2, 4, 8), sample.masks, strict=True))}
    known = None if sample.known is None else dict(zip((1, 2, 4, 8), sample.known, strict=True))
    return total_loss(levels, targets, presence, sample.presence, known)


def logits(
    network: PromptUNet, prompts: PromptFeatures, sample: Sample, autocast: torch.dtype | None
) -> tuple[dict[int, Tensor], Tensor]:
    """Stride → logits [P, ...] of a window (stride 1: of its crop), and presence logits [P]."""
    tokens, mask, pooled = prompts.select(sample.prompts, sample.wordings, sample.modality)
    corner, size = sample.fine_start, sample.fine_mask.shape[1:]
    every = slice(None)
    half = tuple(slice(a // 2, (a + n) // 2) for a, n in zip(corner, size, strict=True))
    full = tuple(slice(a, a + n) for a, n in zip(corner, size, strict=True))
    x = sample.x[None] if autocast is not None else sample.x[None].float()
    with torch.autocast(x.device.type, autocast or torch.bfloat16, enabled=autocast is not None):
        features = network.encode_image(x, sample.position)
        answer = network.answer(features, tokens, mask, pooled)
        eighth, quarter, two = coarse_to_fine(features, answer)
        fine = network.fine_features(features.half[(every, every, *half)], x[(every, every, *full)])
        one = dot(fine, answer.queries[0]) + upsample(two[(every, *half)][:, None], 2)[:, 0]
    return {1: one, 2: two, 4: quarter, 8: eighth}, answer.presence


def _prompt_features(encoder: TextEncoder, source: WindowSource) -> PromptFeatures:
    token = source.configuration.text.modality_token
    return PromptFeatures.build(encoder, source.targets, modality_token=token)


def sample_indices(settings: TrainSettings, ranks: Ranks, first: int) -> Iterator[int]:
    """Samples of this process from step ``first`` on.

    Step s has the samples s·n to (s + 1)·n - 1, n being the windows of all processes together,
    so two processes see what one with the double batch sees.
    """
    own = settings.windows
    for step in range(first, settings.steps):
        begin = (step * ranks.size + ranks.rank) * own
        yield from range(begin, begin + own)


def _loader(
    source: WindowSource, settings: TrainSettings, ranks: Ranks, first: int
) -> Iterator[Sample]:
    return iter(
        DataLoader(
            source,
            sampler=sample_indices(settings, ranks, first),  # type: ignore[arg-type]
            batch_size=None,
            num_workers=settings.loaders,
            prefetch_factor=max(3, settings.windows) if settings.loaders else None,
            worker_init_fn=_one_thread,
        )
    )


def _optimizer(network: nn.Module, weight_decay: float) -> torch.optim.AdamW:
    """AdamW that decays matrices and kernels and leaves norms and biases alone."""
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.99))


@torch.no_grad()
def _update_average(average: dict[str, Tensor], network: nn.Module, decay: float) -> None:
    for key, value in network.state_dict().items():
        average[key].lerp_(value, 1 - decay)


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
