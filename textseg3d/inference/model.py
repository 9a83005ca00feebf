"""A model folder, checked and loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from textseg3d.errors import ModelError, PlansError
from textseg3d.inference.postprocess import FILE_NAME as POSTPROCESSING_FILE
from textseg3d.inference.postprocess import Postprocessing
from textseg3d.plans.schema import Configuration, Plans, stage_weights
from textseg3d.text.bank import BankedEncoder, EmbeddingBank
from textseg3d.text.types import TextFeatures
from textseg3d.zoo import ModelCard

if TYPE_CHECKING:
    import torch

    from textseg3d.text.types import TextEncoder

PLANS_FILE = "plans.json"
WEIGHTS_FILE = "model.safetensors"
BANK_FILE = "bank.safetensors"


@dataclass(frozen=True)
class StageFiles:
    """A stage of a model folder; its weights are checked, and not loaded yet.

    Attributes:
        name: of its configuration.
        configuration: what the plans say.
        path: of the weights.
        sha256: their hash.
    """

    name: str
    configuration: Configuration
    path: Path
    sha256: str

    def load(self) -> torch.nn.Module:
        """The network, float32, on the CPU.

        Raises:
            ModelError: if weights and plans do not fit together.
        """
        return _load_network(self.configuration, self.path)


@dataclass(frozen=True)
class LoadedModel:
    """Everything of a model folder that prediction needs.

    Attributes:
        card: name, concepts, hashes.
        configuration: of the network.
        network: with the folder's weights, float32, on the CPU.
        texts: where the features of texts come from.
        postprocessing: what is removed from its masks.
        stages: fine configurations that answer some of the concepts.
    """

    card: ModelCard
    configuration: Configuration
    network: torch.nn.Module
    texts: TextSource
    postprocessing: Postprocessing = field(default_factory=Postprocessing)
    stages: tuple[StageFiles, ...] = ()

    @property
    def sha256(self) -> str:
        """Hash of the weights file."""
        return self.card.files[WEIGHTS_FILE].sha256


class TextSource:
    """Features of texts, from the bank first, then from the encoder of the folder.

    Args:
        folder: the model folder.
        encoder_name: folder of the text encoder inside it (plans: ``text.encoder``).
        encoder: used instead of the folder's, if given.
    """

    def __init__(
        self, folder: Path, encoder_name: str = "text", encoder: TextEncoder | None = None
    ) -> None:
        bank = folder / BANK_FILE
        self._encoder: TextEncoder | BankedEncoder | None = encoder
        self._bank: EmbeddingBank | None = None
        if encoder is not None:
            return
        if (folder / encoder_name).is_dir():
            self._encoder = BankedEncoder(folder / encoder_name, bank if bank.is_file() else None)
        elif bank.is_file():
            self._bank = EmbeddingBank.load(bank)
        else:
            raise ModelError(
                f"{folder} has neither a text encoder ({encoder_name}/) nor {BANK_FILE}; "
                "get the model again"
            )

    def __call__(self, text: str) -> TextFeatures:
        """Features of one text.

        Raises:
            ModelError: if only a bank is there and it lacks the text.
        """
        if self._encoder is not None:
            return self._encoder.encode([text])
        found = self._bank.get(text) if self._bank is not None else None
        if found is None:
            raise ModelError(
                f"the model's {BANK_FILE} lacks {text!r} and it has no text encoder; "
                "get the model again"
            )
        return found


def load_model(
    folder: Path,
    *,
    configuration: str | None = None,
    network: torch.nn.Module | None = None,
    encoder: TextEncoder | None = None,
) -> LoadedModel:
    """Check a model folder (hashes, finite weights) and load it.

    Args:
        folder: of the model.
        configuration: name in its plans; None takes the first that is no stage of a cascade.
        network: used instead of the one that the plans describe, weights included.
        encoder: text encoder to use instead of the folder's.

    Raises:
        ModelError: if the folder is damaged or weights and plans do not fit together.
        PlansError: if the plans cannot be read, or ``configuration`` is a stage.
    """
    from textseg3d.zoo import verify_model

    card = verify_model(folder)
    plans = Plans.load(folder / PLANS_FILE)
    name = configuration or plans.main
    chosen = plans.configuration(name)
    if chosen.cascade is not None:
        raise PlansError(
            f"configuration {name!r} is a stage of {chosen.cascade!r} and does not predict on its "
            f"own; choose {chosen.cascade!r}"
        )
    if network is None:
        network = _load_network(chosen, folder / WEIGHTS_FILE)
    texts = TextSource(folder, chosen.text.encoder, encoder)
    rules = Postprocessing()
    if POSTPROCESSING_FILE in card.files:
        rules = Postprocessing.load(folder / POSTPROCESSING_FILE)
    stages = tuple(_stage(folder, card, *item) for item in plans.stages(name).items())
    return LoadedModel(card, chosen, network, texts, rules, stages)


def _stage(folder: Path, card: ModelCard, name: str, configuration: Configuration) -> StageFiles:
    """A stage of a folder that was checked."""
    file = stage_weights(name)
    return StageFiles(name, configuration, folder / file, card.files[file].sha256)


def _load_network(configuration: Configuration, path: Path) -> torch.nn.Module:
    """The network of a weights file, or the ensemble of those of several folds."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from textseg3d.networks import build_network
    from textseg3d.networks.ensemble import FoldEnsemble, member_count

    try:
        weights = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read ({error}); get the model again") from None
    members = member_count(weights)
    network: torch.nn.Module
    with torch.device("meta"):
        if members:
            network = FoldEnsemble([build_network(configuration) for _ in range(members)])
        else:
            network = build_network(configuration)
    expected = {name: tuple(p.shape) for name, p in network.state_dict().items()}
    found = {name: tuple(p.shape) for name, p in weights.items()}
    if expected != found:
        name = min(n for n in expected | found if expected.get(n) != found.get(n))
        raise ModelError(
            f"{path} does not fit its plans: {name!r} is {found.get(name, 'missing')}, expected "
            f"{expected.get(name, 'no such weight')}; get the model again"
        )
    network.load_state_dict({n: w.float() for n, w in weights.items()}, assign=True)
    return network
