"""Fine-tuning: which weights a run begins with, and which of them it changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from textseg3d.errors import ModelError

Tune = Literal["all", "decoder", "lora"]
RANK = 8
# The layers that turn image features into what prompts are compared with, and the fusion.
DECODER = ("up.", "decoder.", "to_fine.", "fine1.", "fine2.", "prompt.")
FUSION = "prompt."
_ORIGINAL, _DOWN, _UP = (
    ".parametrizations.weight.original",
    ".parametrizations.weight.0.down",
    ".parametrizations.weight.0.up",
)


class LowRank(nn.Module):
    """Weight W [n, m] becomes W + up·down, with up [n, r] and down [r, m] (Hu et al., ICLR 2022).

    ``up`` starts at zero, so the network starts unchanged.
    """

    def __init__(self, rows: int, columns: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, columns) * columns**-0.5)
        self.up = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """See the class."""
        return weight + self.up @ self.down


@dataclass(frozen=True)
class Start:
    """Weights to begin with, and what to train: everything, the decoder, or a low-rank change.

    Attributes:
        weights: ``model.safetensors`` of a model folder, of the same network.
        tune: "all"; "decoder": image decoder and fusion; "lora": a rank-8 change of the fusion's
            matrices, merged into them when the model is written.
    """

    weights: Path
    tune: Tune = "all"

    def apply(self, network: nn.Module) -> None:
        """Load the weights and freeze what is not trained.

        Raises:
            ModelError: if they are of another network.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            weights = load_file(str(self.weights))
            network.load_state_dict({k: v.float() for k, v in weights.items()})
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{self.weights} does not fit the plans' network: {reason}") from None
        if self.tune == "all":
            return
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(self.tune == "decoder" and name.startswith(DECODER))
        if self.tune == "lora":
            add_low_rank(network)


def add_low_rank(network: nn.Module, rank: int = RANK) -> None:
    """Let every matrix of the fusion change by a product of two thin ones; all else is frozen."""
    from torch.nn.utils import parametrize

    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Linear) and name.startswith(FUSION):
            rows, columns = module.weight.shape
            change = LowRank(rows, columns, min(rank, rows, columns))
            parametrize.register_parametrization(module, "weight", change)
            module.parametrizations.weight.original.requires_grad_(False)  # type: ignore[union-attr]


def merge_low_rank(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with every low-rank change added to its matrix, under the plain names."""
    merged = {}
    for name, value in weights.items():
        if name.endswith(_ORIGINAL):
            layer = name.removesuffix(_ORIGINAL)
            change = weights[layer + _UP].float() @ weights[layer + _DOWN].float()
            merged[f"{layer}.weight"] = value.float() + change
        elif not name.endswith((_DOWN, _UP)):
            merged[name] = value
    return merged
