"""Vectors of texts for networks of others: from a bank, or from the user's own text model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textseg3d.errors import MissingDependencyError, ModelError
from textseg3d.inference.open.spec import BANK_FILE, OpenSpec

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)
TEXT_WEIGHTS = "text.safetensors"  # of SAT: what comes after its BERT
_MAX_TOKENS = {"voxtell": 8192, "sat": 256}


class TextVectors:
    """Finds or makes the vector of a text; texts are lower-cased, as both networks learned them.

    Args:
        folder: of the model.
        spec: of the model.
        device: where a text model would run.
    """

    def __init__(self, folder: Path, spec: OpenSpec, device: torch.device) -> None:
        self._folder, self._spec, self._device = folder, spec, device
        self._known: dict[str, NDArray[np.float32]] = {}
        self._model: Any = None
        self._weights: dict[str, torch.Tensor] = {}
        path = folder / BANK_FILE
        if path.is_file():
            self._known = read_bank(path, spec.text.width)

    @property
    def texts(self) -> tuple[str, ...]:
        """Texts of the bank."""
        return tuple(self._known)

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors [N, width] of some texts.

        Raises:
            ModelError: if a text is not in the bank and there is no text model.
            MissingDependencyError: if the text model needs transformers and it is not installed.
        """
        wanted = [" ".join(text.lower().split()) for text in texts]
        missing = [text for text in dict.fromkeys(wanted) if text not in self._known]
        if missing:
            self._known.update(zip(missing, self._encode(missing)))
        return np.stack([self._known[text] for text in wanted])

    def _encode(self, texts: list[str]) -> NDArray[np.float32]:
        name = self._spec.text.name
        if not name:
            raise ModelError(
                f"the bank of {self._folder.name} lacks {texts[0]!r} and it has no text encoder; "
                "convert it again with --bank or --text-encoder"
            )
        try:
            import transformers
        except ImportError as error:
            raise MissingDependencyError(
                f"{texts[0]!r} is not in the bank; encoding it needs transformers ({error}); "
                "pip install 'textseg3d[huggingface]'"
            ) from None
        if self._model is None:
            self._model = _load(transformers, name, texts[0], self._device)
            if self._spec.kind == "sat":
                self._fill_bert()
        if self._spec.kind == "sat":
            return self._sat(texts)
        prefix = self._spec.text.instruction
        return _last_token(self._model, [prefix + text for text in texts], self._device)

    def _fill_bert(self) -> None:
        """Put SAT's own weights into the BERT."""
        from safetensors.torch import load_file

        self._weights = load_file(str(self._folder / TEXT_WEIGHTS))
        bert = {n.removeprefix("bert."): w for n, w in self._weights.items() if n[:5] == "bert."}
        found = self._model[1].load_state_dict(bert, strict=False)
        missing = [name for name in found.missing_keys if "position_ids" not in name]
        if missing or found.unexpected_keys:
            raise ModelError(
                f"{self._spec.text.name} is not the encoder that {TEXT_WEIGHTS} belongs to "
                f"({(missing or found.unexpected_keys)[0]!r}); name another with --text-encoder"
            )

    def _sat(self, texts: list[str]) -> NDArray[np.float32]:
        """SAT: mean of BERT's tokens, two linear layers, and the modality's own vector."""
        import torch

        tokenizer, model = self._model
        with torch.inference_mode():
            tokens = tokenizer(
                texts, padding=True, truncation=True, max_length=_MAX_TOKENS["sat"],
                return_tensors="pt",
            ).to(self._device)  # fmt: skip
            hidden = model(**tokens)[0].float()
            mask = tokens["attention_mask"][..., None].float()
            mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
            found: NDArray[np.float32] = sat_projection(
                mean.cpu(), self._weights, self._spec
            ).numpy()
        return found


def sat_projection(
    mean: torch.Tensor, weights: dict[str, torch.Tensor], spec: OpenSpec
) -> torch.Tensor:
    """SAT's vectors [N, width] from the mean of its BERT's tokens [N, width]."""
    from torch.nn.functional import gelu, linear

    first = linear(mean, weights["projection.0.weight"], weights["projection.0.bias"])
    found = linear(gelu(first), weights["projection.2.weight"], weights["projection.2.bias"])
    modality = spec.text.modalities.index(spec.modality)
    return found + weights["modality.weight"][modality]


def _load(transformers: Any, name: str, text: str, device: torch.device) -> tuple[Any, Any]:
    """Tokenizer and model from this machine; nothing is downloaded."""
    import torch

    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            name, padding_side="left", local_files_only=True
        )
        model = transformers.AutoModel.from_pretrained(name, dtype=dtype, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{text!r} is not in the bank, and the text encoder {name} is not on this machine "
            f"({' '.join(str(error).split())[:80]}); get it with `hf download {name}`"
        ) from None
    return tokenizer, model.to(device).eval()


def _last_token(
    model: tuple[Any, Any], texts: list[str], device: torch.device
) -> NDArray[np.float32]:
    """The last token's state of each text; tokens are padded on the left."""
    import torch

    tokenizer, network = model
    with torch.inference_mode():
        tokens = tokenizer(
            texts, padding=True, truncation=True, max_length=_MAX_TOKENS["voxtell"],
            return_tensors="pt",
        ).to(device)  # fmt: skip
        found: NDArray[np.float32] = (
            network(**tokens).last_hidden_state[:, -1].float().cpu().numpy()
        )
    return found


def write_bank(path: Path, texts: Sequence[str], vectors: NDArray[Any]) -> None:
    """Write a bank: half-precision vectors [N, width] and their texts."""
    import json

    from safetensors.numpy import save_file

    lower = [" ".join(str(text).lower().split()) for text in texts]
    metadata = {"texts": json.dumps(lower, ensure_ascii=False)}
    save_file({"vectors": np.asarray(vectors, dtype=np.float16)}, str(path), metadata=metadata)


def read_bank(path: Path, width: int) -> dict[str, NDArray[np.float32]]:
    """Text → vector of a bank.

    Raises:
        ModelError: if it is damaged or of another width.
    """
    import json

    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="np") as file:
            texts = json.loads((file.metadata() or {}).get("texts", "null"))
            vectors = file.get_tensor("vectors").astype(np.float32)
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read ({error}); convert the model again") from None
    if not isinstance(texts, list) or vectors.shape != (len(texts), width):
        raise ModelError(
            f"{path} has vectors of shape {vectors.shape}, expected {width} numbers per text"
        )
    return dict(zip(map(str, texts), vectors))
