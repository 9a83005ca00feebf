"""Text encoders of others behind our protocol: open_clip towers and Hugging Face encoders.

``open_clip:hf-hub:owner/repo[@revision]``, ``open_clip:local-dir:FOLDER``,
``open_clip:ARCHITECTURE@TAG``, ``hf:owner/repo`` and ``hf:FOLDER``. Naming a repository is the
request to download it. Only safetensors are read here; pickled open_clip weights are turned into
safetensors by a child process first.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from textseg3d.errors import MissingDependencyError, ModelError, UsageError
from textseg3d.suggest import did_you_mean
from textseg3d.text.normalise import normalise_text
from textseg3d.text.types import TextFeatures, finished

if TYPE_CHECKING:
    import torch

_SMALL_FILES = ["*.json", "*.txt", "*.model"]
_SAFE = "open_clip_model.safetensors"
_PICKLED = "open_clip_pytorch_model.bin"
_LONGEST_CONTEXT = 64
_CONVERT = """
import sys, torch
from safetensors.torch import save_file
state = torch.load(sys.argv[1], map_location="cpu", weights_only=True)
state = state.get("state_dict", state)
save_file({name.removeprefix("module."): value.clone().contiguous()
           for name, value in state.items()}, sys.argv[2])
"""

Row = tuple[np.ndarray, np.ndarray, np.ndarray]


class AdaptedEncoder:
    """A foreign encoder, asked for one text at a time; see :class:`TextEncoder`.

    Args:
        run: gives tokens [L, E], mask [L] and pooled [E] of one normalised text.
        digest: hash of weights and vocabulary.
    """

    def __init__(self, run: Callable[[str], Row], digest: str) -> None:
        self._run = run
        self.hash = digest
        self.context_length, self.embed_dim = run("")[0].shape

    def encode(self, texts: Sequence[str]) -> TextFeatures:
        """Features of ``texts``: tokens [N, L, E], mask [N, L], pooled [N, E] of unit length."""
        count, length, width = len(texts), self.context_length, self.embed_dim
        tokens = np.zeros((count, length, width), np.float32)
        mask = np.zeros((count, length), bool)
        pooled = np.zeros((count, width), np.float32)
        for row, text in enumerate(texts):
            tokens[row], mask[row], pooled[row] = self._run(normalise_text(text))
        return finished(tokens, mask, pooled)


def load_open_clip(name: str) -> AdaptedEncoder:
    """The text tower of an open_clip model, tokens projected like the pooled vector.

    Args:
        name: ``hf-hub:owner/repo[@revision]``, ``local-dir:FOLDER`` or ``ARCHITECTURE@TAG``.

    Raises:
        UsageError: for an architecture or tag that open_clip does not know.
        ModelError: if the model cannot be found or read.
        MissingDependencyError: if it needs transformers, which is not installed.
    """
    import open_clip

    with ExitStack() as stack:
        folder = _with_safetensors(_open_clip_folder(name), stack)
        config = open_clip.get_model_config(f"local-dir:{folder}") or {}
        if "hf_model_name" in config.get("text_cfg", {}):
            _require_transformers(f"open_clip:{name}")
        try:
            model = open_clip.create_model(f"local-dir:{folder}", force_custom_text=True)
            tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise ModelError(_one_line(f"open_clip cannot build {name!r}", error)) from error
    tower = model.text.eval()
    tower.output_tokens = True
    if hasattr(tokenizer, "bpe_ranks"):
        vocabulary = repr(tokenizer.bpe_ranks)
    else:
        vocabulary = repr(sorted(tokenizer.tokenizer.get_vocab().items()))
    project = _projection(tower)

    def run(text: str) -> Row:
        import torch

        ids = tokenizer([text])
        mask = _open_clip_mask(tokenizer, ids[0].numpy())
        with torch.inference_mode():
            pooled, tokens = tower(ids)
            tokens = project(tokens)
        # A tower that pools by its first token leaves that one out of the sequence.
        return tokens[0].float().numpy(), mask[-tokens.shape[1] :], pooled[0].float().numpy()

    return AdaptedEncoder(run, _digest(tower, vocabulary))


def load_hugging_face(name: str) -> AdaptedEncoder:
    """An encoder that transformers can load, pooled by the mean of its real tokens.

    Args:
        name: repository or folder, with safetensors weights. No code of the repository is run.

    Raises:
        MissingDependencyError: if transformers is not installed.
        ModelError: if the model cannot be found or read.
    """
    _require_transformers(f"hf:{name}")
    from transformers import AutoModel, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, padding_side="right")
        model = AutoModel.from_pretrained(name, use_safetensors=True).float().eval()
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(_one_line(f"transformers cannot load {name!r}", error)) from error
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    length = min(_LONGEST_CONTEXT, int(tokenizer.model_max_length))

    def run(text: str) -> Row:
        import torch

        batch = tokenizer(
            text, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        mask = batch["attention_mask"]
        with torch.inference_mode():
            tokens = model(input_ids=batch["input_ids"], attention_mask=mask).last_hidden_state[0]
        keep = mask[0].bool()
        # A tokenizer without markers gives no token at all for an empty text.
        pooled = tokens[keep].mean(dim=0) if bool(keep.any()) else torch.zeros(tokens.shape[1])
        return tokens.numpy(), keep.numpy(), pooled.numpy()

    return AdaptedEncoder(run, _digest(model, repr(sorted(tokenizer.get_vocab().items()))))


def _require_transformers(what: str) -> None:
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"{what} needs transformers, which is not installed; "
            "pip install 'textseg3d[huggingface]'"
        ) from error


def _open_clip_folder(name: str) -> Path:
    """Local folder with ``open_clip_config.json`` and weights of an open_clip model."""
    if name.startswith("local-dir:"):
        folder = Path(name.removeprefix("local-dir:"))
        if not (folder / "open_clip_config.json").is_file():
            raise ModelError(f"{folder} has no open_clip_config.json; give an open_clip folder")
        return folder
    if name.startswith("hf-hub:"):
        return _download(name.removeprefix("hf-hub:"))
    import open_clip

    architecture, _, tag = name.partition("@")
    known = open_clip.list_models()
    if architecture not in known:
        hint = did_you_mean(architecture, known)
        raise UsageError(
            f"open_clip has no architecture {architecture!r}{hint}; or write "
            "open_clip:hf-hub:owner/repo or open_clip:local-dir:FOLDER"
        )
    repository = (open_clip.get_pretrained_cfg(architecture, tag) or {}).get("hf_hub")
    if not repository:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
        raise UsageError(
            f"open_clip:{name} names no weights on the hub; write open_clip:{architecture}@TAG "
            f"(tags: {tags})"
        )
    return _download("/".join(repository.split("/")[:2]))


def _download(repository: str) -> Path:
    from huggingface_hub import snapshot_download

    owner_and_name, _, revision = repository.partition("@")
    try:
        for weights in (_SAFE, _PICKLED):
            folder = snapshot_download(
                owner_and_name,
                revision=revision or None,
                allow_patterns=[*_SMALL_FILES, weights],
            )
            if (Path(folder) / weights).exists():
                return Path(folder)
    except (OSError, ValueError) as error:
        raise ModelError(_one_line(f"cannot download {repository!r}", error)) from error
    raise ModelError(f"the repository {repository!r} has neither {_SAFE} nor {_PICKLED}")


def _with_safetensors(folder: Path, stack: ExitStack) -> Path:
    """``folder``, or a temporary copy of it whose weights were unpickled by a child process."""
    if any(folder.glob("*.safetensors")):
        return folder
    if not (folder / _PICKLED).is_file():
        raise ModelError(f"{folder} has neither {_SAFE} nor {_PICKLED}")
    copy = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="textseg3d-")))
    for pattern in _SMALL_FILES:
        for path in folder.glob(pattern):
            shutil.copy(path, copy / path.name)
    command = [sys.executable, "-I", "-c", _CONVERT, str(folder / _PICKLED), str(copy / _SAFE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ModelError(
            f"{folder / _PICKLED} holds more than tensors or is damaged ({reason}); "
            "use a model with safetensors"
        )
    return copy


def _open_clip_mask(tokenizer: Any, ids: np.ndarray) -> np.ndarray:
    """bool [L], True up to the last real token."""
    if hasattr(tokenizer, "eot_token_id"):
        length = int((ids == tokenizer.eot_token_id).argmax()) + 1
    else:
        length = max(1, int((ids != tokenizer.tokenizer.pad_token_id).sum()))
    return np.arange(len(ids)) < length


def _projection(tower: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """What the tower does to its pooled vector, for the tokens: one width for both."""
    import torch

    last = getattr(tower, "text_projection", getattr(tower, "proj", None))
    if last is None:
        return lambda tokens: tokens
    if isinstance(last, torch.nn.Module):
        return last
    return lambda tokens: tokens @ last


def _digest(model: torch.nn.Module, vocabulary: str) -> str:
    import torch

    digest = hashlib.sha256(vocabulary.encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _one_line(what: str, error: Exception) -> str:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"{what}: {reason}; check the name and the files"
