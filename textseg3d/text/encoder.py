"""The bundled text encoder: an open_clip text tower with our own byte-pair vocabulary.

A folder holds ``config.json``, ``text.safetensors`` (fp16) and ``bpe.txt.gz``. Texts are
encoded one at a time at the full context length, so a row is bit-equal whatever else is asked,
and rounded to fp16, so an embedding bank gives the same bits as the tower.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from textseg3d.errors import MissingDependencyError, ModelError
from textseg3d.registry import Registry
from textseg3d.suggest import did_you_mean
from textseg3d.text.types import TextEncoder, TextFeatures, finished

if TYPE_CHECKING:
    import torch

    from textseg3d.text.tokenizer import BpeTokenizer

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "text.safetensors"
BPE_FILE = "bpe.txt.gz"

ENCODERS: Registry[Callable[[str], TextEncoder]] = Registry("text encoder")


@dataclass(frozen=True)
class TowerConfig:
    """Shape of the text tower.

    Attributes:
        encoder: name in :data:`ENCODERS`.
        vocab_size: number of token ids, markers included.
        context_length: L, token places.
        embed_dim: E, width of the tower and of its output.
        layers: number of transformer blocks.
        heads: attention heads; divides ``embed_dim``.
        mlp_ratio: width of the hidden layer over ``embed_dim``.
    """

    vocab_size: int
    encoder: str = "tower"
    context_length: int = 24
    embed_dim: int = 192
    layers: int = 4
    heads: int = 6
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        if self.embed_dim % self.heads:
            raise ModelError(
                f"text encoder width {self.embed_dim} is not a multiple of {self.heads} heads"
            )
        if min(self.vocab_size, self.context_length - 2, self.layers) < 1:
            raise ModelError(f"text encoder sizes must be positive: {self}")

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary for ``config.json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TowerConfig:
        """Reads what :meth:`to_json` wrote.

        Raises:
            ModelError: on an unknown or missing key, or sizes that do not fit.
        """
        known = {field.name for field in fields(cls)}
        for key in values:
            if key not in known:
                raise ModelError(f"unknown text encoder key {key!r}{did_you_mean(key, known)}")
        if "vocab_size" not in values:
            raise ModelError("the text encoder's config.json lacks 'vocab_size'")
        return cls(**values)


def build_tower(config: TowerConfig, *, pad_id: int, end_id: int) -> torch.nn.Module:
    """open_clip's text transformer, attending both ways, with per-token output.

    Its forward takes ids int64 [N, L'] (L' ≤ L) and returns pooled [N, E], tokens [N, L', E].

    Raises:
        MissingDependencyError: if open_clip is not installed.
    """
    try:
        from open_clip.transformer import TextTransformer
    except ImportError as error:
        raise MissingDependencyError(
            "encoding a new text needs open_clip; pip install open_clip_torch"
        ) from error
    tower: torch.nn.Module = TextTransformer(
        context_length=config.context_length,
        vocab_size=config.vocab_size,
        width=config.embed_dim,
        heads=config.heads,
        layers=config.layers,
        mlp_ratio=config.mlp_ratio,
        output_dim=config.embed_dim,
        no_causal_mask=True,
        use_pad_mask=True,
        pad_id=pad_id,
        eos_id=end_id,
        pool_type="eos",
        output_tokens=True,
    )
    return tower


class TowerEncoder:
    """Text encoder over a tower and its tokenizer; see :class:`TextEncoder`."""

    def __init__(
        self, config: TowerConfig, tower: torch.nn.Module, tokenizer: BpeTokenizer, digest: str
    ) -> None:
        self.config = config
        self.tower = tower.eval()
        self.tokenizer = tokenizer
        self.embed_dim = config.embed_dim
        self.context_length = config.context_length
        self.hash = digest

    def encode(self, texts: Sequence[str]) -> TextFeatures:
        """Features of ``texts``: tokens [N, L, E], mask [N, L], pooled [N, E] of unit length."""
        import torch

        ids = self.tokenizer(texts)
        mask = ids != self.tokenizer.pad_id
        count, width = len(texts), self.embed_dim
        tokens = np.zeros((count, self.context_length, width), np.float32)
        pooled = np.zeros((count, width), np.float32)
        with torch.inference_mode():
            for row in range(count):
                vector, sequence = self.tower(torch.from_numpy(ids[row : row + 1]))
                pooled[row] = vector[0].numpy()
                tokens[row] = sequence[0].numpy()
        return finished(tokens, mask, pooled)


def folder_hash(folder: Path) -> str:
    """Hex sha256 over the encoder's configuration (key order is free), weights and merges.

    Reads files only: no torch, no open_clip.

    Raises:
        ModelError: if a file of the folder is missing or the configuration is not JSON.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps(_read_config(folder), sort_keys=True).encode())
    for name in (WEIGHTS_FILE, BPE_FILE):
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            raise ModelError(
                f"the text encoder folder {folder} lacks {name}; copy or download the model again"
            ) from error
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def save_tower(
    folder: Path, config: TowerConfig, tower: torch.nn.Module, merges_file: Path
) -> None:
    """Writes the three files of an encoder folder; weights as fp16."""
    import torch
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: value.detach().to("cpu", torch.float16).contiguous()
        for name, value in tower.state_dict().items()
    }
    (folder / WEIGHTS_FILE).write_bytes(save(weights))
    if merges_file.resolve() != (folder / BPE_FILE).resolve():
        (folder / BPE_FILE).write_bytes(merges_file.read_bytes())
    (folder / CONFIG_FILE).write_text(json.dumps(config.to_json(), indent=1) + "\n")


def load_encoder(source: str | Path) -> TextEncoder:
    """Loads a text encoder.

    Args:
        source: folder with ``config.json``, ``text.safetensors`` and ``bpe.txt.gz``, or a name
            such as ``open_clip:hf-hub:owner/repo`` or ``hf:owner/repo`` (see ``adapters``).

    Raises:
        ModelError: if the folder is incomplete or its files do not fit together.
        UsageError: for an unknown kind of encoder.
        MissingDependencyError: if a package that the encoder needs is not installed.
    """
    kind, colon, name = str(source).partition(":")
    if colon and len(kind) > 1 and not Path(source).exists():
        return ENCODERS[kind](name)
    folder = Path(source)
    return ENCODERS[_read_config(folder).get("encoder", TowerConfig.encoder)](str(folder))


@ENCODERS.register("open_clip")
def _load_open_clip(name: str) -> TextEncoder:
    from textseg3d.text.adapters import load_open_clip

    return load_open_clip(name)


@ENCODERS.register("hf")
def _load_hugging_face(name: str) -> TextEncoder:
    from textseg3d.text.adapters import load_hugging_face

    return load_hugging_face(name)


@ENCODERS.register("tower")
def _load_tower(name: str) -> TextEncoder:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from textseg3d.text.tokenizer import BpeTokenizer

    folder = Path(name)
    config = TowerConfig.from_json(_read_config(folder))
    digest = folder_hash(folder)
    tokenizer = BpeTokenizer(folder / BPE_FILE, config.context_length)
    if tokenizer.vocab_size != config.vocab_size:
        raise ModelError(
            f"{folder / BPE_FILE} gives {tokenizer.vocab_size} tokens, config.json says "
            f"{config.vocab_size}; the files belong to different encoders"
        )
    tower = build_tower(config, pad_id=tokenizer.pad_id, end_id=tokenizer.end_id)
    try:
        weights = load_file(str(folder / WEIGHTS_FILE))
        tower.load_state_dict({name: value.to(torch.float32) for name, value in weights.items()})
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"{folder / WEIGHTS_FILE} does not fit config.json ({reason}); download it again"
        ) from error
    return TowerEncoder(config, tower, tokenizer, digest)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"{folder} is no text encoder folder: {CONFIG_FILE} is missing; give a folder with "
            f"{CONFIG_FILE}, {WEIGHTS_FILE} and {BPE_FILE}"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as JSON ({error})") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} holds {type(values).__name__}, expected a JSON object")
    return values
