"""A complete, tiny model folder with random (seeded) weights, for tests that need any model.

Its answers mean nothing, but they depend on image, position and prompt, and are reproducible.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

CONCEPTS = ("left lung", "right lung", "liver", "spleen", "left kidney", "right kidney", "heart")
EMBED_DIM = 16
CONTEXT = 24


def make_model(
    folder: Path,
    *,
    concepts: tuple[str, ...] = CONCEPTS,
    spacing: tuple[float, float, float] = (3.0, 3.0, 3.0),
    patch: tuple[int, int, int] = (64, 32, 32),
    window_step: float = 0.75,
    presence_bias: float = 4.0,
    widths: tuple[int, ...] = (8, 8, 8, 8, 8),
    name: str = "tiny",
    seed: int = 0,
) -> Path:
    """Write plans, weights, bank and card into ``folder`` (made if needed) and return it.

    Args:
        concepts: canonical names; the bank holds a random feature for each.
        patch: multiples of 32, not all of them 32 (the lowest stage needs two voxels).
        presence_bias: added to every presence logit: +4 "there", -4 "not there".
    """
    import torch
    from safetensors.torch import save_file

    from textseg3d.networks import build_network
    from textseg3d.plans.schema import Architecture, Configuration, Plans

    folder.mkdir(parents=True, exist_ok=True)
    configuration = Configuration(
        spacing=spacing,
        patch_size=patch,
        window_step=window_step,
        architecture=Architecture(
            arch_kwargs={
                "widths": widths,
                "blocks": (1,) * len(widths),
                "feature_channels": 8,
                "embed_dim": EMBED_DIM,
                "attention_width": 16,
                "attention_heads": 2,
                "attention_layers": 1,
            }
        ),
    )
    Plans("Random", name, {"tiny": configuration}).save(folder / "plans.json")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(configuration)
        with torch.no_grad():
            network.prompt.presence[-1].bias += presence_bias
            network.prompt.coarse_query.weight *= 10  # logits of both signs for every prompt
            for query in network.prompt.queries:
                query[-1].weight *= 10
    weights = {k: v.contiguous() for k, v in network.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    write_bank(folder / "bank.safetensors", concepts, seed)
    write_random_card(folder, name, concepts)
    return folder


def write_bank(path: Path, concepts: tuple[str, ...], seed: int) -> None:
    """A bank of random features, three to six tokens each."""
    from textseg3d.text.bank import EmbeddingBank
    from textseg3d.text.normalise import normalise_text

    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 7, len(concepts)).astype(np.int32)
    EmbeddingBank(
        texts=tuple(normalise_text(concept) for concept in concepts),
        tokens=rng.standard_normal((int(lengths.sum()), EMBED_DIM)).astype(np.float16),
        lengths=lengths,
        pooled=rng.standard_normal((len(concepts), EMBED_DIM)).astype(np.float16),
        context_length=CONTEXT,
        encoder_hash="0" * 64,
    ).save(path)


def write_random_card(folder: Path, name: str, concepts: tuple[str, ...]) -> None:
    """The card, with the hashes of the files that are there."""
    from textseg3d.zoo import ModelCard, TrainingSource, write_card

    card = ModelCard(
        name=name,
        version="0",
        summary="Random weights for tests.",
        modalities=("CT",),
        concepts=concepts,
        weights_licence="Apache-2.0",
        training_sources=(TrainingSource("nothing", "CC0-1.0", "images"),),
        limits=("Its answers mean nothing.",),
    )
    write_card(folder, card)
