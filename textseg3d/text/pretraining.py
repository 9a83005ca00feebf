"""Trains the bundled text encoder from scratch on the knowledge tree.

``python -m textseg3d.text.pretraining --out FOLDER --minutes 5 --seed 0``
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from textseg3d.errors import TextSegError, UsageError
from textseg3d.text.bpe import count_words, learn_merges, write_merges
from textseg3d.text.contrastive import Recipe, train_tower, vectors_of
from textseg3d.text.corpus import Corpus, Entry
from textseg3d.text.encoder import BPE_FILE, TowerConfig, build_tower, folder_hash, save_tower
from textseg3d.text.prompts import TEMPLATES
from textseg3d.text.tokenizer import BpeTokenizer

if TYPE_CHECKING:
    import torch

_LOG = logging.getLogger(__name__)
RECORD_FILE = "pretraining.json"
_PROBE_STEPS = 10


def pretrain(
    corpus: Corpus,
    folder: Path,
    *,
    minutes: float | None = None,
    recipe: Recipe | None = None,
    merges: int = 3000,
    hold_out: float = 0.15,
    tower: TowerConfig | None = None,
) -> dict[str, float]:
    """Learns merges and weights and writes an encoder folder with ``pretraining.json``.

    The result depends on the corpus, the recipe and the number of threads alone. ``minutes``
    is turned into a number of steps once, from the speed of the first steps; the record says
    which, and ``recipe.steps`` repeats the run.

    Args:
        corpus: targets and texts.
        folder: where the encoder is written.
        minutes: time to spend; None uses ``recipe.steps`` as given.
        recipe: how to train.
        merges: largest number of byte-pair merges.
        hold_out: share of wordings kept out of training and used to measure it.
        tower: shape of the tower; ``vocab_size`` is filled in here.

    Returns:
        The measured figures, also written to the record.

    Raises:
        UsageError: if ``minutes`` is not positive; nothing is written then.
    """
    import torch

    if minutes is not None and minutes <= 0:
        raise UsageError(f"--minutes {minutes} is not positive; give for example 5")
    recipe = recipe or Recipe(steps=1000)
    folder.mkdir(parents=True, exist_ok=True)
    train, held = corpus.split(hold_out)
    write_merges(folder / BPE_FILE, learn_merges(count_words(_vocabulary_texts(train)), merges))
    config = tower or TowerConfig(vocab_size=1)
    tokenizer = BpeTokenizer(folder / BPE_FILE, config.context_length)
    config = replace(config, vocab_size=tokenizer.vocab_size)
    _LOG.info(
        "%d targets, %d wordings, %d statements, %d wordings held out, %d tokens",
        len(train.entries),
        sum(len(entry.short) for entry in train.entries),
        sum(len(entry.long) for entry in train.entries),
        len(held),
        config.vocab_size,
    )
    if minutes is not None:
        recipe = replace(recipe, steps=_steps_for(minutes, config, tokenizer, train, recipe))
    torch.manual_seed(recipe.seed)
    network = build_tower(config, pad_id=tokenizer.pad_id, end_id=tokenizer.end_id)
    started = time.perf_counter()
    _train_logged(network, tokenizer, train, recipe)
    seconds = time.perf_counter() - started
    save_tower(folder, config, network, folder / BPE_FILE)
    figures = measure(network, tokenizer, train, held)
    record = {
        "encoder_hash": folder_hash(folder),
        "recipe": asdict(recipe),
        "targets": len(train.entries),
        "held_out_wordings": len(held),
        "seconds": round(seconds, 1),
        "threads": torch.get_num_threads(),
        "figures": figures,
    }
    (folder / RECORD_FILE).write_text(json.dumps(record, indent=1) + "\n")
    return figures


def _train_logged(
    network: torch.nn.Module, tokenizer: BpeTokenizer, corpus: Corpus, recipe: Recipe
) -> None:
    every = max(1, recipe.steps // 25)
    recent: list[float] = []
    started = time.perf_counter()
    for step, loss, _ in train_tower(network, tokenizer, corpus, recipe):
        recent.append(loss)
        if step % every == 0 or step == recipe.steps:
            elapsed = time.perf_counter() - started
            mean = sum(recent) / len(recent)
            _LOG.info("step %5d of %d  loss %.3f  %.0f s", step, recipe.steps, mean, elapsed)
            recent.clear()


def _steps_for(
    minutes: float,
    config: TowerConfig,
    tokenizer: BpeTokenizer,
    corpus: Corpus,
    recipe: Recipe,
) -> int:
    """Number of steps, a multiple of 10, that fit into ``minutes`` at the measured speed."""
    network = build_tower(config, pad_id=tokenizer.pad_id, end_id=tokenizer.end_id)
    probe = replace(recipe, steps=_PROBE_STEPS)
    times = sorted(seconds for _, _, seconds in train_tower(network, tokenizer, corpus, probe))
    typical = times[len(times) // 2]
    steps = max(10, round(60 * minutes / typical / 10) * 10)
    _LOG.info("a step takes %.2f s: %d steps in %.1f minutes", typical, steps, minutes)
    return steps


def measure(
    network: torch.nn.Module,
    tokenizer: BpeTokenizer,
    corpus: Corpus,
    held: Sequence[tuple[str, Entry]],
) -> dict[str, float]:
    """How well wordings that training never saw find their target.

    Returns:
        ``top1_name``: share of held-out wordings nearest to their own canonical name among all
        canonical names; ``top1_wording``: the same among all wordings trained on;
        ``right_side``: share of held-out wordings of sided targets whose nearest name has the
        right side; ``cosine_other_side``: mean cosine of the names of a left and right pair.
    """
    names = [entry.short[0] for entry in corpus.entries]
    name_vectors = vectors_of(network, tokenizer, names)
    figures: dict[str, float] = {}
    if held:
        wordings = [(text, entry) for entry in corpus.entries for text in entry.short]
        wording_vectors = vectors_of(network, tokenizer, [text for text, _ in wordings])
        queries = vectors_of(network, tokenizer, [text for text, _ in held])
        by_name = [corpus.entries[i] for i in (queries @ name_vectors.T).argmax(dim=1).tolist()]
        best = (queries @ wording_vectors.T).argmax(dim=1).tolist()
        by_wording = [wordings[i][1] for i in best]
        truth = [entry for _, entry in held]
        figures["top1_name"] = _share(f.key == t.key for f, t in zip(by_name, truth))
        figures["top1_wording"] = _share(f.key == t.key for f, t in zip(by_wording, truth))
        sided = [(f, t) for f, t in zip(by_name, truth) if t.side in ("left", "right")]
        figures["right_side"] = _share(f.side == t.side for f, t in sided)
    rows = {(entry.concept, entry.side): row for row, entry in enumerate(corpus.entries)}
    pairs = [(row, rows.get((c, "right"))) for (c, side), row in rows.items() if side == "left"]
    cosines = [float(name_vectors[a] @ name_vectors[b]) for a, b in pairs if b is not None]
    if cosines:
        figures["cosine_other_side"] = round(sum(cosines) / len(cosines), 4)
    return figures


def _share(hits: Iterator[bool]) -> float:
    values = list(hits)
    return round(sum(values) / len(values), 4) if values else float("nan")


def _vocabulary_texts(corpus: Corpus) -> list[str]:
    """Texts to learn merges from: all texts, and each template a few times."""
    rng = random.Random(0)
    names = [entry.short[0] for entry in corpus.entries]
    prompts = [template.format(rng.choice(names)) for template in TEMPLATES for _ in range(20)]
    return corpus.texts() + prompts


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m textseg3d.text.pretraining",
        description="Train the text encoder on the knowledge tree.",
        allow_abbrev=False,
    )
    parser.add_argument("--out", type=Path, required=True, help="encoder folder to write")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float, help="time to train")
    length.add_argument("--steps", type=int, help="number of steps (repeats a run exactly)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--merges", type=int, default=3000, help="size of the vocabulary")
    parser.add_argument("--hold-out", type=float, default=0.15, help="share of wordings kept out")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        if (options.out / RECORD_FILE).exists():
            raise UsageError(f"{options.out} already holds an encoder; name another folder")
        from textseg3d.text.tree_corpus import corpus_from_tree

        figures = pretrain(
            corpus_from_tree(),
            options.out,
            minutes=options.minutes,
            recipe=Recipe(steps=options.steps or _PROBE_STEPS, seed=options.seed),
            merges=options.merges,
            hold_out=options.hold_out,
        )
    except TextSegError as error:
        _LOG.error("%s", error)
        return error.exit_code
    for name, value in figures.items():
        _LOG.info("%-18s %.4f", name, value)
    _LOG.info("written to %s", os.fspath(options.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
